"""What is no training and moves the geometry all the same: controls that a lift by training must be seen beside.

A centred or whitened encoder is fitted to a set's own documents or sentences, without their queries, scores or classes;
one of random weights shows what the architecture and its words alone give.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from nlift.evaluation.datasets import RetrievalSet, StsSet
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.evaluation.text_encoder import Role, TextEncoder
from nlift.models import whitening
from nlift.models.encoder import Encoder

Control = Literal["random", "centred", "whitened"]
POWERS = {"centred": 0.0, "whitened": 0.25}  # the second is soft whitening, as the guard tries it
FITTED_TO = 2000  # texts at most
SEED = 0


class MovedEncoder:
    """An encoder whose vectors pass a linear layer, and are unit vectors again."""

    def __init__(self, encoder: TextEncoder, layer: torch.nn.Linear) -> None:
        self.encoder, self.layer = encoder, layer

    def encode(self, texts: Sequence[str], *, role: Role = None, max_length: int | None = None) -> np.ndarray:
        """Unit vectors, float32 [N, D]."""
        return whitening.whitened(self.encoder.encode(texts, role=role, max_length=max_length), self.layer)


def moved(
    kind: Literal["centred", "whitened"],
    encoder: TextEncoder,
    dataset: RetrievalSet | StsSet | LabelledSet,
    max_length: int,
) -> MovedEncoder:
    """An encoder whose vectors of a set's texts have no mean, or spread more evenly.

    Args:
        kind: `centred` takes the mean away, `whitened` makes directions' variances more alike, too.
        encoder: What encodes.
        dataset: Whose texts it is fitted to, 2,000 at most.
        max_length: Tokens of a document.
    """
    texts = sorted(set(_texts(dataset)))
    chosen = np.random.default_rng(SEED).permutation(len(texts))[:FITTED_TO]
    role: Role = "passage" if isinstance(dataset, RetrievalSet) else None
    length = max_length if isinstance(dataset, RetrievalSet) else None
    vectors_ND = encoder.encode([texts[i] for i in chosen.tolist()], role=role, max_length=length)
    return MovedEncoder(encoder, whitening.fitted(vectors_ND, POWERS[kind]))


def _texts(dataset: RetrievalSet | StsSet | LabelledSet) -> list[str]:
    if isinstance(dataset, RetrievalSet):
        return [document.content for document in dataset.documents]
    pairs = dataset.pairs if isinstance(dataset, StsSet) else dataset.texts
    return [text for pair in pairs for text in (pair if isinstance(pair, tuple) else (pair,))]


def randomise(encoder: Encoder) -> None:
    """Give an encoder's transformer new random weights, as its architecture initialises them."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        encoder.backbone.apply(encoder.backbone._init_weights)
