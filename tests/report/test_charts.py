"""Plots: every value where it belongs."""

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from nlift.report import charts

NDCG = {"places": {"base": 0.2, "bm25": 0.4, "tuned": 0.5}}


def bars(svg):
    """Left edge, width and height of every bar."""
    drawn = ElementTree.fromstring(svg).iter("rect")
    return [tuple(float(bar.get(key)) for key in ("x", "width", "height")) for bar in drawn]


def test_bars_are_as_high_as_their_values():
    heights = np.array([height for _, _, height in bars(charts.bar_chart(NDCG))])
    assert heights / heights[0] == pytest.approx([1, 2, 2.5], abs=0.01)


def test_a_negative_value_has_no_bar():
    assert bars(charts.bar_chart({"a": {"base": -0.2}}))[0][2] == 0


def test_bars_do_not_overlap_however_many_there_are():
    by_encoder = {f"encoder {i}": 0.5 for i in range(9)}
    svg = charts.bar_chart({"a": by_encoder, "a set with quite a long name": {"base": 0.1}, "b": by_encoder})
    edges = bars(svg)
    assert len(edges) == 19
    assert all(left + width < next_left for (left, width, _), (next_left, _, _) in pairwise(edges))
    assert edges[-1][0] + edges[-1][1] < float(ElementTree.fromstring(svg).get("width"))


def test_a_plot_shrinks_whole_and_its_sets_keep_their_names():
    svg = ElementTree.fromstring(charts.bar_chart({"a set with quite a long name <b>": {"base": 0.1}}))
    assert svg.get("viewBox") == f"0 0 {svg.get('width')} {svg.get('height')}"
    assert "a set with quite a long name <b>" in [title.text for title in svg.iter("title")]


def texts(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter("text")]


def test_bars_have_an_axis_with_its_name_and_ticks():
    assert {"NDCG@10", "0.0", "0.2", "1.0"} <= set(texts(charts.bar_chart(NDCG, "NDCG@10")))


def test_a_line_goes_through_its_points():
    svg = ElementTree.fromstring(charts.line_chart([0, 5, 10], [3.0, 1.0, 2.0], "step", "loss"))
    points = [tuple(map(float, point.split(","))) for point in svg.find("polyline").get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == x2 - x1 > 0
    assert y0 < y2 < y1 and y2 == pytest.approx((y0 + y1) / 2)


def test_a_line_has_ticks_and_names_on_both_axes():
    labels = texts(charts.line_chart([0, 100, 194], [3.0, 1.0, 2.0], "step", "loss"))
    assert {"step", "loss", "0", "50", "200", "1.0", "1.5", "3.0"} <= set(labels)


@pytest.mark.parametrize(("xs", "ys"), [([0], [1.0]), ([1, 2], [1.0, 1.0]), ([1], [0.0]), ([1, 2], [-3.0, -3.0])])
def test_a_line_of_one_value(xs, ys):
    assert "nan" not in charts.line_chart(xs, ys, "step", "loss")


def test_a_histogram_counts_every_value():
    svg = charts.histogram(*np.histogram([0.0, 0.0, 0.0, 1.0], bins=4), "COMET", "sentences")
    titles = [title.text for title in ElementTree.fromstring(svg).iter("title")]
    assert [int(title.rpartition(" ")[2]) for title in titles] == [3, 0, 0, 1]
    heights = np.array([height for _, _, height in bars(svg)])
    assert heights / heights[0] == pytest.approx([1, 0, 0, 1 / 3], abs=0.01)
    assert {"COMET", "sentences", "0", "1.0", "3"} <= set(texts(svg))


def test_plots_have_colours_of_the_page_alone():
    """Fixed colours would be unreadable in the dark."""
    for svg in (
        charts.bar_chart(NDCG),
        charts.line_chart([0, 1], [1.0, 2.0], "step", "loss"),
        charts.scatter([(0.1, 0.2, "a")], "x", "y"),
        charts.histogram(*np.histogram([0.0, 1.0], bins=2), "x", "y"),
    ):
        for element in ElementTree.fromstring(svg).iter():
            for key in ("fill", "stroke"):
                assert element.get(key, "none") == "none" or element.get(key).startswith("var(--"), element.attrib
