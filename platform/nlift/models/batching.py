"""Batches of texts of like length under a budget of tokens, so that little of a batch is padding."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from nlift.errors import ResourceError

Item = TypeVar("Item")
Result = TypeVar("Result")
Mapper = Callable[[Callable[[list[int]], Sequence[Result]], list[list[int]]], Iterable[Sequence[Result]]]

# Padded tokens in one forward pass. A CPU is fastest where a batch stays in its caches; a GPU needs enough to fill it,
# and has room for less where a beam search multiplies the rows or gradients are kept.
TOKEN_BUDGETS = {
    "translate": {"cpu": 2048, "cuda": 8192},
    "score": {"cpu": 1024, "cuda": 32_768},
    "train": {"cpu": 2048, "cuda": 32_768},
    "encode": {"cpu": 1024, "cuda": 65_536},
}


def token_budget(use: str, device: str, wanted: int | None = None) -> int:
    """Padded tokens in one forward pass: what is wanted, else what suits the use on this type of device."""
    budgets = TOKEN_BUDGETS[use]
    return wanted or budgets.get(device, budgets["cpu"])


def token_batches(lengths: Sequence[int], budget: int, rows: int | None = None) -> Iterator[list[int]]:
    """Positions in batches, longest first, with rows x widest <= budget (one row at least).

    A batch has no more than `rows` of them where that is given.

    Longest first: where memory does not suffice, the first batch says so.
    """
    batch: list[int] = []
    widest = 0
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
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


def side_by_side(run: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`run` of each item, in order, as `map`, but every core has items of its own.

    In a small model cores that share a batch wait for each other after every operation.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) == 1:
        yield from map(run, items)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(run, items)
    finally:
        torch.set_num_threads(threads)  # the default of threads to come was set to 1 as well


def in_batches(
    lengths: Sequence[int], budget: int, run: Callable[[list[int]], Sequence[Result]], mapper: Mapper = map
) -> tuple[list[Result], int]:
    """`run` over positions in batches under the budget; the results in order, and the budget at the end.

    `mapper` runs the batches: `map` one after the other, or `side_by_side`. A batch that does not fit in
    memory is cut again at half the budget, as are all after it.
    Raises ResourceError where one row alone does not fit.
    """
    results: dict[int, Result] = {}
    waiting = list(range(len(lengths)))
    while waiting:
        cut = token_batches([lengths[i] for i in waiting], budget)
        batches = [[waiting[i] for i in positions] for positions in cut]
        done = 0
        try:
            for batch_results in mapper(run, batches):
                results.update(zip(batches[done], batch_results, strict=True))
                done += 1
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if len(batches[done]) == 1:
                length = lengths[batches[done][0]]
                raise ResourceError(f"a sentence of {length} tokens does not fit in memory") from None
            budget = max(budget // 2, 1)
            torch.cuda.empty_cache()
        waiting = [i for i in waiting if i not in results]
    return [results[i] for i in range(len(lengths))], budget


def lowered(stage: str, before: int, after: int) -> str:
    """What is said to the person waiting when `batch_tokens` had to shrink."""
    return f"{stage}: out of memory; batch_tokens lowered from {before} to {after}"


def _out_of_memory(error: Exception) -> bool:
    """torch has a class for it on GPUs; CTranslate2 and torch on CPUs say it in words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text
