"""Triplets as a term of a step's loss: supervised SimCSE, whose negatives are the rows of the whole batch."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from nlift.data.schema import Triplet
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.batches import batch_of_step, group_ids
from nlift.training.gradcache import LossTerm
from nlift.training.loss import simcse_reference_loss, supervised_simcse_loss


class SimCSE:
    """The rows of a mode, and the term that each step has of them."""

    def __init__(self, rows: Sequence[Triplet], config: TrainConfig, seed: int, device_rows: int | None) -> None:
        self.rows, self.config, self.seed, self.device_rows = list(rows), config, seed, device_rows

    def texts(self, encoder: Encoder) -> Iterator[tuple[list[str], int]]:
        """All texts that it may embed, with prefixes, and the tokens of each that are read."""
        yield texts_of(self.rows, encoder)[0], self.config.max_length

    def batch(self, step: int) -> list[Triplet]:
        """The global batch of a step."""
        return batch_of_step(self.rows, step, self.config.global_batch_size, self.seed)

    def term(self, step: int, encoder: Encoder, rank: int, ranks: int) -> LossTerm:
        """What a rank does for a step."""
        batch = self.batch(step)
        groups = group_ids(batch, self.config.mode)[rank::ranks]
        hard = any(row.negative for row in batch)
        return simcse_term(batch[rank::ranks], groups, self.config, encoder, hard=hard, device_rows=self.device_rows)


def simcse_term(
    rows: Sequence[Triplet],
    groups: list[int],
    config: TrainConfig,
    encoder: Encoder,
    *,
    hard: bool,
    device_rows: int | None = None,
) -> LossTerm:
    """The term of a rank's rows.

    Args:
        rows: This rank's share of the global batch.
        groups: Their groups, by number.
        config: The section `train`.
        encoder: Whose prefixes texts get.
        hard: Whether any row of the global batch has a hard negative.
        device_rows: Rows in memory at a time; all at once when None.
    """
    texts, with_negative = texts_of(rows, encoder)
    columns = len(texts) / len(rows)
    loss = partial(batch_loss, len(rows), with_negative, groups, config, hard)
    pieces = None if device_rows is None else max(1, round(device_rows * columns))
    return LossTerm("simcse", texts, config.max_length, loss, config.simcse_share, pieces)


def texts_of(rows: Sequence[Triplet], encoder: Encoder) -> tuple[list[str], list[int]]:
    """All anchors, all positives, then the hard negatives there are, with prefixes; and whose these are."""
    with_negative = [i for i, row in enumerate(rows) if row.negative is not None]
    anchors = encoder.prefixed([row.anchor for row in rows], "query")
    others = [row.positive for row in rows] + [str(rows[i].negative) for i in with_negative]
    return anchors + encoder.prefixed(others, "passage"), with_negative


def batch_loss(
    count: int, with_negative: list[int], groups: list[int], config: TrainConfig, hard: bool, vectors: Tensor
) -> Tensor:
    """The loss from the vectors of `texts_of`, [N, D], of `count` rows."""
    anchor, positive, hard_negatives = vectors.split([count, count, len(with_negative)])
    negative, mask = None, None
    if hard:
        owners = torch.tensor(with_negative, dtype=torch.int64, device=vectors.device)
        negative = torch.zeros_like(anchor).index_copy(0, owners, hard_negatives)
        mask = torch.zeros(count, dtype=torch.bool, device=vectors.device).index_fill(0, owners, True)
    exact = config.loss != "simcse_reference"
    return (supervised_simcse_loss if exact else simcse_reference_loss)(
        anchor,
        positive,
        negative,
        temperature=config.temperature,
        hard_negative_weight=config.hard_negative_weight,
        negative_mask_B=mask,
        group_ids_B=torch.tensor(groups, device=vectors.device) if exact else None,
    )
