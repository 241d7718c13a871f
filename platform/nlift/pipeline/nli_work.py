"""Pieces of NLI data read into tables: by this process, or by Ray Data on workers, in the same order."""

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from nlift import cluster, machines, progress, uris
from nlift.data import nli_rows, sources
from nlift.data.file_parts import BY_LINES, FilePart
from nlift.data.files import PIECE
from nlift.data.nli_rows import NLIRow, Piece, Shard
from nlift.data.schema import Batch
from nlift.errors import DataError, NliftError
from nlift.settings import NLIConfig

FEW_ROWS, FEW_BYTES = 100_000, 64 * 1024**2  # read here in the time that workers take to start
NODE_ID = "ray.io/node-id"  # a label that Ray gives each machine
ROWS = pa.schema([("line", pa.int64())] + [(name, pa.string()) for name in ("premise", "hypothesis", "label")])
ROWS = ROWS.append(pa.field("fault", pa.string())).append(pa.field("values", pa.string()))


@dataclass(frozen=True)
class RowTable:
    """Rows that follow each other in a piece."""

    source: str
    """The file or data set."""
    table: pa.Table
    """Columns of ROWS: lines counted from the piece's beginning; values, as JSON, of rows with a fault alone."""
    lines: int = 0
    """How many lines, or rows, the piece has, where these are its last."""
    is_last: bool = False


def tables(config: NLIConfig) -> Iterator[RowTable]:
    """All rows, by this process. Raises DataError as `nli_rows.read_rows`."""
    for piece in nli_rows.whole(config):
        yield from _tables_of(piece, config)


def is_much(config: NLIConfig) -> bool:
    """Whether workers are to read it: a data set, or files above 64 MiB together, unless few rows of it are wanted."""
    if config.limit is not None and config.limit <= FEW_ROWS:
        return False
    return config.dataset is not None or nli_rows.size_bytes(config) > FEW_BYTES


def tables_by_workers(config: NLIConfig) -> Iterator[RowTable]:
    """All rows, read by Ray Data. Ray must run. Raises DataError as `nli_rows.read_rows`.

    What is on this machine's disk is read by its cores, what is in a bucket or on the hub by those of all machines.
    """
    import ray.data

    nodes = None
    if _is_local(config):
        here = machines.own_node()
        if not here["Resources"].get("CPU"):
            yield from tables(config)
            return
        nodes = {NODE_ID: here["NodeID"]}
    cluster.quieten_ray_data()
    pieces = nli_rows.pieces(config)
    # items, not a range: reading one would want a CPU of its own
    items = ray.data.from_items([{"piece": i} for i in range(len(pieces))], override_num_blocks=len(pieces))
    done = items.map_batches(_read, fn_args=(pieces, config), batch_size=1, label_selector=nodes)
    done.context.execution_options.preserve_order = True
    with progress.bar("nli", len(pieces), "pieces", "workers read the first") as advance, cluster.user_errors():
        for row in done.iter_rows():
            if row["error"]:
                raise DataError(row["error"])
            yield RowTable(row["source"], pa.ipc.open_stream(row["table"]).read_all(), int(row["lines"]))
            advance(int(row["is_last"]))


def _is_local(config: NLIConfig) -> bool:
    if config.dataset is not None:
        return sources.is_there(Path(config.dataset))
    return not uris.is_remote(str(config.path))


def _read(batch: Batch, pieces: Sequence[Piece], config: NLIConfig) -> Iterator[Batch]:
    """What a worker makes of a piece: its tables, packed, so that Ray Data neither cuts nor joins them."""
    (piece,) = batch["piece"]
    try:
        for rows in _tables_of(pieces[int(piece)], config):
            yield _packed(rows)
    except NliftError as error:  # given back: to what is raised here Ray Data adds words of its own
        yield _packed(RowTable("", ROWS.empty_table()), str(error))


def _packed(rows: RowTable, error: str = "") -> Batch:
    """One row of Ray Data."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, ROWS) as writer:
        writer.write_table(rows.table)
    values = {"source": rows.source, "table": stream.getvalue().to_pybytes(), "error": error}
    return {
        **{name: np.array([value], dtype=object) for name, value in values.items()},
        "lines": np.array([rows.lines]),
        "is_last": np.array([rows.is_last]),
    }


def _tables_of(piece: Piece, config: NLIConfig) -> Iterator[RowTable]:
    """The rows of a piece; one table at least."""
    piece = copy.copy(piece)  # which holds its bytes, and goes with them
    rows = islice(nli_rows.rows_of(piece, config), config.limit)
    source = str(config.dataset) if isinstance(piece, Shard) else str(piece)
    seen = 0
    while len(read := list(islice(rows, PIECE))) == PIECE:
        seen += PIECE
        yield RowTable(source, _table(read))
    lines = seen + len(read)
    if isinstance(piece, FilePart) and piece.suffix.lower() in BY_LINES:
        lines = piece.lines()
    yield RowTable(source, _table(read), lines, is_last=True)


def _table(rows: list[NLIRow]) -> pa.Table:
    """Rows as columns of ROWS; of a row with a fault its texts are in its values alone."""
    good = [row.fault is None for row in rows]
    columns = {
        "line": [row.line for row in rows],
        "premise": [row.premise.strip() if ok else "" for row, ok in zip(rows, good, strict=True)],
        "hypothesis": [row.hypothesis.strip() if ok else "" for row, ok in zip(rows, good, strict=True)],
        "label": [row.label.encode("utf-8", "replace").decode() for row in rows],  # half a character is none
        "fault": [row.fault and row.fault.encode("utf-8", "replace").decode() for row in rows],
        "values": [
            None if ok else json.dumps(dict(row.values), default=str) for row, ok in zip(rows, good, strict=True)
        ],
    }
    return pa.table(columns, schema=ROWS)
