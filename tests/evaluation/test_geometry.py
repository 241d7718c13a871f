"""Geometry against loops that follow the definitions."""

import math

import numpy as np
import pytest

from nlift.evaluation import geometry


def unit_rows(count, seed):
    rows = np.random.default_rng(seed).normal(size=(count, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_alignment_equals_a_loop():
    first, second = unit_rows(30, 0), unit_rows(30, 1)
    wanted = np.mean([math.dist(a, b) ** 2 for a, b in zip(first, second, strict=True)])
    assert geometry.alignment(first, second) == pytest.approx(wanted, abs=1e-6)


def test_uniformity_equals_a_double_loop():
    rows = unit_rows(30, 2)
    potentials = [math.exp(-2 * math.dist(rows[i], rows[j]) ** 2) for i in range(30) for j in range(i)]
    assert geometry.uniformity(rows) == pytest.approx(math.log(np.mean(potentials)), abs=1e-6)


def test_uniformity_of_many_rows_is_sampled_by_seed(monkeypatch):
    rows = unit_rows(300, 3)
    whole = geometry.uniformity(rows)
    monkeypatch.setattr(geometry, "SAMPLE", 100)
    assert geometry.uniformity(rows) == geometry.uniformity(rows) == pytest.approx(whole, abs=0.1)
    assert geometry.uniformity(rows) != geometry.uniformity(rows, seed=1) != whole


def test_uniformity_needs_two_rows():
    with pytest.raises(ValueError, match="two"):
        geometry.uniformity(unit_rows(1, 0))


def test_anisotropy_equals_a_double_loop():
    rows = unit_rows(30, 4)
    cosines = [float(rows[i] @ rows[j]) for i in range(30) for j in range(i)]
    assert geometry.anisotropy(rows) == pytest.approx(np.mean(cosines), abs=1e-6)
    assert geometry.anisotropy(np.repeat(rows[:1], 3, axis=0)) == pytest.approx(1)
    with pytest.raises(ValueError, match="two"):
        geometry.anisotropy(rows[:1])


@pytest.mark.parametrize(("rows", "rank"), [(np.eye(8), 8), (np.repeat(np.eye(8)[:1], 5, axis=0), 1)])
def test_the_effective_rank_of_known_vectors(rows, rank):
    assert geometry.effective_rank(rows.astype(np.float32)) == pytest.approx(rank)


def test_the_effective_rank_follows_its_definition():
    rows = unit_rows(30, 5)
    values = np.sqrt(np.linalg.eigvalsh((rows.T @ rows).astype(np.float64)))
    shares = values / values.sum()
    assert geometry.effective_rank(rows) == pytest.approx(math.exp(-np.sum(shares * np.log(shares))), rel=1e-4)


def test_the_spread_is_of_all_three_by_the_same_sample(monkeypatch):
    rows = unit_rows(300, 6)
    monkeypatch.setattr(geometry, "SAMPLE", 100)
    spread = geometry.spread(rows)
    assert spread["uniformity"] == geometry.uniformity(rows)
    assert spread["anisotropy"] == geometry.anisotropy(rows)
    assert spread["effective_rank"] == geometry.effective_rank(rows)
    assert geometry.spread(rows[:1]) == {}
