"""How clearly an encoder tells documents apart."""

import numpy as np
import pytest

from nlift.evaluation.separation import EVERYTHING, NOTHING, separation, trusted_weight

COUNT, DIM = 400, 64
TEXTS = [f"text {i}" for i in range(COUNT)]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_near_twins_stand_out_and_a_cloud_does_not():
    random = np.random.default_rng(1)
    cloud = random.normal(size=(COUNT, DIM))
    twins = np.repeat(cloud[: COUNT // 2], 2, axis=0) + 0.3 * random.normal(size=(COUNT, DIM))
    narrow = np.outer(random.normal(size=COUNT), np.ones(DIM)) + 0.05 * cloud + 5  # along one line
    apart, together, line = (separation(TEXTS, unit(rows)) for rows in (twins, cloud, narrow))
    assert line < together < apart
    assert together == pytest.approx(0.85, abs=0.1)  # the maximum of normal values, below its asymptote
    assert apart > 1.8


def test_by_hand():
    vectors = unit(np.random.default_rng(2).normal(size=(30, 8)))
    expected = []
    for row in range(30):
        others = np.delete(vectors @ vectors[row], row)
        expected.append((others.max() - others.mean()) / others.std())
    value = separation(TEXTS[:30], vectors)
    assert value == pytest.approx(np.mean(expected) / np.sqrt(2 * np.log(29)), rel=1e-5)


def test_equal_texts_count_once():
    vectors = unit(np.random.default_rng(3).normal(size=(60, 16)))
    doubled = np.concatenate([vectors, vectors])
    assert separation(TEXTS[:60] * 2, doubled) == pytest.approx(separation(TEXTS[:60], vectors), rel=1e-6)


def test_what_cannot_be_told():
    vectors = unit(np.random.default_rng(4).normal(size=(19, 8)))
    assert separation(TEXTS[:19], vectors) is None
    assert separation(["the same"] * 50, np.ones((50, 4), dtype=np.float32) / 2) is None
    assert separation(TEXTS[:50], np.ones((50, 4), dtype=np.float32) / 2) == 0.0


def test_the_weight_rises_with_it_from_0_to_1():
    assert [trusted_weight(value) for value in (0.0, NOTHING, EVERYTHING, 3.0)] == [0, 0, 1, 1]
    assert trusted_weight((NOTHING + EVERYTHING) / 2) == pytest.approx(0.5)
