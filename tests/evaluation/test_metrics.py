"""Metrics against trec_eval, scipy and scikit-learn."""

import numpy as np
import pytest
import pytrec_eval
from scipy import stats
from sklearn.metrics import f1_score

from nlift.evaluation import metrics

NAMES = {
    "ndcg@10": "ndcg_cut_10",
    "recall@10": "recall_10",
    "recall@100": "recall_100",
    "precision@10": "P_10",
    "map": "map",
}


def random_case(seed):
    """Twenty queries with graded judgements, some of them zero or negative, and a ranking of each."""
    generator = np.random.default_rng(seed)
    qrels, run = {}, {}
    for query in map(str, range(20)):
        judged = generator.choice(300, size=generator.integers(5, 60), replace=False)
        qrels[query] = {f"d{doc}": int(generator.integers(-1, 4)) for doc in judged} | {f"d{judged[0]}": 1}
        run[query] = [f"d{doc}" for doc in generator.permutation(300)[: generator.integers(1, 250)]]
    return qrels, run


def trec_eval(qrels, run, measures, depth=None):
    scored = {query: {doc: 1000.0 - i for i, doc in enumerate(docs[:depth])} for query, docs in run.items()}
    return pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(scored)


@pytest.mark.parametrize("seed", range(5))
def test_rankings_are_judged_as_by_trec_eval(seed):
    qrels, run = random_case(seed)
    ours = metrics.ranking_metrics(run, qrels)
    theirs = trec_eval(qrels, run, {"ndcg_cut_10", "recall_10,100", "P_10", "map"})
    cut = trec_eval(qrels, run, {"recip_rank"}, depth=10)
    assert set(ours) == set(theirs)
    for query, values in ours.items():
        wanted = {name: theirs[query][theirs_name] for name, theirs_name in NAMES.items()}
        assert values == pytest.approx({**wanted, "mrr@10": cut[query]["recip_rank"]}, abs=1e-6)


def test_a_judged_query_without_a_ranking_counts_as_zero():
    per_query = metrics.ranking_metrics({"a": ["x"]}, {"a": {"x": 1}, "b": {"x": 1}})
    wanted = dict.fromkeys(("ndcg@10", "recall@10", "recall@100", "mrr@10", "map"), 0.5)
    assert metrics.means(per_query) == {**wanted, "precision@10": 0.05}


def test_a_query_without_a_relevant_document_is_left_out():
    assert set(metrics.ranking_metrics({"a": ["x"], "b": ["x"]}, {"a": {"x": 1}, "b": {"x": 0}})) == {"a"}


def test_means_of_nothing():
    assert metrics.means({}) == {}


def test_correlations_equal_scipy():
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 6, 200).astype(float)  # many ties, as in STS
    predicted = gold + generator.normal(size=200).round(1)
    assert metrics.spearman(predicted, gold) == pytest.approx(stats.spearmanr(predicted, gold)[0], abs=1e-12)
    assert metrics.pearson(predicted, gold) == pytest.approx(stats.pearsonr(predicted, gold)[0], abs=1e-12)


@pytest.mark.parametrize("correlation", [metrics.spearman, metrics.pearson])
def test_a_constant_side_correlates_with_nothing(correlation):
    assert correlation(np.ones(5), np.arange(5.0)) == 0.0
    assert correlation(np.arange(5.0), np.ones(5)) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_equals_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    labels, predicted = generator.integers(0, 6, 40), generator.integers(1, 8, 40)
    wanted = f1_score(labels, predicted, average="macro", zero_division=0.0)
    assert metrics.macro_f1(labels, predicted) == pytest.approx(wanted, abs=1e-12)
