"""Who comes first, and who wins a tie."""

import numpy as np
import pytest
import pytrec_eval

from nlift.search.ranking import NO_ROW, best, ranking_of, row_order


def trec_eval_order(names, scores):
    """Documents as trec_eval sorts them: the reciprocal rank of each, were it the one relevant document."""
    run = {name: dict(zip(names, map(float, scores), strict=True)) for name in names}
    evaluator = pytrec_eval.RelevanceEvaluator({name: {name: 1} for name in names}, {"recip_rank"})
    ranks = evaluator.evaluate(run)
    return sorted(names, key=lambda name: -ranks[name]["recip_rank"])


def ranked(names, scores, top_k=1000):
    """Names and scores, best first, as a searcher over these documents gives them."""
    order = row_order(names)
    rows, values = best(np.arange(len(names)), scores[order], top_k)
    return [(names[order[row]], float(value)) for row, value in zip(rows, values, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_ties_are_broken_as_by_trec_eval(seed):
    generator = np.random.default_rng(seed)
    names = [*(f"d{i}" for i in generator.permutation(60)), "ż", "Z", "a-b", "10", "9"]
    scores = generator.integers(0, 5, len(names)).astype(np.float32) / 3
    ranking = ranked(names, scores)
    assert [name for name, _ in ranking] == trec_eval_order(names, scores)
    assert dict(ranking) == dict(zip(names, map(float, scores), strict=True))


@pytest.mark.parametrize("top_k", [1, 30, 99, 100])
def test_the_cut_falls_where_trec_eval_would_cut(top_k):
    scores = np.random.default_rng(0).integers(0, 4, 100).astype(np.float32)
    names = [f"d{i}" for i in range(100)]
    assert ranked(names, scores, top_k) == ranked(names, scores)[:top_k]


def test_candidates_need_not_be_in_the_order_of_rows():
    rows, scores = best(np.array([7, 2, 5]), np.array([1.0, 1.0, 3.0], dtype=np.float32), 2)
    assert rows.tolist() == [5, 2]
    assert scores.tolist() == [3.0, 1.0]


def test_short_rankings_are_filled_up():
    ranking = ranking_of([(np.array([4]), np.array([0.5])), (np.array([], int), np.array([]))], 2)
    assert ranking.rows_QK.tolist() == [[4, NO_ROW], [NO_ROW, NO_ROW]]
    assert ranking.scores_QK.tolist() == [[0.5, -np.inf], [-np.inf, -np.inf]]
    assert (ranking.rows_QK.dtype, ranking.scores_QK.dtype) == (np.int64, np.float32)
