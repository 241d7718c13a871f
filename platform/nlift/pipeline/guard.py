"""The last step of training: base, tuned and their averages are compared, and the best one is saved.

Called by `train` and `tune`; what is looked at, and how one is chosen, is in evaluation/encoder_choice.py.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlift import cluster, progress
from nlift.config import Experiment
from nlift.data import sources
from nlift.data.corpus import corpus_fingerprint, usable_corpus
from nlift.data.files import write_json
from nlift.data.passages import digest
from nlift.data.schema import Document
from nlift.data.stored_folder import StoredFolder, local_copy
from nlift.errors import DataError, MemoryShortageError, ModelError, ResourceError
from nlift.evaluation.datasets import RetrievalSet, StsSet, load_set
from nlift.evaluation.encoder_choice import (
    Candidate,
    Judge,
    RememberingEncoder,
    RetrievalJudge,
    StsJudge,
    WhitenedEncoder,
    choose,
)
from nlift.evaluation.judged_queries import LEAST_DEV, LEAST_PAIRS, evidence
from nlift.models import whitening
from nlift.models.embed import on_gpu
from nlift.models.encoder import Encoder
from nlift.models.weight_averaging import blend, weights
from nlift.pipeline.measurements import ray_task
from nlift.settings import EvaluationSet, TrainConfig
from nlift.training.loop import base_encoder

FILE = "guard.json"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the base model's weights
POWER = 0.25  # of the whitening that is tried
NOTHING = (
    "guard    there is too little to compare base and tuned on: the tuned encoder is kept as it is; name a larger set "
    "as train.dev, or none, and a corpus under index or cloze"
)
Layer = tuple[np.ndarray, np.ndarray]  # weight and bias of a whitening
MOST_DOCUMENTS = 2000  # of a corpus that encoders are compared on: enough to tell them apart


def judges(experiment: Experiment) -> list[Judge]:
    """What encoders are compared on: the set that training looks at, else pairs of the corpus; then further sets.

    What has too few queries, pairs or sentences is left out; nothing where all of it has.
    """
    dev = experiment.dev_set
    first = _judge(dev) if dev is not None else _judge_of_corpus(experiment)
    further = [_judge(config) for config in experiment.guard_sets]
    return [judge for judge in (first, *further) if judge is not None]


def _judge(config: EvaluationSet) -> Judge | None:
    """A set's dev part; where it has few queries, pairs of its documents. None where there are too few of all."""
    dataset = load_set(config)
    assert isinstance(dataset, RetrievalSet | StsSet)
    part = dataset.part(dev=True)
    if isinstance(part, StsSet):
        if len(part.pairs) < LEAST_PAIRS:
            return None
        return StsJudge(f"{len(part.pairs)} dev pairs of {part.name}", part)
    judgements = evidence(_around(part), part, separates=False, most=MOST_DOCUMENTS).intact()
    return RetrievalJudge(judgements.reason, judgements) if judgements.parts else None


def _judge_of_corpus(experiment: Experiment) -> Judge | None:
    documents = corpus(experiment)
    if not documents:
        return None
    judgements = evidence(documents, None, separates=False, most=MOST_DOCUMENTS).intact()
    return RetrievalJudge(judgements.reason, judgements) if judgements.parts else None


def _around(part: RetrievalSet) -> list[Document]:
    """A set's documents in the order of rows; of very many those that answer a query and some of the others."""
    documents = part.in_row_order()
    if len(documents) <= MOST_DOCUMENTS:
        return documents
    answers = {doc_id for judged in part.qrels.values() for doc_id, relevance in judged.items() if relevance > 0}
    others = sorted(digest(document) for document in documents if document.doc_id not in answers)
    kept = set(others[: max(MOST_DOCUMENTS - len(answers), 0)])
    return [document for document in documents if document.doc_id in answers or digest(document) in kept]


def corpus(experiment: Experiment) -> list[Document]:
    """The documents that are to be searched, or that pairs are made of; of very many some. None where no corpus is."""
    section = experiment.index or experiment.cloze
    if section is None:
        return []
    documents = usable_corpus(section.corpus)
    return sorted(documents, key=digest)[:MOST_DOCUMENTS] if len(documents) > MOST_DOCUMENTS else list(documents)


def identity(experiment: Experiment) -> dict[str, Any]:
    """What the verdict depends on, beside training and the sets that it looks at."""
    config, section = experiment.train, experiment.index or experiment.cloze
    looks = (config.base_share == "auto" and experiment.dev_set is None) or config.whitening is not None
    return {
        "shares": SHARES,
        "power": POWER,
        "documents": MOST_DOCUMENTS,
        "corpus": corpus_fingerprint(section.corpus) if looks and section is not None else None,
    }


def check(experiment: Experiment) -> None:
    """Raise NliftError where a further set has too little to look at, or the base model has a whitening of its own."""
    config = experiment.train
    if config.whitening is not None and sources.is_local(config.base_model, "encoder"):
        base = base_encoder(config, experiment.inference_length)
        if base.whitening is not None:
            raise ModelError(f"train.whitening: {config.base_model} has a whitening of its own; expected null")
        if config.whitening != "auto":
            whitening.check(len(corpus(experiment)), base.dim)
    for dataset in experiment.guard_sets:
        if _judge(dataset) is None:
            raise DataError(
                f"train.guard {dataset.name!r}: too little in its dev part; expected {LEAST_PAIRS} pairs, {LEAST_DEV} "
                f"queries, or documents that give {LEAST_PAIRS} pairs"
            )


