"""One ranking of two."""

import numpy as np
import pytest

from nlift.search.fusion import fuse
from nlift.search.ranking import NO_ROW, ranking_of


def ranking(*rows, width=4):
    """One query's ranking of rows; its scores only fall."""
    return ranking_of([(np.array(rows, dtype=int), np.arange(len(rows), 0, -1, dtype=np.float32))], width)


def fused(dense, lexical, top_k=10, **settings):
    result = fuse(dense, lexical, top_k=top_k, **settings)
    rows, scores = result.rows_QK[0], result.scores_QK[0]
    return {int(row): float(score) for row, score in zip(rows, scores, strict=True) if row != NO_ROW}


def test_a_score_is_the_sum_of_reciprocal_ranks():
    scores = fused(ranking(7, 8), ranking(8, 9))
    assert list(scores) == [8, 7, 9]
    assert scores == pytest.approx({8: 1 / 62 + 1 / 61, 7: 1 / 61, 9: 1 / 62}, rel=1e-6)


def test_a_tie_goes_to_the_lower_row():
    assert list(fused(ranking(2), ranking(1))) == [1, 2]


def test_an_empty_leg_leaves_the_other():
    assert list(fused(ranking(5, 3), ranking())) == [5, 3]
    assert fused(ranking(), ranking()) == {}


def test_top_k_cuts():
    assert list(fused(ranking(1, 2, 3), ranking(1, 2, 3), top_k=2)) == [1, 2]


def test_alpha_is_the_share_of_the_dense_leg():
    assert list(fused(ranking(2, 1), ranking(1, 2), alpha=0.9)) == [2, 1]
    assert list(fused(ranking(2, 1), ranking(1, 2), alpha=0.1)) == [1, 2]
    assert fused(ranking(4), ranking(6), alpha=1)[6] == 0


@pytest.mark.parametrize("settings", [{"fusion": "magic"}, {"alpha": 1.5}])
def test_what_is_no_fusion(settings):
    with pytest.raises(ValueError, match="expected"):
        fused(ranking(1), ranking(1), **settings)
