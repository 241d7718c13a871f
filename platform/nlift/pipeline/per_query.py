"""What was measured on every query, pair of sentences or example, as files; and all encoders compared by it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nlift.data.files import read_parquet
from nlift.errors import ArtifactError

SCHEMA = pa.schema(
    [
        ("set", pa.dictionary(pa.int32(), pa.string())),
        ("name", pa.dictionary(pa.int32(), pa.string())),
        ("query", pa.string()),
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("value", pa.float64()),
    ]
)


def write(path: Path, per_query: Mapping[str, Mapping[str, float]]) -> None:
    """Write the metrics of each query: a row per query, a column per metric."""
    names = list(next(iter(per_query.values()), {}))
    columns: dict[str, list[object]] = {"query": list(per_query)}
    columns |= {name: [row[name] for row in per_query.values()] for name in names}
    pq.write_table(pa.table(columns), path)


def read(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """The queries, and the metrics by name, float64 [Q]."""
    table = read_parquet(path)
    names = [name for name in table.column_names if name != "query"]
    return table.column("query").to_pylist(), {name: table.column(name).to_numpy() for name in names}


def write_all(path: Path, tables: Iterable[tuple[str, str, Path]]) -> None:
    """Write several, each of a set and a name, as one: a row per set, name, query and metric."""
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for set_name, name, file in tables:
            queries, columns = read(file)
            for metric, values in columns.items():
                rows = {"set": [set_name] * len(queries), "name": [name] * len(queries), "query": queries}
                table = pa.table({**rows, "metric": [metric] * len(queries), "value": values})
                writer.write_table(table.cast(SCHEMA))


def read_all(path: Path) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """What `write_all` wrote: by set and name the metrics, float64 [Q], queries in the order of their names."""
    return {place: columns for place, (_, columns) in read_named(path).items()}


def read_named(path: Path) -> dict[tuple[str, str], tuple[list[str], dict[str, np.ndarray]]]:
    """The same with the names of the queries, in their order. Raises ArtifactError where there is no such file."""
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage evaluate again")
    rows = read_parquet(path).to_pandas()
    by_set_and_name = {}
    for (set_name, name), of_name in rows.groupby(["set", "name"], observed=True):
        by_metric = {str(metric): own.sort_values("query") for metric, own in of_name.groupby("metric", observed=True)}
        queries = next(iter(by_metric.values()))["query"].tolist()
        columns = {metric: own["value"].to_numpy() for metric, own in by_metric.items()}
        by_set_and_name[str(set_name), str(name)] = (queries, columns)
    return by_set_and_name
