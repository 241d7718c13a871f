"""Batches of texts of like length under a budget of tokens, so that little of a batch is padding."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from nlift.errors import ResourceError

Result = TypeVar("Result")


def token_batches(lengths: Sequence[int], budget: int, rows: int | None = None) -> Iterator[list[int]]:
    """Positions in batches, longest first, with rows x widest <= budget (one row at least).

    A batch has no more than `rows` of them where that is given.

    Longest first: where memory does not suffice, the first batch says so.
    """
    batch: list[int] = []
    widest = 0
    for position in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        if batch and (widest * (len(batch) + 1) > budget or len(batch) == rows):
            yield batch
            batch = []
        if not batch:
            widest = max(lengths[position], 1)
        batch.append(position)
    if batch:
        yield batch


def in_batches(lengths: Sequence[int], budget: int, run: Callable[[list[int]], Sequence[Result]]) -> tuple[list[Result], int]:
    """`run` over positions in batches under the budget; the results in order, and the budget at the end.

    A batch that does not fit in memory is cut again at half the budget, as are all after it.
    Raises ResourceError where one row alone does not fit.
    """
    found: dict[int, Result] = {}
    waiting = list(range(len(lengths)))
    while waiting:
        batches = token_batches([lengths[i] for i in waiting], budget)
        for batch in ([waiting[i] for i in positions] for positions in batches):
            try:
                found.update(zip(batch, run(batch), strict=True))
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise ResourceError(f"a sentence of {lengths[batch[0]]} tokens does not fit in memory") from None
                budget = max(budget // 2, 1)
                torch.cuda.empty_cache()
                break
        waiting = [i for i in waiting if i not in found]
    return [found[i] for i in range(len(lengths))], budget


def lowered(stage: str, before: int, after: int) -> str:
    """What is said to the person waiting when `batch_tokens` had to shrink."""
    return f"{stage}: out of memory; batch_tokens lowered from {before} to {after}"


def _out_of_memory(error: Exception) -> bool:
    """torch has a class for it on GPUs; CTranslate2 and torch on CPUs say it in words."""
    text = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "out of memory" in text or "can't allocate memory" in text
