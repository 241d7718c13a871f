"""Tables of groups.json: where an encoder is good."""

from collections.abc import Mapping
from typing import Any

from nlift.evaluation.comparisons import BM25_PLAIN
from nlift.report.tables import Column, Row, Table, ordered


def group_tables(groups: Mapping[str, Any]) -> list[Table]:
    """A table per retrieval set: a row per group of queries, with NDCG@10 of every encoder."""
    tables = []
    for set_name, groupings in groups.items():
        by_group = [group for grouping in groupings.values() for group in grouping.values()]
        there = dict.fromkeys(name for group in by_group for name in group)
        names = [name for name in ordered(there) if name != BM25_PLAIN]
        rows = []
        for grouping, own in groupings.items():
            for place, (group, figures) in enumerate(own.items()):
                count = next(iter(figures.values()))["queries"]
                cells = (f"{figures[name]['ndcg@10']:.3f}" if name in figures else "" for name in names)
                rows.append(Row((grouping, group, f"{count:,}", *cells), first=place == 0))
        columns = (Column("queries by", True), Column("group", True), Column("queries"), *map(Column, names))
        tables.append(Table(f"{set_name}, NDCG@10", columns, tuple(rows), grouped=True))
    return tables
