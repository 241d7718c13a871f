"""What an evaluation has to do: tokens of every set by two encoders, queries to search for and to compare."""

from collections.abc import Sequence

from nlift.config import Experiment
from nlift.evaluation.datasets import RetrievalSet, load_set
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.pipeline import index, measurement_job
from nlift.pipeline.workload import NamedModel, Pass, Workload, mean_passages, mean_tokens
from nlift.settings import EvaluationSet

ENCODERS = 2  # base and tuned
S_PER_QUERY = 0.004  # of an encoder: searched in several ways and judged, BM25 beside it
S_PER_COMPARED = 0.0005  # of an encoder and query: intervals and tests of differences


def workload(experiment: Experiment, sets: Sequence[EvaluationSet]) -> Workload:
    """What the sets that encoders are measured on take; an encoder on a set is one piece."""
    if not sets:
        return Workload()
    model = NamedModel(experiment.train.base_model, "encoder")
    sizes = [_size(experiment, config, model) for config in sets]
    tokens, queries = (ENCODERS * sum(counts) for counts in zip(*sizes, strict=True))
    workers = tokens / max(largest for largest, _ in sizes) if tokens else 1.0
    kind = index.compute_type(experiment)
    measuring = Pass("embed", model, tokens, kind, S_PER_QUERY * queries, max(1.0, workers))
    return Workload((measuring,), S_PER_COMPARED * queries)


def _size(experiment: Experiment, config: EvaluationSet, model: NamedModel) -> tuple[float, int]:
    """Tokens of a set as it is reported, and how many queries it has; 0 of pairs and examples."""
    length, is_watched = experiment.inference_length, experiment.is_watched(config.name)
    if config.kind != "retrieval":
        texts, _ = measurement_job.set_size(config, is_watched)
        return texts * mean_tokens(model, _texts(config), length), 0
    part = measurement_job.test_part(config, is_watched)
    assert isinstance(part, RetrievalSet)
    queries = list(part.queries.values())
    passages = len(part.documents) * mean_passages(model, part.documents, length, index.overlap(experiment))
    return passages + len(queries) * mean_tokens(model, queries, length), len(queries)


def _texts(config: EvaluationSet) -> list[str]:
    """The texts of a set of pairs or of labelled examples."""
    dataset = load_set(config)
    rows = dataset.texts if isinstance(dataset, LabelledSet) else getattr(dataset, "pairs", [])
    return [text for row in rows for text in ((row,) if isinstance(row, str) else row[:2])]
