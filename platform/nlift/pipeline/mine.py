"""Stage `mine`: hard negatives from a corpus, found with a previous encoder; or rankings of it (rankings.py).

A candidate is a text near the anchor. One that is nearer to it than the anchor's own positive, less a margin, may be a
positive that nobody marked, and is left out (TopK-MarginPos, arXiv 2407.15831, section 3.2); so is any text that equals
the anchor or one of its positives.
"""

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nlift.config import Experiment
from nlift.data import sources
from nlift.data.corpus import corpus_fingerprint, usable_corpus
from nlift.data.files import read_rows, write_jsonl
from nlift.data.pairing import normalised
from nlift.data.schema import RankedPassages, Triplet
from nlift.errors import DataError
from nlift.models.embed import BATCH_TEXTS
from nlift.pipeline import rankings
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.workload import NamedModel, Pass, Workload, mean_tokens, shards
from nlift.search.faiss_index import FaissIndex
from nlift.search.searchers import DenseSearcher, Searcher, known_vectors
from nlift.settings import MineConfig
from nlift.training.objectives import RANKINGS

ANCHORS_AT_ONCE = 4096
EXAMPLES = 20
PRODUCTS_PER_S = 2e10  # of an exact search: products of numbers
TYPICAL_DIMENSIONS = 768
QUERIES_OF_DOCUMENT = 10  # that rankings can be made for, where nothing limits them
S_PER_TEXT = 0.0005  # its words counted, what is found for it compared


@dataclass(frozen=True)
class MinedNegative:
    """A hard negative of a row, and how near the two texts are to the anchor (cosine)."""

    row: int
    text: str
    similarity: float
    positive_similarity: float


class Mine(Stage):
    """Triplets with hard negatives from a corpus."""

    name = "mine"
    reads = Triplet
    writes = Triplet
    needs_ray = True
    to_spare_memory = "lower mine.num_actors or mine.max_length"

    def enabled(self, experiment: Experiment) -> bool:
        """Whether there is a section mine."""
        return experiment.mine is not None

    def models(self, experiment: Experiment) -> list[NamedModel]:
        """The encoder that finds them."""
        return [NamedModel(config_of(experiment).encoder, "encoder")]

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The section, the encoder and the corpus."""
        config = config_of(experiment)
        return {
            "config": config.model_dump(mode="json", exclude={"num_actors"}),
            "encoder": sources.model_fingerprint(config.encoder, "encoder", config.revision),
            "corpus": corpus_fingerprint(config.corpus) if config.corpus else None,
            **self._ranking_identity(experiment),
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }

    def _ranking_identity(self, experiment: Experiment) -> dict[str, Any]:
        """What rankings depend on beside the rest."""
        if config_of(experiment).finds != "rankings":
            return {}
        return {"search": experiment.search.model_dump(mode="json"), "seed": experiment.seed}

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """The corpus can be read, and the encoder loads."""
        config = config_of(experiment)
        if config.finds == "rankings":
            rankings.check(experiment, config)
        elif config.corpus is not None:
            usable_corpus(config.corpus)
        if sources.is_local(config.encoder, "encoder"):
            rankings.encoder_of(config)

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """From what."""
        config = config_of(experiment)
        what = "rankings" if config.finds == "rankings" else "hard negatives"
        return f"{what} from {config.corpus or 'the triplets'}"

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Tokens of the texts to choose from and of those that they are chosen for; an exact search of the former."""
        config = config_of(experiment)
        model = NamedModel(config.encoder, "encoder")
        documents = usable_corpus(config.corpus) if config.corpus is not None else []
        texts = [document.content for document in documents] or size.sample
        count = len(documents) or 2 * (size.triplets or 0)
        asked = 2 * (size.triplets or 0)  # anchors and positives
        if config.finds == "rankings":
            asked = min(config.limit or sys.maxsize, QUERIES_OF_DOCUMENT * count)
        tokens = count * mean_tokens(model, texts, config.max_length) + asked * mean_tokens(model, size.sample)
        workers = shards(count + asked, BATCH_TEXTS, config.num_actors)
        searched_s = asked * count * TYPICAL_DIMENSIONS / PRODUCTS_PER_S
        embedding = Pass("embed", model, tokens, "float32", most_workers=workers)
        return Workload((embedding,), searched_s + S_PER_TEXT * (count + asked))

    def run(self, experiment: Experiment, output: Output) -> None:
        """Write triplets with their mined negatives, or as they are beside rankings; examples for a person to read.

        Raises DataError where no row has a negative in the end, or nothing can be ranked.
        """
        config = config_of(experiment)
        rows = read_rows(self.upstream(experiment).path(experiment), Triplet)
        if config.finds == "rankings":
            _rank(experiment, rows, output)
            return
        texts = _candidates(rows, config)
        wanting = [i for i, row in enumerate(rows) if config.replace or not row.negative]
        mined = _search([rows[i] for i in wanting], texts, config) if wanting else []
        mined = [replace(negative, row=wanting[negative.row]) for negative in mined]
        result = merge(rows, mined)
        if not any(row.negative for row in result):
            raise DataError(
                f"mine: no candidate passes for any of {len(rows)} triplets, and none has a negative of its own; "
                f"lower mine.margin {config.margin} or raise mine.top_k {config.top_k}"
            )
        served = len({negative.row for negative in mined})
        output.rows_in = len(rows)
        output.notes = {
            "candidates": len(texts),
            "mined": served,
            "without": len(wanting) - served,
            "mean_similarity": {
                "positive": _mean([negative.positive_similarity for negative in mined]),
                "mined": _mean([negative.similarity for negative in mined]),
            },
        }
        drawn = random.Random(experiment.seed).sample(mined, min(EXAMPLES, len(mined)))
        examples = (_example(rows[negative.row], negative) for negative in drawn)
        write_jsonl(output.path / "examples.jsonl", examples)
        output.write_rows(result, Triplet)


