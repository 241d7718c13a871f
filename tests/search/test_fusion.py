"""One ranking of two."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.search.fusion import LEAST_WEIGHT, fuse
from nlift.search.ranking import NO_ROW, NO_SCORE, Ranking, ranking_of


def ranking(*rows, width=4):
    """One query's ranking of rows; its scores only fall."""
    return scored({row: len(rows) - place for place, row in enumerate(rows)}, width=width)


def scored(*scores, width=6):
    """A ranking with the scores of each query's rows, in this order."""
    return ranking_of(
        [(np.array(list(query), dtype=int), np.array(list(query.values()), dtype=np.float32)) for query in scores],
        width,
    )


def fused(dense, lexical, top_k=10, fusion="rrf", alpha=0.5):
    result = fuse(dense, lexical, fusion=fusion, alpha=alpha, top_k=top_k)
    rows, scores = result.rows_QK[0], result.scores_QK[0]
    return {int(row): float(score) for row, score in zip(rows, scores, strict=True) if row != NO_ROW}


def convex(dense, lexical, alpha=0.5, top_k=10):
    return fused(scored(dense), scored(lexical), top_k, "convex", alpha)


def test_a_score_is_the_sum_of_reciprocal_ranks():
    scores = fused(ranking(7, 8), ranking(8, 9))
    assert list(scores) == [8, 7, 9]
    assert scores == pytest.approx({8: 1 / 62 + 1 / 61, 7: 1 / 61, 9: 1 / 62}, rel=1e-6)


def test_reciprocal_ranks_do_not_look_at_scores():
    close, apart = scored({7: 0.5, 8: 0.49}), scored({7: 0.9, 8: -0.9})
    assert fused(close, ranking(9, 8)) == fused(apart, ranking(9, 8))
    assert convex({7: 0.5, 8: 0.49, 6: 0}, {9: 1, 8: 0.5}) != convex({7: 0.9, 8: -0.9, 6: 0}, {9: 1, 8: 0.5})


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_a_tie_goes_to_the_lower_row(fusion):
    assert list(fused(ranking(2, 1, 8, 7), ranking(1, 2, 7, 8), fusion=fusion)) == [1, 2, 7, 8]
    assert list(fused(ranking(2), ranking(1), fusion=fusion)) == [1, 2]
    assert list(fused(ranking(9, 4, 5), ranking(9, 5, 4), fusion=fusion, top_k=2)) == [9, 4]


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_an_empty_leg_leaves_the_other(fusion):
    assert (
        list(fused(ranking(5, 3), ranking(), fusion=fusion))
        == [5, 3]
        == list(fused(ranking(), ranking(5, 3), fusion=fusion))
    )
    assert fused(ranking(), ranking(), fusion=fusion) == {}


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_top_k_cuts(fusion):
    whole = fused(ranking(1, 2, 3), ranking(1, 3, 2, 4), fusion=fusion)
    assert len(whole) == 4
    for top_k in (1, 2, 3):
        cut = fused(ranking(1, 2, 3), ranking(1, 3, 2, 4), fusion=fusion, top_k=top_k)
        assert list(cut.items()) == list(whole.items())[:top_k]


def test_a_fused_ranking_is_as_wide_as_it_can_be():
    dense, lexical = scored({1: 1}, {}, width=2), scored({1: 1}, {2: 3, 1: 2}, width=3)
    result = fuse(dense, lexical, fusion="convex", alpha=0.5, top_k=9)
    assert result.rows_QK.tolist() == [[1, NO_ROW, NO_ROW, NO_ROW, NO_ROW], [2, 1, NO_ROW, NO_ROW, NO_ROW]]
    assert fuse(dense, lexical, fusion="convex", alpha=0.5, top_k=1).rows_QK.tolist() == [[1], [2]]
    assert (result.scores_QK[result.rows_QK == NO_ROW] == NO_SCORE).all()


def test_alpha_is_the_share_of_the_dense_leg():
    assert list(fused(ranking(2, 1), ranking(1, 2), alpha=0.9)) == [2, 1]
    assert list(fused(ranking(2, 1), ranking(1, 2), alpha=0.1)) == [1, 2]
    assert fused(ranking(4), ranking(6), alpha=1)[6] == 0
    assert fused(ranking(4), ranking(6), alpha=0.25) == pytest.approx({6: 1.5 / 61, 4: 0.5 / 61}, rel=1e-6)


def test_convex_scores_by_hand():
    dense, lexical = {1: 0.9, 2: 0.7, 3: 0.4}, {3: 12, 1: 6, 2: 4}
    scores = convex(dense, lexical, alpha=0.75)
    assert list(scores) == [1, 2, 3]
    assert scores == pytest.approx({1: 0.75 + 0.25 * 2 / 8, 2: 0.75 * 0.6, 3: 0.25}, rel=1e-6)
    assert list(convex(dense, lexical, alpha=0.25)) == [3, 1, 2]


