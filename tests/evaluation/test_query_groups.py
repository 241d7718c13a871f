"""Groups of queries: which are of which, and that a group's figures are the means over it."""

import numpy as np

from nlift.data.schema import Document
from nlift.evaluation.datasets import RetrievalSet
from nlift.evaluation.query_groups import beside, by_group, groups_of
from nlift.search.analyzers import Analyzer

DOCUMENTS = [Document("d1", "", "the river runs north", "{}"), Document("d2", "", "maps", "{}")]
QUERIES = {"all": "north river", "half": "northern river", "none": "Where is a quiet place to be for a week?"}
QRELS = {"all": {"d1": 1}, "half": {"d2": 0, "d1": 2}, "none": {"d1": 1, "gone": 1}}


def test_queries_by_length_and_by_words_in_a_relevant_document():
    groups = groups_of(RetrievalSet("s", DOCUMENTS, QUERIES, QRELS), list(QUERIES), Analyzer())
    lengths, shares = groups["words of the query"], groups["its words in a relevant document"]
    assert {name: mask.tolist() for name, mask in lengths.items()} == {
        "1-2": [True, True, False],
        "6-10": [False, False, True],
    }
    assert {name: mask.tolist() for name, mask in shares.items()} == {
        "none": [False, False, True],
        "up to a half": [False, True, False],
        "all": [True, False, False],
    }


def test_words_are_the_analyzer_s():
    stems = groups_of(RetrievalSet("s", DOCUMENTS, {"q": "a map"}, {"q": {"d2": 1}}), ["q"], Analyzer("stem", "en"))
    assert list(stems["its words in a relevant document"]) == ["up to a half"]


def test_figures_of_a_group_are_means_over_its_queries():
    dense = {"ndcg@10": np.array([1.0, 0.5, 0.0]), "recall@100": np.array([1.0, 1.0, 0.0])}
    bm25 = {"ndcg@10": np.array([0.5, 0.5, 0.5]), "recall@100": np.array([1.0, 0.0, 1.0])}
    groupings = by_group({"base beside bm25": beside(dense, bm25, "base")}, {"base": dense, "bm25": bm25})
    groups = groupings["base beside bm25"]
    assert groups["base above bm25"]["base"] == {"queries": 1, "ndcg@10": 1.0, "recall@100": 1.0}
    assert groups["equal"]["bm25"] == {"queries": 1, "ndcg@10": 0.5, "recall@100": 0.0}
    assert groups["base below bm25"]["base"] == {"queries": 1, "ndcg@10": 0.0, "recall@100": 0.0}
    assert list(beside(dense, dense, "base")) == ["equal"]
