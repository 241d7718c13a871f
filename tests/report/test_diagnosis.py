"""The diagnosis: each signature where it is, none where it is not, and no difference that is not shown."""

import pytest

from nlift.report.diagnosis import diagnose


def row(
    difference, name="tuned", against="base", metric="ndcg@10", shown=True, count=100, detectable=0.05, at="places"
):
    """A row of comparisons.json."""
    return {
        "set": at,
        "metric": metric,
        "name": name,
        "against": against,
        "difference": difference,
        "low": difference - 0.01,
        "high": difference + 0.01,
        "p_holm": 0.001 if shown else 0.5,
        "detectable": detectable,
        "count": float(count),
        "words": f"{name} beside {against}: {difference:+.3f}",
    }


def metrics(spearman=0.6, ndcg=0.5, before=-1.5, after=-3.0):
    """metrics.json of base and tuned."""
    encoders = {
        name: {
            "sts": {"pairs": {"spearman": spearman}},
            "retrieval": {"places": {"ndcg@10": ndcg}},
            "geometry": {"places": {"uniformity": uniformity, "alignment": 0.5}},
        }
        for name, uniformity in (("base", before), ("tuned", after))
    }
    return {"encoders": encoders}


def names(measured, rows):
    return [finding.name for finding in diagnose(measured, rows)]


GAIN = row(0.1)


def test_nothing_is_found_where_all_is_well():
    assert diagnose(metrics(), [GAIN, row(0.2, against="bm25")]) == []


@pytest.mark.parametrize(
    ("spearman", "rows", "expected"),
    [
        (0.75, [GAIN, row(-0.3, against="bm25")], ["domain mismatch", "words are better"]),
        (0.75, [row(-0.05)], ["forgetting", "domain mismatch"]),
        (0.75, [GAIN, row(-0.05, against="bm25")], ["words are better"]),  # below, and not far
        (0.6, [GAIN, row(-0.3, against="bm25")], ["words are better"]),  # similarity is not good
        (0.75, [GAIN, row(-0.3, against="bm25", shown=False)], []),
        (0.4, [GAIN, row(0.2, against="bm25")], ["alignment"]),
        (0.4, [GAIN, row(0.2, against="bm25", shown=False)], []),
        (0.6, [GAIN, row(0.2, against="bm25")], []),
    ],
)
def test_similarity_beside_retrieval(spearman, rows, expected):
    assert names(metrics(spearman), rows) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (-1.2, -1.1, ["collapse"]),
        (-1.2, -1.22, ["collapse"]),
        (-1.2, -1.5, []),
        (-3.0, -2.9, []),  # spread out before and after
        (-3.0, -1.0, ["collapse"]),
    ],
)
def test_vectors_that_are_not_spread_out(before, after, expected):
    assert names(metrics(before=before, after=after), [GAIN]) == expected


@pytest.mark.parametrize(
    ("fused", "advice"),
    [
        ([row(0.02, "hybrid", "bm25")], "Use hybrid search."),
        ([row(-0.02, "hybrid", "bm25")], "Use lexical search."),
        ([row(0.02, "hybrid", "bm25", shown=False)], "search.mode: auto"),
        ([], "search.mode: auto"),
    ],
)
def test_what_to_search_with_where_words_are_better(fused, advice):
    (finding,) = diagnose(metrics(), [GAIN, row(-0.05, against="bm25"), *fused])
    assert finding.name == "words are better" and advice in finding.advice
    assert all(other["words"] in finding.said for other in fused)


def test_how_many_queries_could_show_the_difference():
    (finding,) = diagnose(metrics(), [row(0.01, shown=False, count=40, detectable=0.12)])
    assert finding.said == "No difference of tuned and base is shown by NDCG@10 on places: 40 queries can show 0.120."
    assert finding.advice == "If it is as large as measured (+0.010), about 5,800 queries would show it."  # 40 * 12²


@pytest.mark.parametrize(
    ("difference", "detectable", "said"),
    [
        (0.0, 0.1, "half as large, four times as many"),
        (0.00001, 0.1, "more than a million"),
        (0.2, 0.1, "More queries may decide it."),
        (0.2, None, "half as large"),
    ],
)
def test_differences_that_are_not_shown(difference, detectable, said):
    (finding,) = diagnose(metrics(), [row(difference, shown=False, detectable=detectable)])
    assert said in finding.advice


def test_pairs_that_are_too_few():
    (finding,) = diagnose(metrics(), [GAIN, row(0.01, metric="spearman", shown=False, at="pairs")])
    assert "Spearman on pairs: 100 pairs can show" in finding.said


@pytest.mark.parametrize("shown", [True, False])
def test_only_shown_differences_are_stated(shown):
    """Whatever the figures are: nobody is above or below where comparisons.json does not show it."""
    rows = [
        row(d, name, against, shown=shown) for d in (-0.4,) for name, against in (("tuned", "base"), ("tuned", "bm25"))
    ]
    said = " ".join(finding.said for finding in diagnose(metrics(0.9), rows))
    assert ("-0.400" in said) == shown


@pytest.mark.parametrize("measured", [{}, {"encoders": {}}, {"encoders": {"tuned": {}}}])
def test_a_run_without_base_or_tuned(measured):
    assert diagnose(measured, [GAIN]) == []
