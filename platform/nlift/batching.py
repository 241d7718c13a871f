"""Batches of texts of like length under a budget of tokens, so that little of a batch is padding."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from nlift.errors import ResourceError

Batch = TypeVar("Batch")
Result = TypeVar("Result")
Each = Callable[[Callable[[list[int]], Sequence[Result]], list[list[int]]], Iterable[Sequence[Result]]]


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


def padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, int64 [B, T], of token ids; ten times faster here than a tokenizer's `pad`."""
    lengths = np.array([len(row) for row in rows])
    mask_BT = np.arange(lengths.max()) < lengths[:, None]
    ids_BT = np.full(mask_BT.shape, pad, dtype=np.int64)
    ids_BT[mask_BT] = np.concatenate(rows)
    return {"input_ids": torch.from_numpy(ids_BT), "attention_mask": torch.from_numpy(mask_BT.astype(np.int64))}


def side_by_side(run: Callable[[Batch], Result], batches: Sequence[Batch]) -> Iterator[Result]:
    """`run` of each batch, in order, every core with batches of its own: in a small model cores that
    share a batch wait for each other after every operation."""
    threads = torch.get_num_threads()
    if threads == 1 or len(batches) == 1:
        yield from map(run, batches)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(run, batches)
    finally:
        torch.set_num_threads(threads)  # the default of threads to come was set to 1 as well


def in_batches(
    lengths: Sequence[int], budget: int, run: Callable[[list[int]], Sequence[Result]], each: Each = map
) -> tuple[list[Result], int]:
    """`run` over positions in batches under the budget; the results in order, and the budget at the end.

    `each` runs the batches: one after the other, or `side_by_side`. One that does not fit in memory is
    cut again at half the budget, as are all after it.
    Raises ResourceError where one row alone does not fit.
    """
    found: dict[int, Result] = {}
    waiting = list(range(len(lengths)))
    while waiting:
        cut = token_batches([lengths[i] for i in waiting], budget)
        batches = [[waiting[i] for i in positions] for positions in cut]
        done = 0
        try:
            for results in each(run, batches):
                found.update(zip(batches[done], results, strict=True))
                done += 1
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if len(batches[done]) == 1:
                raise ResourceError(f"a sentence of {lengths[batches[done][0]]} tokens does not fit in memory") from None
            budget = max(budget // 2, 1)
            torch.cuda.empty_cache()
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
