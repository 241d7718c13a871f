"""The one table of metrics: what is measured, in which direction, and where it is shown."""

from nlift.settings import MEASURED, METRICS, direction


def test_what_is_measured_by_kind_of_set():
    geometry = ("uniformity", "alignment")
    assert {
        "sts": ("spearman", "pearson", *geometry),
        "retrieval": ("ndcg@10", "recall@10", "recall@100", "mrr@10", "map", *geometry),
    } == MEASURED


def test_what_is_shown_and_in_which_order():
    short = [metric.name for metric in METRICS if metric.summary]
    long = [metric.name for metric in METRICS if metric.report]
    assert short == ["spearman", "ndcg@10", "recall@10", "recall@100", "uniformity", "alignment"]
    assert long == [*short[:4], "mrr@10", "map", *short[4:]]


def test_a_direction():
    lower = {metric.name for metric in METRICS if direction(metric.name) == "min"}
    assert lower == {"uniformity", "alignment"}
    assert direction(None) == direction("loss") == "max"
