"""What an evaluation leaves beside metrics.json: intervals, groups of queries, what a page draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlift.evaluation import query_groups
from nlift.evaluation.comparisons import BM25, BM25_PLAIN, PerQuery
from nlift.evaluation.datasets import RetrievalSet
from nlift.evaluation.intervals import intervals
from nlift.pipeline import per_query
from nlift.pipeline.measurements import Measurement
from nlift.search.analyzers import Analyzer


@dataclass
class OnSet:
    """What names have on a set's queries, pairs or examples, all on the same."""

    queries: list[str]
    by_name: dict[str, PerQuery] = field(default_factory=dict)


def on_sets(results: Sequence[Measurement]) -> dict[str, OnSet]:
    """By set what each name has, in the order of measurements; of the queries that the first one has."""
    sets: dict[str, OnSet] = {}
    for result in results:
        assert result.per_query is not None
        names, columns = per_query.read(result.per_query)
        of_set = sets.setdefault(result.set_name, OnSet(names))
        if names and names == of_set.queries:
            of_set.by_name[result.name] = columns
    return sets


def intervals_of(sets: Mapping[str, OnSet]) -> dict[str, Any]:
    """intervals.json: by name, set and metric the 95 % interval, `[low, high]`."""
    by_name: dict[str, Any] = {}
    for set_name, of_set in sets.items():
        for name, columns in of_set.by_name.items():
            rounded = {metric: [round(end, 4) for end in ends] for metric, ends in intervals(columns).items()}
            by_name.setdefault(name, {})[set_name] = rounded
    return by_name


def groups_of(
    sets: Mapping[str, OnSet], datasets: Mapping[str, RetrievalSet], analyzers: Mapping[str, Analyzer]
) -> dict[str, Any]:
    """groups.json: by retrieval set, grouping, group and name the metrics on the queries of that group.

    Args:
        sets: What was measured.
        datasets: The retrieval sets by name, as they are reported.
        analyzers: What BM25's words are on each.
    """
    by_set: dict[str, Any] = {}
    for set_name, of_set in sets.items():
        if set_name not in datasets or not of_set.by_name:
            continue
        groups = query_groups.groups_of(datasets[set_name], of_set.queries, analyzers[set_name])
        first = next(iter(of_set.by_name))
        if BM25 in of_set.by_name and first not in (BM25, BM25_PLAIN):
            label = f"{first} beside bm25"
            groups[label] = query_groups.beside(of_set.by_name[first], of_set.by_name[BM25], first)
        by_set[set_name] = query_groups.by_group(groups, of_set.by_name)
    return by_set


def pictures_of(results: Sequence[Measurement]) -> dict[str, Any]:
    """pictures.json: by set and name what a page draws of vectors."""
    by_set: dict[str, Any] = {}
    for result in results:
        if result.picture is not None:
            by_set.setdefault(result.set_name, {})[result.name] = result.picture
    return by_set
