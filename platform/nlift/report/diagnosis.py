"""What the figures of a run point to, in words: known failures of fine-tuned encoders by their signatures.

A difference is stated only where comparisons.json shows it. Thresholds are of single figures, and rough: they say where
to look, not what is proven.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nlift.evaluation.comparisons import metric_name
from nlift.report.tables import is_shown

GOOD_STS, POOR_STS = 0.7, 0.5  # ranks of which half, or less than a quarter, are explained (the square)
FAR_BELOW = 0.1  # NDCG@10 below BM25: as a relevant document falls from rank 1 to 2 for a quarter of the queries
SPREAD = 0.05  # of uniformity, a logarithm: texts are nearer by less than a twentieth; below that nothing is spread
CROWDED = -2.0  # uniformity of texts that are all at a cosine of 0.5; -4 at right angles, 0 where all are alike
MANY = 1_000_000


@dataclass(frozen=True)
class Finding:
    """A signature that is there."""

    name: str
    said: str
    """The figures that show it, in a sentence."""
    advice: str
    """What helps."""


class _Differences:
    """comparisons.json by place."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = {(row["set"], row["metric"], row["name"], row["against"]): row for row in rows}

    def of(self, set_name: str, metric: str, name: str, against: str) -> dict[str, Any] | None:
        return self.rows.get((set_name, metric, name, against))

    def shown(self, set_name: str, metric: str, name: str, against: str) -> float:
        """The difference where it is shown; else 0."""
        row = self.of(set_name, metric, name, against)
        return float(row["difference"]) if row is not None and is_shown(row) else 0.0


def diagnose(metrics: dict[str, Any], comparisons: Sequence[dict[str, Any]]) -> list[Finding]:
    """The signatures that metrics.json and comparisons.json show of the tuned encoder, the gravest first."""
    encoders, differences = metrics.get("encoders", {}), _Differences(comparisons)
    if not {"base", "tuned"} <= encoders.keys():
        return []
    return [
        *_worse(encoders, differences),
        *_collapse(encoders),
        *_mismatch(encoders, differences),
        *_below_words(encoders, differences),
        *_undecided(encoders, differences),
    ]


def _measured(encoders: dict[str, Any], group: str, metric: str) -> dict[str, float]:
    """A metric of the tuned encoder by set."""
    return {name: row[metric] for name, row in encoders["tuned"].get(group, {}).items() if metric in row}


def _worse(encoders: dict[str, Any], differences: _Differences) -> Iterator[Finding]:
    """Tuned is below base: what the base model knew is lost."""
    for group, metric in (("retrieval", "ndcg@10"), ("sts", "spearman"), ("transfer", "accuracy")):
        for set_name in _measured(encoders, group, metric):
            if differences.shown(set_name, metric, "tuned", "base") < 0:
                yield Finding(
                    "forgetting",
                    f"{_words(differences, set_name, metric, 'tuned', 'base')} on {set_name}.",
                    "Lower train.learning_rate or train.epochs, or let the guard keep a share of the base model "
                    "(train.base_share: auto; train.guard names the set).",
                )


def _collapse(encoders: dict[str, Any]) -> Iterator[Finding]:
    """Vectors are as crowded as before. No test stands behind geometry, so that the figures are told and no more."""
    for set_name, after in _measured(encoders, "geometry", "uniformity").items():
        before = encoders["base"].get("geometry", {}).get(set_name, {}).get("uniformity")
        if before is not None and after > before - SPREAD and after > CROWDED:
            yield Finding(
                "collapse",
                f"Uniformity on {set_name} is {before:.2f} before and {after:.2f} after training: texts are not spread "
                "out, and near 0 all of them are alike.",
                "Contrast needs negatives: a larger train.global_batch_size, a lower train.temperature, hard negatives "
                "(mine); or whiten the vectors (train.whitening: auto).",
            )


