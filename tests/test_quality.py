"""The summary of translation quality."""

import numpy as np
import pyarrow.dataset as pads
import pytest

from nlift import quality, tables
from nlift.schema import ScoredPair, to_table
from nlift.sections import TripletsConfig

ROWS = [
    ScoredPair("0", "p", "good", "entailment", "P", "G", 0.8, 0.6),
    ScoredPair("1", "p", "bad", "contradiction", "P", "B", 0.8, 0.3),
    ScoredPair("2", "p", "so so", "neutral", "P", "S", 0.8, 0.1),
    ScoredPair("3", "q", "fine", "entailment", "Q", "F", 0.4, 0.9),
]


@pytest.fixture
def summarise(tmp_path):
    def of(rows, config):
        with tables.opened(tmp_path) as database:
            database.add("scored", pads.dataset(to_table(rows, ScoredPair)))
            return quality.summarise(database, config)

    return of


@pytest.fixture
def found(summarise):
    return summarise(ROWS, TripletsConfig(require_negative=False))


def test_scores_are_those_of_distinct_sentences(found):
    values = [0.8, 0.6, 0.3, 0.1, 0.4, 0.9]
    assert found["sentences"] == 6
    assert found["comet"]["mean"] == pytest.approx(np.mean(values)) and found["comet"]["median"] == pytest.approx(0.5)
    assert found["comet"]["deciles"] == pytest.approx(np.quantile(values, np.arange(1, 10) / 10))
    assert sum(found["histogram"]["counts"]) == 6 and len(found["histogram"]["edges"]) == 41


def test_thresholds_count_pairs_and_triplets(found):
    counts = {row["min_score"]: (row["pairs"], row["triplets"]) for row in found["thresholds"]}
    assert counts[None] == (4, 2)
    assert counts[0.05] == (4, 2) and counts[0.2] == (3, 2) and counts[0.3] == (3, 2)
    assert counts[0.4] == (2, 1) and counts[0.5] == (1, 0) and counts[0.9] == (0, 0)


def test_examples_go_from_worst_to_best(found):
    worst, best = found["examples"]["worst"], found["examples"]["best"]
    assert worst[0] == {"source": "so so", "target": "S", "comet": 0.1} and best[0]["comet"] == 0.9
    assert [one["comet"] for one in worst] == sorted(one["comet"] for one in worst)
    assert len(found["examples"]["random"]) == 6


def test_examples_are_at_most_twenty_of_a_kind(summarise):
    rows = [ScoredPair(str(i), f"p{i}", f"h{i}", "neutral", f"P{i}", f"H{i}", i / 50, i / 60) for i in range(50)]
    assert {len(one) for one in summarise(rows, TripletsConfig())["examples"].values()} == {20}