def keep_best(experiment: Experiment, trained: Path, folder: Path, store: str | None = None) -> dict[str, Any] | None:
    """Save the best encoder as `folder`/encoder, and the comparison as guard.json.

    Args:
        experiment: Whose base model, sets and settings.
        trained: The folder of the encoder as training left it.
        folder: Of the stage.
        store: The URI by which workers get the encoder, where they do not see `trained`.

    Returns:
        The verdict as guard.json has it; None where there is nothing to compare, and the encoder is kept as it is.
    """
    config, target = experiment.train, folder / "encoder"
    shutil.rmtree(target, ignore_errors=True)  # of a run that was cut right here
    compared = judges(experiment) if config.base_share == "auto" else []
    if not compared and config.base_share == "auto":
        progress.notice(NOTHING)
    if not compared and not isinstance(config.whitening, float):
        shutil.copytree(trained, target)
        return None
    # a whitening is fitted on these, nothing else looks at them
    texts = [document.content for document in corpus(experiment)] if config.whitening is not None else []
    at = str(trained.absolute()) if store is None else StoredFolder(f"{store}/trained").publish(trained, {}, mark=False)
    candidates = _measured(experiment, at, compared, texts)
    if not compared:
        (chosen,) = candidates
        _save(experiment, trained, target, chosen, candidates[chosen][1])
        return None
    values = {candidate: measured for candidate, (measured, _) in candidates.items()}
    verdict = choose(compared, values, config.guard_margin)
    _save(experiment, trained, target, verdict.chosen, candidates[verdict.chosen][1])
    content = verdict.as_json()
    write_json(folder / FILE, content)
    return content


def _measured(
    experiment: Experiment, trained: str, compared: Sequence[Judge], texts: Sequence[str]
) -> dict[Candidate, tuple[list[np.ndarray], Layer | None]]:
    """Every candidate's values by judge, and its whitening; a Ray task for each share of the base model."""
    config, length = experiment.train, experiment.inference_length
    shares = SHARES if config.base_share == "auto" and compared else (config.fixed_base_share,)
    task = ray_task(_measure)
    candidates: dict[Candidate, tuple[list[np.ndarray], Layer | None]] = {}
    with progress.bar("guard", len(shares), "encoders") as advance:
        jobs = [
            task.remote(trained, config, _candidates(config, share, texts), compared, texts, length) for share in shares
        ]
        for job in jobs:
            try:
                candidates |= cluster.get(job)
            except MemoryShortageError as error:  # what the stage would advise spares training memory
                raise ResourceError(f"guard: {error}; run again with less beside it: training is kept") from None
            advance(1)
    return candidates


def _candidates(config: TrainConfig, share: float, texts: Sequence[str]) -> list[Candidate]:
    """What is compared of a share of the base model: with and without whitening, where there are texts to fit it on."""
    if isinstance(config.whitening, float):
        whitened = [Candidate(share, config.whitening)]
        return [Candidate(1.0), *whitened] if share == 1 and config.base_share == "auto" else whitened
    powers = [None, POWER] if config.whitening == "auto" and texts else [None]
    return [Candidate(share, power) for power in powers]


def _measure(
    trained: str,
    config: TrainConfig,
    candidates: Sequence[Candidate],
    compared: Sequence[Judge],
    texts: Sequence[str],
    max_length: int,
) -> dict[Candidate, tuple[list[np.ndarray], Layer | None]]:
    """Of each candidate what it has for each judge's queries, and its whitening; run as a Ray task."""
    share = candidates[0].base_share
    encoder = RememberingEncoder(on_gpu(_blended(local_copy(trained), config, share, max_length)))
    result = {}
    for candidate in candidates:
        made = None
        if candidate.whitening is not None:
            vectors_ND = encoder.encode(texts, role="passage", max_length=max_length)
            if len(texts) < vectors_ND.shape[1] and config.whitening == "auto":
                continue
            whitening.check(*vectors_ND.shape)
            made = whitening.fitted(vectors_ND, candidate.whitening)
        judged = WhitenedEncoder(encoder, made)
        values = [judge.values(judged, max_length) for judge in compared]
        result[candidate] = values, None if made is None else (made.weight.numpy(), made.bias.numpy())
    return result


def _blended(trained: Path, config: TrainConfig, share: float, max_length: int) -> Encoder:
    """The encoder of a share of the base model's weights, as it would be saved."""
    if share == 1:
        return base_encoder(config, max_length)
    encoder = Encoder.load(trained)
    # an encoder that training saved with a fixed share has it already
    if share and config.base_share == "auto":
        blend(encoder, weights(base_encoder(config, max_length)), share)
    return encoder


def _save(
    experiment: Experiment,
    trained: Path,
    target: Path,
    chosen: Candidate,
    whitener: Layer | None,
) -> None:
    """Write the chosen encoder; that of training itself file by file."""
    if chosen == Candidate(0.0):
        shutil.copytree(trained, target)
        return
    encoder = _blended(trained, experiment.train, chosen.base_share, experiment.inference_length)
    if whitener is not None:
        encoder.whitening = whitening.layer(*map(torch.tensor, whitener))
    encoder.save(target)
