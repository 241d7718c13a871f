"""What training has to do, counted before there is a row to train on: rows, steps, tokens; then the guard's part."""

from collections.abc import Sequence

from nlift.config import Experiment
from nlift.data.corpus import usable_corpus
from nlift.data.passages import trained_on
from nlift.evaluation.corpus_pairs import PAIRS
from nlift.evaluation.datasets import RetrievalSet, StsSet, load_set
from nlift.pipeline import cloze, guard, triplets
from nlift.pipeline.stage import DataSize
from nlift.pipeline.workload import SAMPLE, TARGET_TOKENS, NamedModel, Pass, Workload, mean_tokens, shards
from nlift.settings import EvaluationSet

FORWARD = 1 / 3  # of a forward and a backward pass
GUARD_S = 4.0  # of an encoder that the guard compares, beside its vectors
S_PER_ROW = 0.00002  # read, sorted and written


def rows_of(experiment: Experiment, size: DataSize) -> int | None:
    """Rows of an epoch at most; None where the triplets are not counted, or all sentences are trained on."""
    config, section, mine = experiment.train, experiment.cloze, experiment.mine
    mined = mine.num_negatives if mine is not None and mine.finds == "negatives" else None
    alone = config.mode == "hard_negatives_only" and mined is None
    triplet_count, pairs = (size.with_negative, 0) if alone else (size.triplets, size.cloze_pairs)
    if triplet_count is None or config.mode == "unsupervised":
        return None
    return pairs + (triplet_count * (mined or 1) if section is None or section.triplets else 0)


def workload(experiment: Experiment, size: DataSize) -> Workload:
    """Tokens that are trained on, those of the dev part at every checkpoint, and of what the guard looks at."""
    config = experiment.train
    model = NamedModel(config.base_model, "encoder")
    rows = rows_of(experiment, size) or _sides(experiment) * (size.sentences or 0)
    steps = max(1, int(config.epochs * (rows // config.global_batch_size)))
    tokens = steps * config.global_batch_size * _row_tokens(experiment, size, model) if config.simcse_share else 0.0
    tokens += steps * _distilled_tokens(experiment, size, model)
    dev = experiment.dev_set
    if dev is not None:
        measured = -(-steps // config.checkpoint_every_steps)
        tokens += FORWARD * measured * _part_tokens(dev, model, experiment.inference_length)
    training = Pass("train", model, tokens, config.compute_type, most_workers=config.num_workers)
    passes = [*_teaching(experiment, size), training, *_guarding(experiment, model)]
    return Workload(tuple(passes), S_PER_ROW * rows)


def _sides(experiment: Experiment) -> int:
    return 2 if experiment.triplets.side == "both" and experiment.translate is not None else 1


def _row_tokens(experiment: Experiment, size: DataSize, model: NamedModel) -> float:
    """Tokens of a row on average: its texts, of NLI and of the corpus."""
    config, section = experiment.train, experiment.cloze
    texts = 2 + (size.with_negative or 0) / max(1, size.triplets or 0) if config.mode == "triplets" else 2.0
    texts = 3.0 if config.mode == "hard_negatives_only" else texts
    of_triplet = texts * _sentence_tokens(experiment, size, model)
    if section is None or not size.cloze_pairs:
        return of_triplet
    documents = trained_on(usable_corpus(section.corpus))[:SAMPLE]
    pairs = [pair for document in documents for pair in cloze.pairs_of(document, section, experiment.seed)]
    of_pair = sum(
        mean_tokens(model, [text for pair in pairs if (text := getattr(pair, part))], config.max_length)
        for part in ("anchor", "positive")
    )
    triplet_count = (size.triplets or 0) if section.triplets else 0
    return (triplet_count * of_triplet + size.cloze_pairs * of_pair) / (triplet_count + size.cloze_pairs)


def _sentence_tokens(experiment: Experiment, size: DataSize, model: NamedModel) -> float:
    """Tokens of a sentence on average, over originals and translations as far as they are trained on."""
    tokens = mean_tokens(model, size.sample, experiment.train.max_length)
    if triplets.languages(experiment) is None or experiment.triplets.side == "source":
        return tokens
    translated = min(TARGET_TOKENS * tokens, experiment.train.max_length)
    return translated if _sides(experiment) == 1 else (tokens + translated) / 2


def _distilled_tokens(experiment: Experiment, size: DataSize, model: NamedModel) -> float:
    """Tokens of a step of what is distilled beside SimCSE."""
    config, mine = experiment.train, experiment.mine
    sentence = mean_tokens(model, size.sample, config.max_length)
    if config.loss == "translation_distillation":
        return 2 * config.distillation_batch_size * sentence
    if config.loss == "search_distillation" and mine is not None and mine.corpus is not None:
        passages = [document.content for document in usable_corpus(mine.corpus)]
        length = mean_tokens(model, passages, experiment.inference_length)
        return config.distillation_batch_size * (sentence + length)
    return 0.0


def _teaching(experiment: Experiment, size: DataSize) -> Sequence[Pass]:
    """The teacher's vectors of all sentences."""
    if experiment.train.teacher is None:
        return []
    teacher, sentences = NamedModel(experiment.train.teacher, "encoder"), size.sentences or 0
    tokens = sentences * mean_tokens(teacher, size.sample, experiment.train.max_length)
    return [Pass("embed", teacher, tokens, "float32", most_workers=shards(sentences, 128))]


def _guarding(experiment: Experiment, model: NamedModel) -> Sequence[Pass]:
    """What the guard encodes: the judged texts by each average of base and tuned."""
    if experiment.train.base_share != "auto":
        return []
    length, dev = experiment.inference_length, experiment.dev_set
    tokens = sum(_part_tokens(config, model, length) for config in experiment.guard_sets)
    if dev is not None:
        tokens += _part_tokens(dev, model, length)
    else:
        documents = [document.content for document in guard.corpus(experiment)]
        if not documents:
            return []
        tokens += (len(documents) + PAIRS) * mean_tokens(model, documents, length)
    shares = len(guard.SHARES)
    return [Pass("embed", model, shares * tokens, "float32", cpu_s=shares * GUARD_S, most_workers=shares)]


def _part_tokens(config: EvaluationSet, model: NamedModel, length: int) -> float:
    """Tokens of a set's dev part: queries and documents, of very many some; or both sentences of a pair."""
    part = load_set(config)
    assert isinstance(part, RetrievalSet | StsSet)
    part = part.part(dev=True)
    if isinstance(part, StsSet):
        texts = [text for pair in part.pairs for text in pair[:2]]
        return len(texts) * mean_tokens(model, texts, length)
    documents, queries = [document.content for document in part.documents], list(part.queries.values())
    looked_at = min(len(documents), guard.MOST_DOCUMENTS)
    return looked_at * mean_tokens(model, documents, length) + len(queries) * mean_tokens(model, queries, length)
