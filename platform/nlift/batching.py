"""Batches of texts of like length under a budget of tokens, so that little of a batch is padding."""

from collections.abc import Iterator, Sequence


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Positions in batches, longest first, with rows x widest <= budget (one row at least).

    Longest first: where memory does not suffice, the first batch says so.
    """
    batch: list[int] = []
    widest = 0
    for position in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        if batch and widest * (len(batch) + 1) > budget:
            yield batch
            batch = []
        if not batch:
            widest = max(lengths[position], 1)
        batch.append(position)
    if batch:
        yield batch
