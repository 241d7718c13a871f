"""Batches under a budget of tokens."""

import random

import pytest

from nlift.batching import token_batches


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
