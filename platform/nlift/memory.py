"""The memory of what went through a model: each distinct input once, kept for all experiments.

Rows are keyed by a hash of all that changes the result. Work is cut into shards of the sorted
missing keys; a worker commits a shard by renaming a finished file into place, so a crash loses at
most the shards in flight and leaves nothing half-written.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nlift import cluster, progress
from nlift.artifacts import read_parquet
from nlift.schema import Batch, arrow_schema


class BatchModel(Protocol):
    """A model that adds columns to a batch; built once per actor from its config.

    What it has to say to the person waiting it appends to `notices`.
    """

    notices: list[str]

    def __init__(self, config: Any) -> None: ...

    def __call__(self, batch: Batch) -> Batch: ...


class Memory:
    """Rows of `row_type` under `folder`, one subfolder per `settings`."""

    def __init__(self, folder: Path, settings: dict[str, Any], row_type: type) -> None:
        self.settings = json.dumps(settings, sort_keys=True)
        self.folder = folder.absolute() / hashlib.sha256(self.settings.encode()).hexdigest()[:16]
        self.row_type = row_type

    def key(self, *texts: str) -> str:
        """The key of one input: 32 hexadecimal digits over settings and texts."""
        return hashlib.sha256("\0".join((self.settings, *texts)).encode()).hexdigest()[:32]

    def read(self, column: str) -> dict[str, Any]:
        """Every key's value in `column`. A key that two runs committed is there once."""
        found: dict[str, Any] = {}
        for path in sorted(self.folder.glob("*.parquet")):
            table = read_parquet(path, list({"key", column}))
            found.update(zip(table["key"].to_pylist(), table[column].to_pylist(), strict=True))
        return found

    def commit(self, batch: Batch) -> None:
        """Write a shard so that it is there whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        schema = arrow_schema(self.row_type)
        table = pa.table({name: pa.array(batch[name], schema.field(name).type) for name in schema.names})
        name = hashlib.sha256("".join(batch["key"]).encode()).hexdigest()[:16]
        temporary = self.folder / f".{name}-{uuid.uuid4().hex}.tmp"
        pq.write_table(table, temporary)
        os.replace(temporary, self.folder / f"{name}.parquet")


class ShardWorker:
    """Runs on Ray Data: puts one shard after another through the model and commits it."""

    def __init__(self, model: type[BatchModel], config: Any, memory: Memory) -> None:
        self.model, self.memory = model(config), memory

    def __call__(self, shards: Batch) -> Batch:
        shard = {name: np.array(list(values[0]), dtype=object) for name, values in shards.items()}
        self.memory.commit(self.model(shard))
        notices, self.model.notices = self.model.notices, []
        return {"rows": np.array([len(shard["key"])]), "notice": np.array(["; ".join(notices)], dtype=object)}


def fill(
    memory: Memory, work: Mapping[str, tuple[str, ...]], columns: tuple[str, ...], model: type[BatchModel], config: Any
) -> Iterator[int]:
    """Put `work` (texts by key, named by `columns`) through the model; yields rows as they are done.

    `config` says num_actors and shard_size. Shards depend on the keys alone, not on scheduling.
    """
    import ray

    keys = sorted(work)
    if not keys:
        return
    shards = []
    for start in range(0, len(keys), config.shard_size):
        part = keys[start : start + config.shard_size]
        texts = {name: [work[key][i] for key in part] for i, name in enumerate(columns)}
        shards.append({"key": part, **texts})
    done = ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
        ShardWorker,
        fn_constructor_args=(model, config, memory),
        batch_size=1,
        **cluster.actor_pool(config.num_actors, len(shards)),
    )
    with cluster.user_errors():
        for row in done.iter_rows():
            if row["notice"]:
                progress.say(row["notice"])
            yield int(row["rows"])
