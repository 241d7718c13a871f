"""What went through a model, kept for all experiments: each distinct input once.

Rows are keyed by a hash of all that changes the result. Work is cut into shards of the sorted missing keys; a worker
commits a shard as one file that is there whole or not at all, so a crash loses at most the shards in flight and leaves
nothing half-written. The folder may be a bucket's.
"""

import hashlib
import json
import logging
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

from nlift import cluster, progress, uris
from nlift.data import remote, transfer
from nlift.data.database import Database
from nlift.data.files import parquet_file
from nlift.data.remote import RemoteFile
from nlift.data.schema import Batch, arrow_schema
from nlift.errors import ArtifactError, NliftError, ResourceError, first_line

logger = logging.getLogger("nlift")


class BatchModel(Protocol):
    """A model that adds columns to a batch; built once per actor from its config.

    What it has to say to the person waiting it appends to `notices`.
    """

    notices: list[str]

    def __init__(self, config: Any) -> None: ...

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the columns of the results."""
        ...


class ResultCache:
    """Rows of `row_type` under `folder`, local or a URI, one subfolder per `settings`."""

    def __init__(self, folder: Path | str, settings: dict[str, Any], row_type: type) -> None:
        self.settings = json.dumps(settings, sort_keys=True)
        name = hashlib.sha256(self.settings.encode()).hexdigest()[:16]
        root = str(folder) if uris.is_remote(str(folder)) else str(Path(folder).absolute())
        self.folder = f"{root.rstrip('/')}/{name}"
        self.row_type = row_type

    def key(self, *texts: str) -> str:
        """The key of one input: 32 hexadecimal digits over settings and texts."""
        return hashlib.sha256("\0".join((self.settings, *texts)).encode()).hexdigest()[:32]

    def rows(self) -> pads.Dataset:
        """All rows, on disk. Raises ArtifactError for a damaged shard.

        A key that two runs committed may be there twice.
        """
        filesystem, folder = remote.filesystem(self.folder)
        shards = [path for path in remote.listed(filesystem, folder) if path.endswith(".parquet")]
        schema = arrow_schema(self.row_type)
        if not shards:
            return pads.dataset(schema.empty_table())
        return pads.dataset(shards, schema=schema, format="parquet", filesystem=filesystem)

    def read(self, column: str) -> dict[str, Any]:
        """Every key's value in `column`. Raises ArtifactError for a damaged shard."""
        try:
            table = self.rows().to_table(list({"key", column}))
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(f"{self.folder}: not readable: {first_line(error)}") from None
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
            raise ResourceError(f"{self.folder}: cannot be written: {first_line(error)}") from None


class ShardWorker:
    """Runs on Ray Data: puts one shard after another through the model and commits it."""

    def __init__(self, model: type[BatchModel], config: Any, cache: ResultCache, work: str) -> None:
        cluster.check_restarts()
        file = RemoteFile(work) if uris.is_remote(work) else Path(work)
        self.model, self.cache, self.work = model(config), cache, parquet_file(file)

    def __call__(self, shards: Batch) -> Batch:
        """How many rows a shard had, what the model has to say, and the user's mistake that it met."""
        table = self.work.read_row_group(int(shards["id"][0]))
        shard = {name: np.array(table[name].to_pylist(), dtype=object) for name in table.column_names}
        mistake = ""
        try:
            self.cache.commit(self.model(shard))
        except NliftError as error:  # returned: what is raised here reaches the driver as Ray Data's own error alone
            mistake = str(error)
        notices, self.model.notices = self.model.notices, []
        texts = {"notice": "; ".join(notices), "error": mistake}
        return {
            "rows": np.array([len(table)]),
            **{name: np.array([text], dtype=object) for name, text in texts.items()},
        }


def missing_inputs(database: Database, name: str, inputs: str, cache: ResultCache) -> str:
    """The query of those inputs that the cache lacks; the distinct rows of `inputs`, keyed, go to `<name>_wanted`."""
    # the same key as ResultCache.key
    key = f"left(sha256(concat_ws(chr(0), $settings, {', '.join(database.columns(inputs))})), 32)"
    keyed = f"SELECT {key} AS key, * FROM (SELECT DISTINCT * FROM ({inputs}))"
    database.make(f"{name}_wanted", keyed, settings=cache.settings)
    database.add("cached", cache.rows())
    return f"SELECT * FROM {name}_wanted ANTI JOIN cached USING (key)"


def complete(
    database: Database,
    name: str,
    inputs: str,
    cache: ResultCache,
    model: type[BatchModel],
    config: Any,
    title: str,
) -> int:
    """Make the table `name`: the distinct rows of the query `inputs`, key, texts and what the model makes of them.

    What the cache lacks goes through the model first, by way of a file; how many rows that were. `config` says
    num_actors and shard_size. Shards depend on the keys alone, not on scheduling.
    """
    work = database.folder / "work.parquet"
    texts = database.columns(inputs)
    missing = f"{missing_inputs(database, name, inputs, cache)} ORDER BY key"
    schema = pa.schema([(column, pa.string()) for column in ("key", *texts)])
    count = database.write(missing, work, schema, config.shard_size)
    with progress.bar(title, count, "sentences") as advance:
        for done in _fill(work, database.store, cache, model, config):
            advance(done)
    work.unlink()
    database.add("cached", cache.rows())
    values = [field.name for field in fields(cache.row_type) if field.name not in ("key", *texts)]
    packed = ", ".join(f"{value} := {value}" for value in values)
    # a key that two runs committed is there once
    results = (
        f"SELECT key, min(struct_pack({packed})) AS result FROM cached SEMI JOIN {name}_wanted USING (key) GROUP BY key"
    )
    database.make(name, f"SELECT w.*, unnest(result) FROM {name}_wanted w JOIN ({results}) USING (key)")
    return count


def _fill(work: Path, store: str | None, cache: ResultCache, model: type[BatchModel], config: Any) -> Iterator[int]:
    """Put the shards of `work`, a row group each, through the model; yields rows as they are done."""
    import ray

    shards = pq.ParquetFile(work).num_row_groups
    if not shards:
        return
    place = str(work)
    if store is not None:
        place = transfer.joined(store, work.name)
        transfer.put(work, place)
    # items, not a range: reading one would want a CPU, and the actors hold them all
    done = ray.data.from_items([{"id": i} for i in range(shards)], override_num_blocks=shards).map_batches(
        ShardWorker,
        fn_constructor_args=(model, config, cache, place),
        batch_size=1,
        **cluster.actor_pool(config.num_actors, shards),
    )
    with cluster.user_errors():
        for row in done.iter_rows():
            if row["notice"]:
                logger.warning(row["notice"])
            if row["error"]:
                raise NliftError(row["error"])
            yield int(row["rows"])
