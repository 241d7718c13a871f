"""Translations as a term of a step's loss: a teacher of the source language teaches both (arXiv 2004.09813, section 2).

The student's vector of a sentence, and of its translation, is to be the teacher's of the sentence. Bad translations
teach what is not so: a pair counts by its COMET.

Shape suffixes: B pairs of a batch, D dimensions.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nlift.data.schema import ParallelPair
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.gradcache import LossTerm
from nlift.training.loss import gathered


def translation_loss(source_BD: Tensor, target_BD: Tensor, teacher_BD: Tensor, weight_B: Tensor) -> Tensor:
    """The weighted mean over pairs of the squared distances of both of a student's unit vectors from the teacher's.

    Args:
        source_BD: The student's vectors of sentences, float [B, D], of any length.
        target_BD: Those of their translations, float [B, D].
        teacher_BD: The teacher's unit vectors of the sentences, float [B, D].
        weight_B: How much each pair counts, float [B]; 1 in the mean over all pairs.

    Returns:
        float scalar, 0 to 8.
    """
    sides = (normalize(side, dim=-1) for side in (source_BD, target_BD))
    distances = [(side - teacher_BD).square().sum(-1) for side in sides]
    return ((distances[0] + distances[1]) * weight_B).mean()


class TranslationDistillation:
    """Translated sentences with a teacher's vectors, and the term that each step has of them."""

    def __init__(
        self,
        pairs: Sequence[ParallelPair],
        teacher_ND: np.ndarray,
        config: TrainConfig,
        seed: int,
        device_texts: int | None = None,
    ) -> None:
        self.pairs, self.teacher_ND, self.config, self.seed = pairs, teacher_ND, config, seed
        self.device_texts = device_texts
        comet_N = np.array([1.0 if pair.comet is None else max(pair.comet, 0.0) for pair in pairs])
        self.weights_N = comet_N / comet_N.mean()

    def texts(self, encoder: Encoder) -> Iterator[tuple[list[str], int]]:
        """All texts that it may embed, with prefixes, and the tokens of each that are read."""
        for side in ("source", "target"):
            yield encoder.prefixed([getattr(pair, side) for pair in self.pairs], "passage"), self.config.max_length

    def batch(self, step: int, ranks: int) -> np.ndarray:
        """The pairs of a step, by their places: each epoch is a fresh shuffle; as many as ranks share evenly."""
        size = min(self.config.distillation_batch_size, len(self.pairs))
        size -= size % ranks
        epoch, position = divmod(step, len(self.pairs) // size)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        return order[position * size : (position + 1) * size]

    def term(self, step: int, encoder: Encoder, rank: int, ranks: int) -> LossTerm:
        """What a rank does for a step."""
        own = self.batch(step, ranks)[rank::ranks]
        pairs = [self.pairs[place] for place in own]
        texts = encoder.prefixed([pair.source for pair in pairs] + [pair.target for pair in pairs], "passage")
        teacher_BD = torch.from_numpy(self.teacher_ND[own])
        weight_B = torch.from_numpy(self.weights_N[own])

        def loss(vectors: Tensor) -> Tensor:
            source, target = vectors.split(len(own))
            own_mean = translation_loss(source, target, teacher_BD.to(vectors), weight_B.to(vectors))
            # gradients are averaged over ranks, and so they are those of the batch's mean
            return gathered(own_mean.detach()[None]).mean() + own_mean - own_mean.detach()

        return LossTerm(
            "distillation", texts, self.config.max_length, loss, self.config.distillation_share, self.device_texts
        )
