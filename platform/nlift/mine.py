"""Stage `mine`: hard negatives from a corpus, found with a previous encoder.

A candidate is a text near the anchor. One that is nearer to it than the anchor's own positive,
less a margin, may be a positive that nobody marked, and is left out (TopK-MarginPos, arXiv
2407.15831, section 3.2); so is any text that equals the anchor or one of its positives.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nlift import sources, triplets
from nlift.artifacts import Output, Stage, read_rows, write_jsonl
from nlift.bundle import import_faiss
from nlift.config import Experiment
from nlift.embedding import embed
from nlift.errors import DataError
from nlift.schema import Triplet
from nlift.sections import MineConfig
from nlift.sets import load_corpus

ANCHORS_AT_ONCE = 4096
EXAMPLES = 20


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    assert experiment.mine is not None
    config = experiment.mine
    identity = {
        "config": config.model_dump(mode="json", exclude={"num_actors"}),
        "encoder": sources.model_fingerprint(config.encoder, "encoder", config.revision),
        "corpus": sources.fingerprint(sources.data_path(config.corpus)) if config.corpus else None,
        "inputs": [triplets.stage(experiment).fingerprint],
    }
    return Stage("mine", experiment.folder / "mine", identity)


@dataclass(frozen=True)
class Mined:
    """A hard negative found for a row, and how near the two texts are to the anchor (cosine)."""

    row: int
    text: str
    similarity: float
    positive_similarity: float


def write(experiment: Experiment, output: Output) -> None:
    """Write triplets with their mined negatives, and examples for a person to read. Raises DataError where none is left."""
    assert experiment.mine is not None
    config = experiment.mine
    rows = read_rows(experiment.folder / "triplets", Triplet)
    corpus = _candidates(rows, config)
    wanting = [i for i, row in enumerate(rows) if config.replace or not row.negative]
    mined = _search([rows[i] for i in wanting], corpus, config) if wanting else []
    mined = [replace(one, row=wanting[one.row]) for one in mined]
    result = merge(rows, mined)
    if not any(row.negative for row in result):
        raise DataError(
            f"mine: no candidate passes for any of {len(rows)} triplets, and none has a negative of its own; "
            f"lower mine.margin {config.margin} or raise mine.top_k {config.top_k}"
        )
    got = len({one.row for one in mined})
    output.rows_in = len(rows)
    output.notes = {
        "candidates": len(corpus),
        "mined": got,
        "without": len(wanting) - got,
        "mean_similarity": {
            "positive": _mean([m.positive_similarity for m in mined]),
            "mined": _mean([m.similarity for m in mined]),
        },
    }
    drawn = random.Random(experiment.seed).sample(mined, min(EXAMPLES, len(mined)))
    write_jsonl(output.path / "examples.jsonl", (_example(rows[one.row], one) for one in drawn))
    output.write_rows(result, Triplet)


def merge(rows: Sequence[Triplet], mined: Sequence[Mined]) -> list[Triplet]:
    """Rows with their mined negatives, in order; a second one of a row makes a row `<pair_id>#2`."""
    found: dict[int, list[str]] = {}
    for one in mined:
        found.setdefault(one.row, []).append(one.text)
    result = []
    for i, row in enumerate(rows):
        negatives = found.get(i, [row.negative])
        ids = [row.pair_id, *(f"{row.pair_id}#{n}" for n in range(2, len(negatives) + 1))]
        result += [replace(row, pair_id=name, negative=text) for name, text in zip(ids, negatives, strict=True)]
    return result


def choose(
    row: Triplet, positives: set[str], positive_similarity: float, candidates: Sequence[tuple[str, float]], config: MineConfig
) -> list[tuple[str, float]]:
    """The nearest candidates that are no likely positives of a row; `candidates` are texts and cosines, nearest first.

    `positives` are normalised texts that are positives of the row's anchor.
    """
    forbidden = {*positives, normalised(row.anchor), normalised(row.positive)}
    found: list[tuple[str, float]] = []
    for text, similarity in candidates:
        known = normalised(text)
        if similarity <= positive_similarity - config.margin and known not in forbidden:
            found.append((text, similarity))
            forbidden.add(known)
        if len(found) == config.num_negatives:
            break
    return found


def normalised(text: str) -> str:
    """A text without differences of case and spacing."""
    return " ".join(text.casefold().split())


def _candidates(rows: Sequence[Triplet], config: MineConfig) -> list[str]:
    """Distinct texts of the corpus, or of the triplets' positives and negatives where there is none."""
    if config.corpus is not None:
        return list(dict.fromkeys(document.content for document in load_corpus(sources.data_path(config.corpus))))
    return list(dict.fromkeys(text for row in rows for text in (row.positive, row.negative) if text))


def _search(rows: Sequence[Triplet], corpus: list[str], config: MineConfig) -> list[Mined]:
    anchors, positives = (list(dict.fromkeys(getattr(row, side) for row in rows)) for side in ("anchor", "positive"))
    queries = _vectors(anchors, config, "query")
    passages = _vectors([*corpus, *positives], config, "passage")
    index = import_faiss().IndexFlatIP(passages.shape[1])
    index.add(passages[: len(corpus)])
    anchor_at, positive_at = ({text: i for i, text in enumerate(texts)} for texts in (anchors, positives))
    of_anchor: dict[str, set[str]] = {}
    for row in rows:
        of_anchor.setdefault(row.anchor, set()).add(normalised(row.positive))
    near: list[list[tuple[str, float]]] = []
    for start in range(0, len(anchors), ANCHORS_AT_ONCE):
        scores, found = index.search(queries[start : start + ANCHORS_AT_ONCE], min(config.top_k, len(corpus)))
        near += [[(corpus[j], float(s)) for j, s in zip(ids, line, strict=True)] for ids, line in zip(found, scores, strict=True)]
    mined = []
    for i, row in enumerate(rows):
        at = anchor_at[row.anchor]
        own = float(queries[at] @ passages[len(corpus) + positive_at[row.positive]])
        mined += [Mined(i, text, score, own) for text, score in choose(row, of_anchor[row.anchor], own, near[at], config)]
    return mined


def _vectors(texts: list[str], config: MineConfig, role: Any) -> np.ndarray:
    return embed(
        texts,
        config.encoder,
        revision=config.revision,
        role=role,
        max_length=config.max_length,
        num_actors=config.num_actors,
        title="mine",
        unit="texts",
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _example(row: Triplet, one: Mined) -> dict[str, Any]:
    similarities = {"positive": round(one.positive_similarity, 4), "mined": round(one.similarity, 4)}
    return {**vars(row), "mined": one.text, "similarity": similarities}