def test_a_leg_s_scores_count_between_its_least_and_its_greatest_alone():
    lexical = {3: 12, 1: 6, 2: 4}
    scores = convex({1: 0.875, 2: 0.75, 3: -0.125}, lexical)
    assert scores == pytest.approx(convex({1: 7 - 2, 2: 6 - 2, 3: -1 - 2}, lexical), rel=1e-6)
    assert scores == pytest.approx(convex({1: 0.875, 2: 0.75, 3: -0.125}, {3: 120, 1: 60, 2: 40}), rel=1e-6)


def test_each_query_has_a_least_and_a_greatest_of_its_own():
    dense, lexical = scored({1: 0.9, 2: 0.1}, {1: 30, 2: 20, 3: 10}), scored({1: 1, 2: 0}, {3: 5, 1: 1})
    result = fuse(dense, lexical, fusion="convex", alpha=0.5, top_k=3)
    assert result.rows_QK.tolist() == [[1, 2, NO_ROW], [1, 3, 2]]
    assert result.scores_QK.tolist() == [[1, 0, NO_SCORE], [0.5, 0.5, 0.25]]


def near(scores):
    return pytest.approx(scores, abs=2 * LEAST_WEIGHT)


@pytest.mark.parametrize("alpha", [0, 0.3, 1])
def test_where_one_leg_orders_nothing_the_other_decides(alpha):
    scores = convex({4: 0.5, 2: 0.5, 3: 0.5}, {3: 3, 4: 2, 2: 1}, alpha)
    assert list(scores) == [3, 4, 2] and scores == near({3: 1, 4: 0.5, 2: 0})
    scores = convex({4: 0.75, 2: 0.5, 1: 0.25}, {4: 7, 2: 7, 1: 7}, alpha)
    assert list(scores) == [4, 2, 1] and scores == near({4: 1, 2: 0.5, 1: 0})
    assert list(convex({4: 0.5, 2: 0.5}, {3: 7}).items()) == [(2, 0), (3, 0), (4, 0)]


def test_an_empty_leg_adds_nothing():
    for alpha in (0, 0.25, 1):
        assert convex({4: 0.75, 3: 0.5, 2: 0.25}, {}, alpha) == near({4: 1, 3: 0.5, 2: 0})
        assert convex({}, {4: 3, 3: 2, 2: 1}, alpha) == near({4: 1, 3: 0.5, 2: 0})


def test_a_row_that_a_leg_lacks_has_that_leg_s_least_score():
    lacking = convex({1: 0.75, 2: 0.5, 3: 0.25}, {2: 8, 1: 4})
    assert lacking == convex({1: 0.75, 2: 0.5, 3: 0.25}, {2: 8, 1: 4, 3: 4})
    assert lacking == {2: 0.75, 1: 0.5, 3: 0}


@st.composite
def legs(draw):
    """Two rankings of the same rows, as a hybrid search has them."""
    rows = draw(st.lists(st.integers(0, 50), min_size=1, max_size=12, unique=True))
    scores = st.lists(st.integers(-8, 8), min_size=len(rows), max_size=len(rows))
    return rows, draw(scores), draw(scores)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(legs())
def test_alpha_0_gives_the_lexical_order_and_1_the_dense_one(drawn):
    rows, dense, lexical = drawn
    both = [Ranking(np.array([rows]), np.array([scores], dtype=np.float32)) for scores in (dense, lexical)]
    for alpha, scores, others in ((1, dense, lexical), (0, lexical, dense)):
        keys = zip([-score for score in scores], [-score for score in others], rows, strict=True)
        expected = [row for *_, row in sorted(keys)]
        result = fuse(*both, fusion="convex", alpha=alpha, top_k=len(rows))
        assert result.rows_QK[0].tolist() == expected
        decided = len(set(scores)) > 1 or len(set(others)) > 1
        assert 0 <= result.scores_QK.min() <= result.scores_QK.max() == near(float(decided))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "magic"}, "'magic'; expected convex or rrf"),
        ({"alpha": 1.5}, "1.5; expected 0 to 1"),
        ({"alpha": -0.01}, "-0.01; expected 0 to 1"),
        ({"alpha": float("nan")}, "nan; expected 0 to 1"),
    ],
)
@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_what_is_no_fusion(fusion, changes, message):
    with pytest.raises(ValueError, match=message):
        fused(ranking(1), ranking(1), **{"fusion": fusion, **changes})
