"""Batches under a budget of tokens."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nlift.errors import ResourceError
from nlift.models.batching import TOKEN_BUDGETS, in_batches, padded, side_by_side, token_batches, token_budget


@pytest.mark.parametrize("budget", [1, 30, 100, 10_000])
def test_every_position_is_there_once_within_the_budget(budget):
    random.seed(budget)
    lengths = [random.randint(0, 60) for _ in range(200)]
    batches = list(token_batches(lengths, budget))
    assert sorted(position for batch in batches for position in batch) == list(range(200))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_longest_first_and_batches_as_full_as_fit():
    assert list(token_batches([1, 5, 3, 4, 2], 10)) == [[1, 3], [2, 4, 0]]


def test_one_text_longer_than_the_budget_goes_alone():
    assert list(token_batches([50, 1, 1], 10)) == [[0], [1, 2]]


def test_equal_lengths_keep_their_order():
    assert list(token_batches([2, 2, 2, 2], 4)) == [[0, 1], [2, 3]]


def test_nothing_gives_no_batch():
    assert list(token_batches([], 10)) == []


@pytest.mark.parametrize("use", TOKEN_BUDGETS)
def test_the_budget_of_a_device(use):
    assert token_budget(use, "cpu") == TOKEN_BUDGETS[use]["cpu"] < token_budget(use, "cuda")
    assert token_budget(use, "mps") == token_budget(use, "cpu")  # not measured there
    assert token_budget(use, "cuda", wanted=7) == 7


class Scarce:
    """Runs batches of up to `room` padded tokens; a larger one is out of memory."""

    def __init__(self, lengths, room):
        self.lengths, self.room, self.sizes = lengths, room, []

    def __call__(self, batch):
        size = max(self.lengths[i] for i in batch) * len(batch)
        if size > self.room:
            raise torch.OutOfMemoryError("out of memory")
        self.sizes.append(size)
        return [f"row {i}" for i in batch]


def test_padded_rows():
    inputs = padded([[5, 6], [7], [8, 9, 10]], 1)
    assert inputs["input_ids"].tolist() == [[5, 6, 1], [7, 1, 1], [8, 9, 10]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]


def test_side_by_side_keeps_order_and_threads(two_threads):
    inside = list(side_by_side(lambda batch: (batch, torch.get_num_threads()), list(range(20))))
    assert inside == [(i, 1) for i in range(20)] and torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2  # in threads to come, too


@pytest.mark.parametrize("mapper", [map, side_by_side])
def test_results_are_in_the_order_of_rows(mapper, two_threads):
    lengths = [1 + i % 7 for i in range(40)]
    assert in_batches(lengths, 20, Scarce(lengths, 20), mapper) == ([f"row {i}" for i in range(40)], 20)
    assert in_batches([], 20, Scarce([], 20), mapper) == ([], 20)


@pytest.mark.parametrize("mapper", [map, side_by_side])
def test_out_of_memory_halves_the_budget_and_goes_on(mapper, two_threads):
    lengths = [1 + i % 7 for i in range(40)]
    scarce = Scarce(lengths, 20)
    results, budget = in_batches(lengths, 128, scarce, mapper)
    assert results == [f"row {i}" for i in range(40)]
    assert budget == 16 and max(scarce.sizes) <= 16 and sum(scarce.sizes) >= sum(lengths)


def test_a_row_that_never_fits_says_so():
    with pytest.raises(ResourceError, match="a sentence of 7 tokens does not fit in memory"):
        in_batches([7], 128, Scarce([7], 5))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_batches([1], 128, broken)
