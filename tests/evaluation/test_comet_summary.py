"""The summary of translation quality."""

import numpy as np
import pyarrow.dataset as pads
import pytest

from nlift.data.database import open_database
from nlift.data.schema import ScoredPair, to_table
from nlift.evaluation import comet_summary

ROWS = [
    ScoredPair("0", "p", "good", "entailment", "P", "G", 0.8, 0.6),
    ScoredPair("1", "p", "bad", "contradiction", "P", "B", 0.8, 0.3),
    ScoredPair("2", "p", "so so", "neutral", "P", "S", 0.8, 0.1),
    ScoredPair("3", "q", "fine", "entailment", "Q", "F", 0.4, 0.9),
]


@pytest.fixture
def summarise(tmp_path):
    def of(rows):
        with open_database(tmp_path) as database:
            database.add("scored", pads.dataset(to_table(rows, ScoredPair)))
            return comet_summary.summarise(database)

    return of


@pytest.fixture
def summary(summarise):
    return summarise(ROWS)


def test_scores_are_those_of_distinct_sentences(summary):
    values = [0.8, 0.6, 0.3, 0.1, 0.4, 0.9]
    assert summary["sentences"] == 6
    assert summary["comet"]["mean"] == pytest.approx(np.mean(values)) and summary["comet"]["median"] == pytest.approx(
        0.5
    )
    assert summary["comet"]["deciles"] == pytest.approx(np.quantile(values, np.arange(1, 10) / 10))
    assert sum(summary["histogram"]["counts"]) == 6 and len(summary["histogram"]["edges"]) == 41


def test_thresholds_count_pairs_and_triplets(tmp_path):
    with open_database(tmp_path) as database:
        database.add("pairs", pads.dataset(to_table(ROWS, ScoredPair)))
        rows = comet_summary.thresholds(database, "pairs", require_negative=False)
    counts = {row["min_score"]: (row["pairs"], row["triplets"]) for row in rows}
    assert counts[None] == (4, 2)
    assert counts[0.05] == (4, 2) and counts[0.2] == (3, 2) and counts[0.3] == (3, 2)
    assert counts[0.4] == (2, 1) and counts[0.5] == (1, 0) and counts[0.9] == (0, 0)


def test_examples_go_from_worst_to_best(summary):
    worst, best = summary["examples"]["worst"], summary["examples"]["best"]
    assert worst[0] == {"source": "so so", "target": "S", "comet": 0.1} and best[0]["comet"] == 0.9
    assert [row["comet"] for row in worst] == sorted(row["comet"] for row in worst)
    assert len(summary["examples"]["random"]) == 6


def test_examples_are_at_most_twenty_of_a_kind(summarise):
    rows = [ScoredPair(str(i), f"p{i}", f"h{i}", "neutral", f"P{i}", f"H{i}", i / 50, i / 60) for i in range(50)]
    assert {len(examples) for examples in summarise(rows)["examples"].values()} == {20}
