"""Axes: round ticks that hold every value, few enough to be read."""

import numpy as np
import pytest

from nlift.report import svg


@pytest.mark.parametrize("low", [-1e3, -3.3, -0.31, 0.0, 1e-7, 0.2, 17.0])
@pytest.mark.parametrize("span", [1e-6, 0.04, 0.7, 1.0, 9.99, 194, 12_345, 1e9])
def test_ticks_are_round_and_hold_all_values(low, span):
    axis = svg.axis("x", [low, low + span / 3, low + span])
    assert axis.low <= low + span / 1e6 and low + span <= axis.high + span / 1e6
    assert 3 <= len(axis.ticks) <= 10
    steps = np.diff(axis.ticks)
    assert np.allclose(steps, steps[0])
    assert f"{steps[0]:.0e}"[0] in "125"


def test_ticks_are_told_apart():
    axis = svg.axis("loss", [0.3321, 0.3672])
    labels = list(map(axis.text, axis.ticks))
    assert labels == ["0.33", "0.34", "0.35", "0.36", "0.37"]
    assert list(map(float, labels)) == pytest.approx(axis.ticks)


def test_shares_are_percent():
    axis = svg.axis("share", [0.137], from_zero=True, percent=True)
    assert list(map(axis.text, axis.ticks)) == ["0 %", "2 %", "4 %", "6 %", "8 %", "10 %", "12 %", "14 %"]


def test_what_is_no_number_is_left_out():
    assert svg.axis("x", [float("nan"), 1.0, 2.0, float("inf")]).high == 2.0


def test_a_value_is_where_its_axis_has_it():
    frame = svg.Frame(svg.axis("x", [0.0, 10.0]), svg.axis("y", [0.0, 1.0]))
    assert frame.x(5.0) == pytest.approx((frame.x(0.0) + frame.x(10.0)) / 2)
    assert frame.y(0.0) > frame.y(0.5) > frame.y(1.0) == svg.TOP


def test_a_legend_breaks_into_lines():
    legend, height = svg.legend({"base": "a"}, 0, 300)
    many, more = svg.legend({f"a name that is quite long {i}": "a" for i in range(4)}, 0, 300)
    assert legend.count("circle") == 1 and many.count("circle") == 4 and more == 4 * height


def test_few_colours_are_given_again():
    colors = svg.colors_of(["tuned", *map(str, range(9))])
    assert colors["tuned"] == "var(--tuned)" and len(colors) == 10
    assert colors["0"] == colors["4"] != colors["1"]
