"""What training sees of the triplets: the rows of a mode, the batch of a step, and who is nobody's negative."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from nlift.data.schema import Triplet
from nlift.errors import DataError
from nlift.settings import TrainConfig


def usable(rows: list[Triplet]) -> tuple[list[Triplet], list[tuple[Triplet, str]]]:
    """Rows to train on, sorted by pair_id, and those with an empty anchor or positive, with the reason.

    A hard negative that is empty counts as none.
    """
    good, bad = [], []
    for row in sorted(rows, key=lambda row: row.pair_id):
        empty = [part for part in ("anchor", "positive") if not (getattr(row, part) or "").strip()]
        if empty:
            bad.append((row, f"{empty[0]} is empty"))
        else:
            good.append(row if (row.negative or "").strip() else replace(row, negative=None))
    return good, bad


def rows_of_mode(rows: list[Triplet], mode: str) -> list[Triplet]:
    """The rows that a mode trains on.

    `triplets` takes them as they are and `pairs` leaves the hard negatives out. The controls take an anchor's own
    vector under another dropout mask as its positive (unsupervised SimCSE, arXiv 2104.08821, section 3):
    `hard_negatives_only` beside the row's contradiction, which is then the only negative; `unsupervised` over all
    distinct sentences. Raises DataError for a mode that nothing is left for.
    """
    if mode == "pairs":
        return [replace(row, negative=None) for row in rows]
    if mode == "hard_negatives_only":
        contradicted = [replace(row, positive=row.anchor) for row in rows if row.negative]
        if rows and not contradicted:
            raise DataError(f"train.mode hard_negatives_only: none of {len(rows)} triplets has a hard negative")
        return contradicted
    if mode == "unsupervised":
        sentences = {text: row.pair_id for row in rows for text in (row.anchor, row.positive, row.negative) if text}
        return [Triplet(pair_id, text, text, None) for text, pair_id in sentences.items()]
    return rows


def planned_steps(rows: list[Triplet], config: TrainConfig) -> int:
    """Optimizer steps of a run over usable rows, in its mode. Raises DataError for less than one batch."""
    return total_steps(len(rows_of_mode(rows, config.mode)), config)


def total_steps(count: int, config: TrainConfig) -> int:
    """Optimizer steps of a run over `count` rows. Raises DataError for less than one batch."""
    if count < config.global_batch_size:
        raise DataError(
            f"train: {count} triplets are fewer than train.global_batch_size {config.global_batch_size}; "
            "read more pairs or lower it"
        )
    return max(1, int(config.epochs * (count // config.global_batch_size)))


def batch_of_step(rows: list[Triplet], step: int, size: int, seed: int) -> list[Triplet]:
    """The global batch of a step: each epoch is a fresh seeded shuffle, its incomplete end left out."""
    per_epoch = len(rows) // size
    epoch, position = divmod(step, per_epoch)
    order = _order(len(rows), seed, epoch)
    return [rows[i] for i in order[position * size : (position + 1) * size]]


@lru_cache(maxsize=1)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The shuffle of an epoch, drawn once for all of its steps: of ten million rows it takes half a second."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def group_ids(rows: list[Triplet], mode: str = "triplets") -> list[int]:
    """Equal numbers for rows that share an anchor, a positive or a document, at once or by way of other rows.

    SNLI repeats premises, translation makes sentences equal, and of one document of a corpus several pairs are made:
    such rows are no negatives of each other. In the mode `hard_negatives_only` no row is another's negative.
    """
    if mode == "hard_negatives_only":
        return [0] * len(rows)
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        for part in ("anchor", "positive", "document"):
            text = getattr(row, part)
            if text is not None:
                parent[root(i)] = root(first.setdefault((part, text), i))
    return [root(i) for i in range(len(rows))]
