"""Further measures beside trec_eval, and names that are none."""

import pytest
import pytrec_eval
from pydantic import ValidationError

from nlift.evaluation.measures import by_query
from nlift.settings import EvaluateConfig

QRELS = {"q1": {"a": 2, "b": 1, "c": -1}, "q2": {"a": 1}, "q3": {"c": 1}}
RUN = {"q1": [("c", 3.0), ("b", 2.0), ("a", 1.0)], "q2": [("b", 2.0), ("a", 2.0)]}


def test_measures_are_trec_eval_s():
    ours = by_query(["nDCG@2", "P@5", "AP(rel=2)", "RR"], RUN, QRELS)
    scored = {query: dict(hits) for query, hits in RUN.items()}
    theirs = pytrec_eval.RelevanceEvaluator(QRELS, {"ndcg_cut_2", "P_5", "recip_rank"}).evaluate(scored)
    graded = pytrec_eval.RelevanceEvaluator(QRELS, {"map"}, relevance_level=2).evaluate(scored)
    for query, names in theirs.items():
        wanted = [names["ndcg_cut_2"], names["P_5"], graded[query]["map"], names["recip_rank"]]
        assert list(ours[query].values()) == pytest.approx(wanted)
    assert ours["q3"] == {"nDCG@2": 0.0, "P@5": 0.0, "AP(rel=2)": 0.0, "RR": 0.0}  # it has no ranking


def test_no_measures():
    assert by_query([], RUN, QRELS) == {"q1": {}, "q2": {}, "q3": {}}


@pytest.mark.parametrize("name", ["foo", "P@x", "nDCG(dcg='exp')@10", "", "__import__('os')", "alpha_nDCG@10"])
def test_a_measure_that_is_none(name):
    with pytest.raises(ValidationError, match="measures"):
        EvaluateConfig(measures=[name])


def test_a_measure_stands_once():
    assert EvaluateConfig(measures=["P@5", "nDCG@20"]).measures == ["P@5", "nDCG@20"]
    with pytest.raises(ValidationError, match="stands twice"):
        EvaluateConfig(measures=["P@5", "P@5"])