def _mismatch(encoders: dict[str, Any], differences: _Differences) -> Iterator[Finding]:
    """Similarity and retrieval tell different stories."""
    sts = _measured(encoders, "sts", "spearman")
    if not sts:
        return
    best_set = max(sts, key=lambda name: sts[name])
    for set_name in _measured(encoders, "retrieval", "ndcg@10"):
        to_words = differences.shown(set_name, "ndcg@10", "tuned", "bm25")
        to_base = differences.shown(set_name, "ndcg@10", "tuned", "base")
        if sts[best_set] >= GOOD_STS and (to_words <= -FAR_BELOW or to_base < 0):
            against = "bm25" if to_words <= -FAR_BELOW else "base"
            yield Finding(
                "domain mismatch",
                f"Similarity of sentences is good (Spearman {sts[best_set]:.3f} on {best_set}), and yet "
                f"{_words(differences, set_name, 'ndcg@10', 'tuned', against)} on {set_name}: "
                "what NLI sentences teach is not what these documents need.",
                "Train on the corpus's own text beside them (cloze; train.loss: search_distillation), and on longer "
                "texts (train.max_length).",
            )
        elif sts[best_set] < POOR_STS and to_words > 0:
            yield Finding(
                "alignment",
                f"{_words(differences, set_name, 'ndcg@10', 'tuned', 'bm25')} on {set_name}, "
                f"and yet similarity of sentences is poor (Spearman {sts[best_set]:.3f} on {best_set}): "
                "topics are found, meanings of single sentences are not aligned.",
                "More NLI triplets with contradictions (triplets.require_negative), better translations "
                "(triplets.filter.min_score), or a teacher (train.loss: translation_distillation).",
            )


def _below_words(encoders: dict[str, Any], differences: _Differences) -> Iterator[Finding]:
    """The encoder alone finds less than BM25."""
    for set_name in _measured(encoders, "retrieval", "ndcg@10"):
        if differences.shown(set_name, "ndcg@10", "tuned", "bm25") >= 0:
            continue
        fused, said = differences.of(set_name, "ndcg@10", "hybrid", "bm25"), ""
        advice = "Do not search with the encoder alone; leave search.mode: auto, which chooses on judged queries."
        if fused is not None:
            said = f"; {_words(differences, set_name, 'ndcg@10', 'hybrid', 'bm25')}"
            if is_shown(fused):
                advice = "Use hybrid search." if fused["difference"] > 0 else "Use lexical search."
        yield Finding(
            "words are better",
            f"{_words(differences, set_name, 'ndcg@10', 'tuned', 'bm25')} on {set_name}{said}.",
            advice,
        )


def _undecided(encoders: dict[str, Any], differences: _Differences) -> Iterator[Finding]:
    """Too few queries to tell tuned from base."""
    for group, metric, unit in (
        ("retrieval", "ndcg@10", "queries"),
        ("sts", "spearman", "pairs"),
        ("transfer", "accuracy", "examples"),
    ):
        for set_name in _measured(encoders, group, metric):
            row = differences.of(set_name, metric, "tuned", "base")
            if row is not None and not is_shown(row):
                yield Finding("no difference shown", _what_shows(row, set_name, unit), _more(row, unit))


def _what_shows(row: dict[str, Any], set_name: str, unit: str) -> str:
    said = f"No difference of tuned and base is shown by {metric_name(row['metric'])} on {set_name}"
    if row["detectable"] is None:
        return f"{said}: {row['count']:,.0f} {unit} show nothing."
    return f"{said}: {row['count']:,.0f} {unit} can show {row['detectable']:.3f}."


def _more(row: dict[str, Any], unit: str) -> str:
    """How many could show a difference as large as the one measured: the error falls with their square root."""
    if not row["difference"] or row["detectable"] is None:
        return f"To see smaller differences takes more {unit}: half as large, four times as many."
    needed = row["count"] * (row["detectable"] / row["difference"]) ** 2
    if needed <= row["count"]:  # large enough for one test, and not for all that were corrected for
        return f"More {unit} may decide it."
    many = f"about {float(f'{needed:.2g}'):,.0f}" if needed < MANY else "more than a million"
    return f"If it is as large as measured ({row['difference']:+.3f}), {many} {unit} would show it."


def _words(differences: _Differences, set_name: str, metric: str, name: str, against: str) -> str:
    """A comparison in words, from comparisons.json."""
    row = differences.of(set_name, metric, name, against)
    assert row is not None
    return str(row["words"])