STAGE = Mine()


def config_of(experiment: Experiment) -> MineConfig:
    """The experiment's section `mine`, which is there wherever this is called."""
    assert experiment.mine is not None
    return experiment.mine


def _rank(experiment: Experiment, rows: Sequence[Triplet], output: Output) -> None:
    """Write rankings, and the triplets as they are."""
    ranked = rankings.ranked(experiment, config_of(experiment))
    output.write_rows(ranked, RankedPassages, RANKINGS)
    output.rows_in, output.notes = len(rows), {"queries": len(ranked)}
    drawn = random.Random(experiment.seed).sample(ranked, min(EXAMPLES, len(ranked)))
    write_jsonl(output.path / "examples.jsonl", (vars(ranking) for ranking in drawn))
    output.write_rows(rows, Triplet)


def merge(rows: Sequence[Triplet], mined: Sequence[MinedNegative]) -> list[Triplet]:
    """Rows with their mined negatives, in order; a second one of a row makes a row `<pair_id>#2`."""
    texts: dict[int, list[str]] = {}
    for negative in mined:
        texts.setdefault(negative.row, []).append(negative.text)
    result = []
    for i, row in enumerate(rows):
        negatives = texts.get(i, [row.negative])
        ids = [row.pair_id, *(f"{row.pair_id}#{n}" for n in range(2, len(negatives) + 1))]
        for pair_id, text in zip(ids, negatives, strict=True):
            result.append(replace(row, pair_id=pair_id, negative=text))
    return result


def choose(
    row: Triplet,
    positives: set[str],
    positive_similarity: float,
    candidates: Sequence[tuple[str, float]],
    config: MineConfig,
) -> list[tuple[str, float]]:
    """The nearest candidates that are no likely positives of a row; `candidates` are texts and cosines, nearest first.

    `positives` are normalised texts that are positives of the row's anchor.
    """
    forbidden = {*positives, normalised(row.anchor), normalised(row.positive)}
    chosen: list[tuple[str, float]] = []
    for text, similarity in candidates:
        key = normalised(text)
        if similarity <= positive_similarity - config.margin and key not in forbidden:
            chosen.append((text, similarity))
            forbidden.add(key)
        if len(chosen) == config.num_negatives:
            break
    return chosen


def _candidates(rows: Sequence[Triplet], config: MineConfig) -> list[str]:
    """Distinct texts of the corpus, or of the triplets' positives and negatives where there is none."""
    if config.corpus is not None:
        documents = usable_corpus(config.corpus)
        return list(dict.fromkeys(document.content for document in documents))
    return list(dict.fromkeys(text for row in rows for text in (row.positive, row.negative) if text))


def _search(rows: Sequence[Triplet], texts: list[str], config: MineConfig) -> list[MinedNegative]:
    """The mined negatives of rows; `row` is the position in `rows`."""
    anchors = list(dict.fromkeys(row.anchor for row in rows))
    positives = list(dict.fromkeys(row.positive for row in rows))
    anchor_vectors = rankings.vectors_of(anchors, config, "query")
    passages = rankings.vectors_of([*texts, *positives], config, "passage")
    searcher = DenseSearcher(FaissIndex.build(passages[: len(texts)]), known_vectors(anchors, anchor_vectors))
    near = _nearest(anchors, searcher, texts, config.top_k)
    anchor_at = {text: i for i, text in enumerate(anchors)}
    positive_at = {text: len(texts) + i for i, text in enumerate(positives)}
    positives_of: dict[str, set[str]] = {}
    for row in rows:
        positives_of.setdefault(row.anchor, set()).add(normalised(row.positive))
    mined = []
    for i, row in enumerate(rows):
        anchor = anchor_at[row.anchor]
        own = float(anchor_vectors[anchor] @ passages[positive_at[row.positive]])
        chosen = choose(row, positives_of[row.anchor], own, near[anchor], config)
        mined += [MinedNegative(i, text, similarity, own) for text, similarity in chosen]
    return mined


def _nearest(anchors: list[str], searcher: Searcher, texts: list[str], top_k: int) -> list[list[tuple[str, float]]]:
    """The texts nearest to each anchor with their cosines, nearest first."""
    near: list[list[tuple[str, float]]] = []
    for start in range(0, len(anchors), ANCHORS_AT_ONCE):
        ranking = searcher.search(anchors[start : start + ANCHORS_AT_ONCE], top_k)
        for rows, scores in zip(ranking.rows_QK.tolist(), ranking.scores_QK.tolist(), strict=True):
            near.append([(texts[row], score) for row, score in zip(rows, scores, strict=True)])
    return near


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _example(row: Triplet, negative: MinedNegative) -> dict[str, Any]:
    similarities = {"positive": round(negative.positive_similarity, 4), "mined": round(negative.similarity, 4)}
    return {**vars(row), "mined": negative.text, "similarity": similarities}
