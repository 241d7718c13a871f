"""What is distilled beside SimCSE: where it is, and what has to be made of it before training.

Rankings are what the stage `mine` wrote. Translations are those of the NLI pairs and of further files, scored by COMET,
with a teacher's vectors of their sources.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads

from nlift import progress
from nlift.config import Experiment
from nlift.data import sources
from nlift.data.database import Database, open_database
from nlift.data.files import rows_on_disk
from nlift.data.result_cache import complete
from nlift.data.schema import ParallelPair, arrow_schema, to_table
from nlift.errors import DataError, ModelError
from nlift.evaluation.datasets import TranslationSet, load_set
from nlift.models import comet
from nlift.models.comet import CometScorer
from nlift.models.embed import embed
from nlift.models.encoder import Encoder
from nlift.pipeline import mine, score, triplets
from nlift.settings import EvaluationSet, TrainConfig
from nlift.training.loop import base_encoder
from nlift.training.objectives import PARALLEL, TEACHER

LEAST_PAIRS = 100  # translations; fewer are no lesson
TURNED_BY = 2000  # sentences that say how the student lies
MOST_PIECES = 2.0  # tokens of a word, on average; more, and a tokenizer was made for another language
MOST_UNKNOWN = 0.1  # of all tokens
LONG_WORD = 15  # characters, on average; more, and the script has no spaces
MOST_TEXTS = 1000  # of a file that are looked at
SMALL_VOCABULARY = 1000  # of characters or bytes, which say nothing of a language


def folder(experiment: Experiment, stage: Path) -> Path | None:
    """Where training finds what it distils; `stage` is the folder of its own stage. None where it distils nothing."""
    loss = experiment.train.loss
    if loss == "search_distillation":
        return mine.STAGE.path(experiment)
    return stage if loss == "translation_distillation" else None


def identity(experiment: Experiment) -> dict[str, Any]:
    """What the translations and the teacher's vectors depend on; rankings are upstream's."""
    config = experiment.train
    if config.teacher is None:
        return {}
    pairs = triplets.STAGE.upstream(experiment).folder(experiment)
    return {
        "teacher": sources.model_fingerprint(config.teacher, "encoder", config.teacher_revision),
        "parallel": [sources.fingerprint(sources.data_path(path)) for path in config.parallel],
        "comet": comet.identity(experiment.score) if experiment.score is not None else None,
        "pairs": pairs.fingerprint,
    }


def check(experiment: Experiment, premises: Sequence[str]) -> None:
    """Raise NliftError for a teacher that cannot teach this student, or translations that cannot be read."""
    config = experiment.train
    further: dict[str, list[str]] = {}
    for path in config.parallel:
        pairs, empty = _further(path)
        further[f"the sources of {path}"] = [source for source, _ in pairs]
        if empty:
            progress.notice(f"train.parallel {path}: {empty} rows with an empty side are left out")
    if config.teacher is not None and experiment.translate is None:
        _check_count(sum(map(len, further.values())), config)
    if config.teacher is None or not sources.is_local(config.teacher, "encoder"):
        return
    teacher = Encoder.load(config.teacher, revision=config.teacher_revision)
    name = f"train.teacher {config.teacher}"
    same = [sources.model_fingerprint(model, "encoder", revision) for model, revision in _models(config)]
    if same[0] == same[1]:
        raise ModelError(f"{name}: is train.base_model itself, which has nothing to learn from it; name a trained one")
    if sources.is_local(config.base_model, "encoder"):
        dim = base_encoder(config, experiment.inference_length).dim
        if teacher.dim < dim:
            raise ModelError(
                f"{name}: its vectors have {teacher.dim} dimensions; expected the base model's {dim} or more"
            )
    taught = {"the premises": premises} if experiment.translate is not None else {}
    for title, texts in {**taught, **further}.items():
        pieces = pieces_of_a_word(teacher, texts[:MOST_TEXTS])
        if pieces > MOST_PIECES:
            raise ModelError(
                f"{name}: cuts {title} into {pieces:.1f} tokens a word, as a model of another language does; "
                "expected one that knows the language of the sources"
            )


def _models(config: TrainConfig) -> list[tuple[str, str | None]]:
    assert config.teacher is not None
    return [(config.teacher, config.teacher_revision), (config.base_model, config.revision)]


def pieces_of_a_word(encoder: Encoder, texts: Sequence[str]) -> float:
    """Tokens of a word, on average; infinity where many are unknown, 0 where they say nothing of a language."""
    words = [word for text in texts for word in text.split()]
    spaced = bool(words) and sum(map(len, words)) / len(words) <= LONG_WORD
    if not spaced or len(encoder.tokenizer) < SMALL_VOCABULARY:
        return 0.0
    special = encoder.tokenizer.num_special_tokens_to_add()
    tokens = [token for ids in encoder.tokens(texts) for token in ids]
    if tokens.count(encoder.tokenizer.unk_token_id) > MOST_UNKNOWN * len(tokens):
        return math.inf
    return (len(tokens) - special * len(texts)) / len(words)


def prepare(experiment: Experiment, output: Path, store: str | None = None) -> None:
    """Write the translations, best known by their COMET, and the teacher's vectors of their sources.

    `store` is the URI by which workers get files, where they do not see `output`. Raises DataError where fewer than a
    hundred are left.
    """
    config = experiment.train
    if config.loss != "translation_distillation":
        return
    assert config.teacher is not None
    with open_database(output, store) as database:
        count = _write_pairs(experiment, database, output)
    _check_count(count, config)
    texts = rows_on_disk(output, ParallelPair, PARALLEL).to_table(["source"]).column("source").to_pylist()
    distinct = list(dict.fromkeys(texts))
    vectors_ND = embed(
        distinct,
        config.teacher,
        revision=config.teacher_revision,
        role=None,
        max_length=experiment.inference_length,
        title="teacher",
        unit="sentences",
    )
    places = {text: place for place, text in enumerate(distinct)}
    student = base_encoder(config, experiment.inference_length)
    sample = np.linspace(0, len(distinct) - 1, min(TURNED_BY, len(distinct))).astype(int)
    vectors_ND = shortened(vectors_ND, student.dim)
    known_SD = student.encode([distinct[place] for place in sample], role="passage")
    vectors_ND = turned(vectors_ND, vectors_ND[sample], known_SD)
    np.save(output / TEACHER, vectors_ND[[places[text] for text in texts]])


def _check_count(count: int, config: TrainConfig) -> None:
    if count < LEAST_PAIRS:
        lower = "" if config.min_comet is None else f"lower train.min_comet {config.min_comet}, or "
        raise DataError(
            f"train: {count} translations to distil, expected {LEAST_PAIRS} or more; {lower}name more under "
            "train.parallel"
        )


def _write_pairs(experiment: Experiment, database: Database, output: Path) -> int:
    """Write the distinct translations with their COMET, those scored too low left out; how many there are."""
    config, inputs = experiment.train, []
    if experiment.translate is not None:
        upstream = triplets.STAGE.upstream(experiment)
        assert upstream.writes is not None
        database.add("pairs", rows_on_disk(upstream.path(experiment), upstream.writes))
        inputs.append(score.SENTENCES)
    if config.parallel:
        rows = [ParallelPair(source, target, None) for path in config.parallel for source, target in _further(path)[0]]
        database.add("further", pads.dataset(to_table(rows, ParallelPair)))
        inputs.append("SELECT source, target FROM further")
    union = " UNION ALL ".join(inputs)
    if experiment.score is None:
        query = f"SELECT DISTINCT source, target, NULL::DOUBLE AS comet FROM ({union}) ORDER BY source, target"
    else:
        cache = comet.cache(experiment.score, experiment.memories)
        complete(database, "scored", union, cache, CometScorer, experiment.score, "score")
        least = "" if config.min_comet is None else f" AND score >= {config.min_comet!r}"
        # a score of 0 or less counts for nothing
        query = f"SELECT source, target, score AS comet FROM scored WHERE score > 0{least} ORDER BY key"
    return database.write(query, output / PARALLEL, arrow_schema(ParallelPair))


def _further(path: str) -> tuple[list[tuple[str, str]], int]:
    """Translations of a file, source and target, and how many rows are none for an empty side. Raises DataError."""
    try:
        dataset = load_set(EvaluationSet(name="parallel", kind="translation", path=path))
    except DataError as error:
        raise DataError(f"train.parallel: {error}") from None
    assert isinstance(dataset, TranslationSet)
    pairs = [(source, target) for source, target in dataset.pairs if source.strip() and target.strip()]
    return pairs, len(dataset.pairs) - len(pairs)


def turned(vectors_ND: np.ndarray, teacher_SD: np.ndarray, student_SD: np.ndarray) -> np.ndarray:
    """A teacher's vectors in the frame of a student: turned so that they lie nearest to the student's own.

    A rotation (orthogonal Procrustes, Schonemann 1966) keeps all cosines, and spares the student from unlearning its
    own directions: what it knows of rare words, which no translation has, stays where it is.

    Args:
        vectors_ND: To be turned, float32 [N, D].
        teacher_SD: The teacher's vectors of a sample of sentences.
        student_SD: The untrained student's vectors of the same.
    """
    left_DD, _, right_DD = np.linalg.svd(teacher_SD.T.astype(np.float64) @ student_SD)
    return vectors_ND @ (left_DD @ right_DD).astype(np.float32)


def shortened(vectors_ND: np.ndarray, dim: int) -> np.ndarray:
    """Unit vectors in `dim` dimensions, those of most variance; as they are where they have as many.

    A principal component analysis without centring keeps cosines as well as `dim` numbers can. Raises ModelError for
    vectors of fewer dimensions.
    """
    if vectors_ND.shape[1] < dim:
        raise ModelError(
            f"train.teacher: its vectors have {vectors_ND.shape[1]} dimensions; expected the base model's {dim} or more"
        )
    if vectors_ND.shape[1] == dim:
        return vectors_ND
    _, directions_DD = np.linalg.eigh(vectors_ND.T.astype(np.float64) @ vectors_ND)
    short_ND = vectors_ND @ directions_DD[:, -dim:].astype(np.float32)
    return short_ND / np.linalg.norm(short_ND, axis=1, keepdims=True).clip(1e-9)
