"""The dev part of `train.dev` during training, measured over all ranks.

Shape suffixes: N documents, D dimensions of a vector.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from nlift.errors import ModelError
from nlift.evaluation.datasets import RetrievalSet, StsSet, load_set
from nlift.evaluation.evaluator import Measured, measure_sts, measure_vectors
from nlift.models.encoder import Encoder
from nlift.search.document_vectors import DocumentVectors
from nlift.settings import EvaluationSet

Result = TypeVar("Result")


class Validator:
    """The dev part of a set; every rank embeds its share of the documents."""

    def __init__(self, config: EvaluationSet, max_length: int, rank: int, ranks: int) -> None:
        dataset = load_set(config)
        assert isinstance(dataset, RetrievalSet | StsSet)
        self.dataset, self.max_length = dataset.part(dev=True), max_length
        self.rank, self.ranks = rank, ranks

    def measure(self, encoder: Encoder) -> dict[str, float]:
        """Every metric of the set by its name, the same on every rank.

        Raises ModelError, on every rank, where vectors are no numbers on one of them.
        """
        values: dict[str, float] | str = {}
        dataset = self.dataset
        if isinstance(dataset, RetrievalSet):
            documents = self._encode_documents(encoder, dataset)
            if self.rank == 0:
                values = _or_error(partial(self._measure_queries, encoder, dataset, documents))
        elif self.rank == 0:
            values = _or_error(lambda: _by_name(measure_sts("dev", encoder, dataset)))
        values = from_rank_zero(values, self.ranks)
        if isinstance(values, str):
            raise ModelError(values)
        return values

    def _encode_documents(self, encoder: Encoder, dataset: RetrievalSet) -> np.ndarray:
        texts = [document.content for document in dataset.documents]
        own = texts[self.rank :: self.ranks]
        share = _or_error(partial(encoder.encode, own, role="passage", max_length=self.max_length))
        shares: list[Any] = [share] * self.ranks
        if self.ranks > 1:
            torch.distributed.all_gather_object(shares, share)
        error = next((share for share in shares if isinstance(share, str)), None)
        if error is not None:
            raise ModelError(error)
        documents_ND = np.zeros((len(texts), encoder.dim), dtype=np.float32)
        for rank, vectors in enumerate(shares):
            documents_ND[rank :: self.ranks] = vectors
        return documents_ND

    def _measure_queries(self, encoder: Encoder, dataset: RetrievalSet, documents_ND: np.ndarray) -> dict[str, float]:
        queries = encoder.encode(list(dataset.queries.values()), role="query", max_length=self.max_length)
        return _by_name(measure_vectors("dev", dataset, queries, DocumentVectors(documents_ND)))


def _or_error(measure: Callable[[], Result]) -> Result | str:
    """What `measure` gives, or the error that a rank tells the others instead of leaving them to wait."""
    try:
        return measure()
    except ModelError as error:
        return str(error)


def from_rank_zero(value: Any, ranks: int) -> Any:
    """Rank 0's value on every rank."""
    box = [value]
    if ranks > 1:
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def _by_name(measured: Measured) -> dict[str, float]:
    return {name: value for group in measured.groups.values() for name, value in group.items()}
