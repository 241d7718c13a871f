"""The memory of what went through a model: each distinct input once, kept for all experiments.

Rows are keyed by a hash of all that changes the result. Work is cut into shards of the sorted
missing keys; a worker commits a shard as one file that is there whole or not at all, so a crash
loses at most the shards in flight and leaves nothing half-written. The folder may be a bucket's.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from nlift import cluster, progress, remote
from nlift.errors import ArtifactError, NliftError, ResourceError
from nlift.schema import Batch, arrow_schema
from nlift.tables import Tables


class BatchModel(Protocol):
    """A model that adds columns to a batch; built once per actor from its config.

    What it has to say to the person waiting it appends to `notices`.
    """

    notices: list[str]

    def __init__(self, config: Any) -> None: ...

    def __call__(self, batch: Batch) -> Batch: ...


class Memory:
    """Rows of `row_type` under `folder`, local or a URI, one subfolder per `settings`."""

    def __init__(self, folder: Path | str, settings: dict[str, Any], row_type: type) -> None:
        self.settings = json.dumps(settings, sort_keys=True)
        name = hashlib.sha256(self.settings.encode()).hexdigest()[:16]
        root = str(folder) if remote.is_remote(str(folder)) else str(Path(folder).absolute())
        self.folder = f"{root.rstrip('/')}/{name}"
        self.row_type = row_type

    def key(self, *texts: str) -> str:
        """The key of one input: 32 hexadecimal digits over settings and texts."""
        return hashlib.sha256("\0".join((self.settings, *texts)).encode()).hexdigest()[:32]

    def rows(self) -> pads.Dataset:
        """All rows, on disk. A key that two runs committed may be there twice. Raises ArtifactError for a damaged shard."""
        filesystem, folder = remote.filesystem(self.folder)
        paths = [one for one in remote.listed(filesystem, folder) if one.endswith(".parquet")]
        schema = arrow_schema(self.row_type)
        if not paths:
            return pads.dataset(schema.empty_table())
        return pads.dataset(paths, schema=schema, format="parquet", filesystem=filesystem)

    def read(self, column: str) -> dict[str, Any]:
        """Every key's value in `column`. Raises ArtifactError for a damaged shard."""
        try:
            table = self.rows().to_table(list({"key", column}))
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(f"{self.folder}: not readable: {str(error).splitlines()[0]}") from None
        return dict(zip(table["key"].to_pylist(), table[column].to_pylist(), strict=True))

    def commit(self, batch: Batch) -> None:
        """Write a shard so that it is there whole or not at all. Raises ResourceError where it cannot be written."""
        schema = arrow_schema(self.row_type)
        table = pa.table({name: pa.array(batch[name], schema.field(name).type) for name in schema.names})
        name = hashlib.sha256("".join(batch["key"]).encode()).hexdigest()[:16]
        filesystem, folder = remote.filesystem(self.folder)
        shard, temporary = f"{folder}/{name}.parquet", f"{folder}/.{name}-{uuid.uuid4().hex}.tmp"
        try:
            if remote.is_local(filesystem):
                filesystem.create_dir(folder)
                pq.write_table(table, temporary, filesystem=filesystem)
                os.replace(temporary, shard)
            else:  # an object appears when its upload is complete
                pq.write_table(table, shard, filesystem=filesystem)
        except OSError as error:
            raise ResourceError(f"{self.folder}: cannot be written: {str(error).splitlines()[0]}") from None


class ShardWorker:
    """Runs on Ray Data: puts one shard after another through the model and commits it."""

    def __init__(self, model: type[BatchModel], config: Any, memory: Memory, work: Path) -> None:
        self.model, self.memory, self.work = model(config), memory, pq.ParquetFile(work)

    def __call__(self, shards: Batch) -> Batch:
        table = self.work.read_row_group(int(shards["id"][0]))
        shard = {name: np.array(table[name].to_pylist(), dtype=object) for name in table.column_names}
        error = ""
        try:
            self.memory.commit(self.model(shard))
        except NliftError as found:  # returned: what is raised here reaches the driver as Ray Data's own error alone
            error = str(found)
        notices, self.model.notices = self.model.notices, []
        said = {"notice": "; ".join(notices), "error": error}
        return {"rows": np.array([len(table)]), **{name: np.array([text], dtype=object) for name, text in said.items()}}


def lacking(tables: Tables, name: str, inputs: str, memory: Memory) -> str:
    """Make the table `<name>_wanted`, a query's distinct rows with their keys; the query of those that the memory lacks."""
    key = f"left(sha256(concat_ws(chr(0), $settings, {', '.join(tables.columns(inputs))})), 32)"  # Memory.key
    tables.make(f"{name}_wanted", f"SELECT {key} AS key, * FROM (SELECT DISTINCT * FROM ({inputs}))", settings=memory.settings)
    tables.add("memory", memory.rows())
    return f"SELECT * FROM {name}_wanted ANTI JOIN memory USING (key)"


def complete(tables: Tables, name: str, inputs: str, memory: Memory, model: type[BatchModel], config: Any, title: str) -> int:
    """Make the table `name`: the distinct rows of the query `inputs`, key, texts and what the model makes of them.

    What the memory lacks goes through the model first, by way of a file; how many rows that were.
    `config` says num_actors and shard_size. Shards depend on the keys alone, not on scheduling.
    """
    work = tables.folder / "work.parquet"
    texts = tables.columns(inputs)
    missing = f"{lacking(tables, name, inputs, memory)} ORDER BY key"
    count = tables.write(missing, work, pa.schema([(text, pa.string()) for text in ("key", *texts)]), config.shard_size)
    with progress.bar(title, count, "sentences") as advance:
        for done in _fill(work, memory, model, config):
            advance(done)
    work.unlink()
    tables.add("memory", memory.rows())
    values = [field.name for field in fields(memory.row_type) if field.name not in ("key", *texts)]
    packed = ", ".join(f"{value} := {value}" for value in values)
    found = f"SELECT key, min(struct_pack({packed})) AS found FROM memory SEMI JOIN {name}_wanted USING (key) GROUP BY key"
    tables.make(name, f"SELECT w.*, unnest(found) FROM {name}_wanted w JOIN ({found}) USING (key)")
    return count


def _fill(work: Path, memory: Memory, model: type[BatchModel], config: Any) -> Iterator[int]:
    """Put the shards of `work`, a row group each, through the model; yields rows as they are done."""
    import ray

    shards = pq.ParquetFile(work).num_row_groups
    if not shards:
        return
    # items, not a range: reading one would want a CPU, and the actors hold them all
    done = ray.data.from_items([{"id": i} for i in range(shards)], override_num_blocks=shards).map_batches(
        ShardWorker,
        fn_constructor_args=(model, config, memory, work),
        batch_size=1,
        **cluster.actor_pool(config.num_actors, shards),
    )
    with cluster.user_errors():
        for row in done.iter_rows():
            if row["notice"]:
                progress.say(row["notice"])
            if row["error"]:
                raise NliftError(row["error"])
            yield int(row["rows"])
