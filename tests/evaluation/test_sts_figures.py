"""Figures of STS beside a set's own: subsets, and the average over sets."""

import numpy as np
import pytest
from conftest import STS, encoder_metrics
from scipy.stats import spearmanr

from nlift.evaluation.datasets import StsSet
from nlift.evaluation.evaluator import measure_sts
from nlift.evaluation.sts_figures import averages, by_subset, subset_names
from nlift.models.encoder import Encoder


def test_subsets_are_measured_beside_the_whole(bert, sentences):
    chance = np.random.default_rng(0)
    pairs = list(zip(sentences[:24], sentences[24:], strict=True))
    subsets = ["news"] * 11 + ["forum"] * 10 + ["", "few", "few"]
    dataset = StsSet("sts", pairs, chance.uniform(0, 5, 24).tolist(), subsets)
    measured = measure_sts("base", Encoder.load(bert), dataset)
    sts = measured.groups["sts"]
    assert list(sts) == ["spearman", "pearson", "pairs", "spearman/news", "pairs/news", "spearman/forum", "pairs/forum"]
    assert subset_names(sts) == ["news", "forum"] and (sts["pairs/news"], sts["pairs/forum"]) == (11, 10)
    cosines = np.array([row["cosine"] for row in measured.per_query.values()])
    for name, rows in {"": slice(None), "/news": slice(0, 11), "/forum": slice(11, 21)}.items():
        expected = spearmanr(cosines[rows], dataset.scores[rows]).statistic
        assert sts[f"spearman{name}"] == pytest.approx(expected, abs=1e-12)


def test_a_set_without_subsets_has_no_more_than_its_own():
    assert by_subset((), np.arange(20.0), np.arange(20.0)) == {} and subset_names(STS) == []


def test_the_average_is_a_plain_mean_over_sets():
    sets = {"sts12": {**STS, "spearman": 0.5}, "sts13": {**STS, "spearman": 0.75, "pairs": 9000}}
    base = encoder_metrics({name: {**row, "spearman/a": 0.1} for name, row in sets.items()})
    encoders = {"base": base, "half": encoder_metrics({"sts12": STS}), "bm25": encoder_metrics()}
    assert averages(encoders) == {"base": {"spearman": 0.625, "sets": 2}}
    assert averages({"half": encoders["half"]}) == averages({}) == {}
