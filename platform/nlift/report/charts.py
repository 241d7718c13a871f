"""Plots of figures as SVG: bars, lines, points, histograms."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from markupsafe import Markup

from nlift.report.svg import (
    BLUE,
    BOTTOM,
    CHARACTER_PX,
    LEFT,
    RIGHT,
    Axis,
    Frame,
    axis,
    colors_of,
    legend,
    line,
    short,
    svg,
)

BAR_PX, BAR_GAP_PX, CLUSTER_GAP_PX = 26, 6, 28
UNIT_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def bar_chart(values: Mapping[str, Mapping[str, float]], label: str = "", height: int = 250) -> Markup:
    """Bars from 0 to 1, a cluster per set, a bar per encoder: values by set and encoder. A value below 0 has no bar."""
    colors = colors_of(name for by_encoder in values.values() for name in by_encoder)
    places, right = _clusters(values)
    frame = Frame(Axis("", 0, 1, ()), Axis(label, 0.0, 1.0, UNIT_TICKS, 1), round(right + RIGHT), height)
    parts, bottom = [frame.draw(across=False)], height - BOTTOM
    for (set_name, by_encoder), (left, middle) in zip(values.items(), places, strict=True):
        parts += [
            _bar(frame, left + i * (BAR_PX + BAR_GAP_PX), value, colors[name], name)
            for i, (name, value) in enumerate(by_encoder.items())
        ]
        parts.append(
            f'<text x="{middle:.1f}" y="{bottom + 17}" text-anchor="middle">{escape(short(set_name))}'
            f"<title>{escape(set_name)}</title></text>"
        )
    names, names_height = legend(colors, bottom + 26, max(frame.width, 300))
    return svg(max(frame.width, 300), bottom + 30 + names_height, *parts, names)


def _clusters(values: Mapping[str, Mapping[str, float]]) -> tuple[list[tuple[float, float]], float]:
    """Where each set's first bar begins and its middle is; and where the last set ends."""
    places, x = [], float(LEFT + 14)
    for set_name, by_encoder in values.items():
        bars = len(by_encoder) * (BAR_PX + BAR_GAP_PX) - BAR_GAP_PX
        width = max(bars, CHARACTER_PX * len(short(set_name)))
        places.append((x + (width - bars) / 2, x + width / 2))
        x += width + CLUSTER_GAP_PX
    return places, x - CLUSTER_GAP_PX + 14


def _bar(frame: Frame, x: float, value: float, color: str, name: str) -> str:
    top, bottom = frame.y(max(value, 0.0)), frame.y(0.0)
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{BAR_PX}" height="{bottom - top:.1f}" fill="{color}">'
        f"<title>{escape(name)} {value:.3f}</title></rect>"
        f'<text x="{x + BAR_PX / 2:.1f}" y="{top - 4:.1f}" text-anchor="middle">{value:.2f}</text>'
    )


def line_chart(xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> Markup:
    """A line, its x from 0."""
    frame = Frame(axis(x_name, xs, from_zero=True), axis(y_name, ys))
    points = [(frame.x(x), frame.y(y)) for x, y in zip(xs, ys, strict=True)]
    return svg(frame.width, frame.height, frame.draw(), line(points, BLUE, f"{y_name} by {x_name}"))


def scatter(
    points: Sequence[tuple[float, float, str]], x_name: str, y_name: str, groups: Mapping[str, str] | None = None
) -> Markup:
    """Points with names, one colour per name, or per group that `groups` puts a name into."""
    groups = groups or {}
    colors = colors_of(groups.get(name, name) for _, _, name in points)
    frame = Frame(axis(x_name, [x for x, _, _ in points]), axis(y_name, [y for _, y, _ in points]), height=280)
    drawn = [
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="4.5" fill="{color}" opacity=".8">'
        f"<title>{escape(name)}: {x:.3f}, {y:.3f}</title></circle>"
        for x, y, name, color in ((*point, colors[groups.get(point[2], point[2])]) for point in points)
    ]
    names, names_height = legend(colors, frame.height + 2, frame.width)
    return svg(frame.width, frame.height + names_height + 6, frame.draw(), *drawn, names)


def histogram(counts: np.ndarray, edges: np.ndarray, x_name: str, y_name: str) -> Markup:
    """Counts [B] of equal bins with edges [B + 1]."""
    across = axis(x_name, [float(edges[0]), float(edges[-1])])
    frame = Frame(across, axis(y_name, map(float, counts), from_zero=True), width=560)
    bottom, bars = frame.y(0), []
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        left, top = frame.x(float(low)), frame.y(float(count))
        bars.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(frame.x(float(high)) - left - 1, 0.5):.1f}" '
            f'height="{bottom - top:.1f}" fill="{BLUE}"><title>{low:.3f} to {high:.3f}: {count}</title></rect>'
        )
    return svg(frame.width, frame.height, frame.draw(), *bars)
