"""Figures and correlations over seeds and variants, beside plain loops."""

import math

import numpy as np
import pytest
from scipy import stats

from nlift.evaluation.study_results import Figure, correlations, figures


def per_query(values):
    return {"ndcg@10": np.asarray(values, dtype=float)}


def test_figures_are_means_over_seeds_with_intervals():
    chance = np.random.default_rng(0)
    first = [chance.random(200) for _ in range(3)]
    second = [values + 0.5 for values in first]
    results = {"set": {"one": [per_query(row) for row in first], "two": [per_query(row) for row in second]}}
    baseline, rival = figures(results, "one", {"two": "one"})
    assert baseline.mean == pytest.approx(np.mean(first)) and baseline.above is None is baseline.above_base
    assert baseline.deviation == pytest.approx(np.std([row.mean() for row in first], ddof=1))
    assert rival.above.difference == pytest.approx(0.5) and rival.above.is_shown and rival.above_base == rival.above
    assert rival.as_json()["above_first"]["difference"] == 0.5
    (alone,) = figures({"set": {"one": [per_query(first[0])]}}, "one")
    assert math.isnan(alone.deviation) and alone.as_json()["std"] is None
    assert all(figure.above is None for figure in figures(results, "failed"))


def test_the_interval_covers_queries_and_seeds():
    """Of one seed it is the paired bootstrap of unpaired seeds' means; seeds that differ widen it."""
    chance = np.random.default_rng(1)
    noise = chance.normal(size=400)
    flat = per_query(np.zeros(400))
    (_, single_seed) = figures({"s": {"a": [flat], "b": [per_query(noise)]}}, "a")
    error = noise.std() / 20
    assert single_seed.above.high - single_seed.above.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    seeds = [per_query(noise + shift) for shift in (-1, 0, 1)]
    (_, three_seeds) = figures({"s": {"a": [flat], "b": seeds}}, "a")
    wanted = 2 * 1.96 * math.hypot(error, math.sqrt(2 / 3 / 3))
    assert three_seeds.above.high - three_seeds.above.low == pytest.approx(wanted, rel=0.15)


def test_correlations_of_pairs_are_compared():
    chance = np.random.default_rng(2)
    score = chance.normal(size=300)
    good = {"cosine": score + 0.1 * chance.normal(size=300), "score": score}
    bad = {"cosine": score + 3 * chance.normal(size=300), "score": score}
    (baseline, rival) = figures({"s": {"bad": [bad], "good": [good]}}, "bad")
    assert rival.above.is_shown and rival.above.low < rival.mean - baseline.mean < rival.above.high
    assert baseline.mean == pytest.approx(stats.spearmanr(bad["cosine"], score).statistic)


def test_chance_is_seldom_called_a_difference():
    """Of twenty variants that are alike none stands out, corrected for their number."""
    chance = np.random.default_rng(3)
    cells = {f"v{i}": [per_query(chance.random(100)) for _ in range(3)] for i in range(21)}
    assert sum(figure.above.is_shown for figure in figures({"s": cells}, "v0")[1:]) == 0


def test_correlations_are_over_variants_and_within_them():
    chance = np.random.default_rng(0)
    rows = []
    for cell in range(8):
        for seed in range(3):
            uniformity = -cell + 0.01 * chance.normal()
            rows.append({"set": "s", "cell": cell, "seed": seed, "uniformity": uniformity, "ndcg@10": 0.1 * cell})
    (row,) = correlations(rows)
    expected = stats.spearmanr([r["uniformity"] for r in rows], [r["ndcg@10"] for r in rows]).statistic
    assert row.rho == pytest.approx(expected) and row.high < -0.5 and row.within == 0
    assert (row.runs, row.cells) == (24, 8)
    assert "uniformity goes with NDCG@10 over 8 variants and controls" in row.words
    assert correlations(rows[:9]) == []  # three variants say nothing


def test_within_variants_and_without_controls():
    chance = np.random.default_rng(5)
    rows = []
    for cell in range(8):
        for seed in range(4):
            apart = chance.normal()
            row = {"set": "s", "cell": cell, "seed": seed, "uniformity": 10 * cell + apart, "ndcg@10": apart - cell}
            rows.append(row)
    rows.append({"set": "s", "cell": "control", "seed": 0, "uniformity": 1e3, "ndcg@10": 1e3})
    everything, trained = correlations(rows, ["control"])
    assert (everything.over, everything.cells, trained.over, trained.cells) == ("all", 9, "trained", 8)
    assert trained.rho < -0.8 and trained.within == pytest.approx(1) and trained.within_low > 0.9
    assert "within variants +1.00" in trained.words and "over 8 trained variants" in trained.words


def test_a_figure_without_queries_has_no_difference():
    assert Figure("s", "triplet_accuracy", "a", (0.5, 0.7)).mean == pytest.approx(0.6)
