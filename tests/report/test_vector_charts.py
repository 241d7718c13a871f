"""Plots of vectors: shares of pairs, points where they are, an arrow from base to tuned."""

import re
from xml.etree import ElementTree

import pytest

from nlift.report import vector_charts
from nlift.report.svg import axis


def test_each_group_has_its_own_shares():
    """A hundred times as many other pairs do not hide the relevant ones."""
    across, up = axis("cosine", [0.0, 1.0]), axis("share", [0.0, 0.75], from_zero=True)
    counts = {"relevant": [1, 3], "other": [300, 100]}
    svg = ElementTree.fromstring(vector_charts.cosines([0.0, 0.5, 1.0], counts, across, up))
    drawn = {path.find("title").text: path.get("d") for path in svg.iter("path") if path.find("title") is not None}
    assert list(drawn) == ["other: 400 pairs", "relevant: 4 pairs"]
    heights = {title: re.findall(r"V([\d.]+)H", path) for title, path in drawn.items()}
    assert heights["other: 400 pairs"] == heights["relevant: 4 pairs"][::-1]


def test_a_group_without_pairs():
    assert vector_charts.shares_of([0, 0]) == [0, 0]


def test_every_point_is_drawn():
    svg = vector_charts.projection([[0.0, 1.0], [0.5, 0.5]], [[1.0, 0.0]])
    assert svg.count("h0") == 3 and "documents" in svg and "queries" in svg


def test_an_arrow_goes_from_base_to_tuned():
    svg = ElementTree.fromstring(
        vector_charts.geometry_map(
            {"places": {"base": (-1.0, 0.2), "tuned": (-3.0, 0.4)}, "pairs": {"base": (-2.0, 0.3)}}
        )
    )
    ring, dot, lone = svg.findall("circle")[:3]
    assert ring.get("fill") == "var(--paper)" != dot.get("fill") and lone.get("fill") == "var(--paper)"
    assert float(dot.get("cx")) < float(ring.get("cx")) and float(dot.get("cy")) < float(ring.get("cy"))
    (head,) = svg.findall("polygon")
    tip = [float(value) for value in head.get("points").split()[0].split(",")]
    assert tip == pytest.approx([float(dot.get("cx")), float(dot.get("cy"))], abs=8)
    assert [circle.find("title").text for circle in (ring, dot)] == [
        "places, base: -1.000, 0.200",
        "places, tuned: -3.000, 0.400",
    ]
