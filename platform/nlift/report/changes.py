"""What fine-tuning changed: queries that the tuned encoder answers better and worse than base, with their texts.

Shape suffixes: Q queries, N pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from nlift.config import Experiment
from nlift.errors import NliftError
from nlift.evaluation import trec
from nlift.evaluation.comparisons import PerQuery
from nlift.evaluation.datasets import RetrievalSet, StsSet
from nlift.evaluation.set_rows import content_of
from nlift.pipeline import evaluate, measurement_job, per_query
from nlift.pipeline.stage_folder import MANIFEST, read_manifest
from nlift.report.tables import Column, Row, Table
from nlift.settings import EvaluationSet

EACH = 8  # gains and losses of a set
SNIPPET_CHARACTERS = 240
METRIC = "ndcg@10"


@dataclass(frozen=True)
class DocumentSnippet:
    """A document, its text cut to a snippet."""

    doc_id: str
    text: str
    relevant: bool


@dataclass(frozen=True)
class Change:
    """A query and what became of it."""

    query: str
    before: float
    after: float
    relevant: list[DocumentSnippet]
    """The document that should be found; of several the most relevant one."""
    more: int
    """Further relevant documents."""
    hits: dict[str, DocumentSnippet | None]
    """The best hit by encoder; None where nothing was found."""


@dataclass(frozen=True)
class SetChanges:
    """Wins, ties and losses of tuned against base on a set, and the largest of both."""

    set_name: str
    counts: dict[str, int]
    unit: str
    note: str = ""
    """Why there are no texts."""
    gains: list[Change] = field(default_factory=list)
    losses: list[Change] = field(default_factory=list)
    pairs: list[Table] = field(default_factory=list)
    """Of an STS set in place of gains and losses."""


def changes(experiment: Experiment) -> list[SetChanges]:
    """What changed on every retrieval and STS set that base and tuned were both measured on; [] before evaluation."""
    folder = evaluate.STAGE.path(experiment)
    path = folder / evaluate.PER_QUERY_FILE
    if not path.is_file():
        return []
    measured, set_changes = per_query.read_named(path), []
    for config in experiment.evaluate.sets:
        if not {(config.name, "base"), (config.name, "tuned")} <= measured.keys():
            continue
        (queries, base), (own_queries, tuned) = (measured[config.name, name] for name in ("base", "tuned"))
        if queries == own_queries and config.kind == "retrieval":
            set_changes.append(_retrieval(config, folder, queries, base, tuned))
        elif queries == own_queries and config.kind == "sts":
            set_changes.append(_sts(config, folder, queries, base, tuned))
    return set_changes


def _texts(config: EvaluationSet, folder: Path) -> RetrievalSet | StsSet | str:
    """A set as it was measured, or why its texts cannot be shown."""
    manifest = read_manifest(folder)["identity"] if (folder / MANIFEST).is_file() else {}
    names = [dataset["name"] for dataset in manifest.get("config", {}).get("sets", [])]
    recorded: dict[str, Any] = dict(zip(names, manifest.get("sets", []), strict=False))
    try:
        if config.name in recorded and content_of(config) != recorded[config.name]:
            return "The set is another one now than when it was measured, so that no texts are shown."
        return measurement_job.test_part(config, config.name in manifest.get("dev", []))
    except NliftError as error:
        return f"Its texts cannot be read: {error}."


def _retrieval(config: EvaluationSet, folder: Path, queries: list[str], base: PerQuery, tuned: PerQuery) -> SetChanges:
    difference_Q = tuned[METRIC] - base[METRIC]
    counts = _counts(difference_Q, ("better", "the same", "worse"))
    dataset = _texts(config, folder)
    if not isinstance(dataset, RetrievalSet):
        return SetChanges(config.name, counts, "queries", str(dataset))
    order = np.argsort(-difference_Q, kind="stable")
    best = [row for row in order[:EACH].tolist() if difference_Q[row] > 0]
    worst = [row for row in order[::-1][:EACH].tolist() if difference_Q[row] < 0]
    known = {row for row in (*best, *worst) if queries[row] in dataset.queries}
    place = {query: i for i, query in enumerate(dataset.queries)}
    wanted = sorted((queries[row] for row in known), key=lambda query: place[query])
    firsts = {name: _first_hits(folder, config.name, name, wanted) for name in ("base", "tuned")}
    documents = {trec.escaped(document.doc_id): document for document in dataset.documents}

    def document(doc_id: str, query: str) -> DocumentSnippet:
        relevant = any(trec.escaped(name) == doc_id for name, grade in dataset.qrels[query].items() if grade > 0)
        there = documents.get(doc_id)
        return DocumentSnippet(doc_id, snippet(there.content) if there else "", relevant)

    def change(row: int) -> Change:
        query = queries[row]
        judged = sorted(((-grade, name) for name, grade in dataset.qrels[query].items() if grade > 0))
        relevant = [document(trec.escaped(name), query) for _, name in judged[:1]]
        hits = {name: document(first[query], query) if query in first else None for name, first in firsts.items()}
        before, after = float(base[METRIC][row]), float(tuned[METRIC][row])
        return Change(snippet(dataset.queries[query]), before, after, relevant, len(judged) - 1, hits)

    gains, losses = ([change(row) for row in rows if row in known] for rows in (best, worst))
    return SetChanges(config.name, counts, "queries", "", gains, losses)


def _first_hits(folder: Path, set_name: str, name: str, queries: Sequence[str]) -> dict[str, str]:
    path = evaluate.run_file(folder, set_name, name)
    return trec.first_hits(path, queries) if path.is_file() else {}


def _counts(difference_Q: np.ndarray, names: tuple[str, str, str]) -> dict[str, int]:
    better, worse = int((difference_Q > 0).sum()), int((difference_Q < 0).sum())
    return dict(zip(names, (better, len(difference_Q) - better - worse, worse), strict=True))


def _sts(config: EvaluationSet, folder: Path, names: list[str], base: PerQuery, tuned: PerQuery) -> SetChanges:
    """Pairs by how much nearer their rank came to the one that people give them; rank 1 is the most alike."""
    people_N, before_N, after_N = (
        stats.rankdata(-values_N) for values_N in (base["score"], base["cosine"], tuned["cosine"])
    )
    nearer_N = np.abs(before_N - people_N) - np.abs(after_N - people_N)
    counts = _counts(nearer_N, ("nearer to people's rank", "as near", "further away"))
    dataset = _texts(config, folder)
    if not isinstance(dataset, StsSet):
        return SetChanges(config.name, counts, "pairs", str(dataset))
    order = np.argsort(-nearer_N, kind="stable")
    columns = (
        *(Column(name, words=True) for name in ("one sentence", "the other")),
        *(Column(name) for name in ("people's score", "people's rank", "base", "tuned")),
    )
    tables = []
    for title, rows in (("nearer to people's rank", order[:EACH]), ("further away", order[::-1][:EACH])):
        sign = 1 if title.startswith("nearer") else -1
        cells = tuple(
            Row(
                (
                    *map(snippet, dataset.pairs[int(names[row])]),
                    f"{base['score'][row]:g}",
                    *(f"{rank_N[row]:g}" for rank_N in (people_N, before_N, after_N)),
                )
            )
            for row in rows.tolist()
            if sign * nearer_N[row] > 0
        )
        tables += [Table(f"{title}, of {len(names):,}", columns, cells)] if cells else []
    return SetChanges(config.name, counts, "pairs", pairs=tables)


def snippet(text: str) -> str:
    """A text's beginning, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= SNIPPET_CHARACTERS else line[: SNIPPET_CHARACTERS - 1] + "…"
