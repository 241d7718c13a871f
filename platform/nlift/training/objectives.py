"""What a run minimises: the terms of its loss, by `train.loss`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from nlift.data.files import read_rows
from nlift.data.schema import ParallelPair, RankedPassages, Triplet
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.gradcache import LossTerm
from nlift.training.search_distillation import SearchDistillation
from nlift.training.simcse import SimCSE
from nlift.training.translation_distillation import TranslationDistillation

RANKINGS, PARALLEL, TEACHER = "rankings.parquet", "parallel.parquet", "teacher.npy"


class Objective(Protocol):
    """Rows to learn from, and the term that each step has of them."""

    def texts(self, encoder: Encoder) -> Iterator[tuple[list[str], int]]:
        """All texts that it may embed, with prefixes, and the tokens of each that are read."""
        ...

    def term(self, step: int, encoder: Encoder, rank: int, ranks: int) -> LossTerm:
        """What a rank does for a step."""
        ...


def objectives(
    rows: Sequence[Triplet],
    config: TrainConfig,
    seed: int,
    *,
    lessons: Path | None,
    passage_length: int,
    device_rows: int | None,
    device_texts: int | None,
) -> list[Objective]:
    """The terms of `train.loss`.

    Args:
        rows: Triplets of the mode.
        config: The section `train`.
        seed: Of every shuffle.
        lessons: Folder of what is distilled, where that is wanted.
        passage_length: Tokens of a passage that are read.
        device_rows: Triplets in memory at a time; all at once when None.
        device_texts: Texts of what is distilled in memory at a time; all at once when None.
    """
    simcse = SimCSE(rows, config, seed, device_rows)
    if config.loss == "search_distillation":
        assert lessons is not None
        rankings = read_rows(lessons, RankedPassages, RANKINGS)
        distilled: Objective = SearchDistillation(
            rankings, config, seed, passage_length=passage_length, device_texts=device_texts
        )
    elif config.loss == "translation_distillation":
        assert lessons is not None
        pairs, teacher_ND = read_rows(lessons, ParallelPair, PARALLEL), np.load(lessons / TEACHER, mmap_mode="r")
        distilled = TranslationDistillation(pairs, teacher_ND, config, seed, device_texts)
    else:
        return [simcse]
    return [simcse, distilled] if config.simcse_share else [distilled]
