"""Plots of what vectors look like as SVG: their cosines, a projection, uniformity and alignment."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from markupsafe import Markup

from nlift.report.svg import BLUE, COLORS, GREY, Axis, Frame, axis, colors_of, dots, legend, svg

GROUP_COLORS = {"other": GREY, "relevant": BLUE, "similar": BLUE}


def cosines(edges: Sequence[float], counts: Mapping[str, Sequence[int]], across: Axis, up: Axis) -> Markup:
    """Histograms over each other, a group each: the share of the group's pairs by cosine."""
    frame = Frame(across, up, height=230)
    parts = [frame.draw()]
    for group in sorted(counts):  # the grey one first
        shares = shares_of(counts[group])
        path = f"M{frame.x(edges[0]):.1f} {frame.y(0):.1f}"
        for share, right in zip(shares, edges[1:], strict=True):
            path += f"V{frame.y(share):.1f}H{frame.x(right):.1f}"
        color = GROUP_COLORS.get(group, GREY)
        title = f"<title>{escape(group)}: {sum(counts[group]):,} pairs</title>"
        parts.append(
            f'<path d="{path}V{frame.y(0):.1f}Z" fill="{color}" fill-opacity=".35" stroke="{color}">{title}</path>'
        )
    names, height = legend({group: GROUP_COLORS.get(group, GREY) for group in counts}, frame.height + 2, frame.width)
    return svg(frame.width, frame.height + height + 6, *parts, names)


def shares_of(counts: Sequence[int]) -> list[float]:
    """Each bin's share of all."""
    total = sum(counts) or 1
    return [count / total for count in counts]


def projection(documents: Sequence[Sequence[float]], queries: Sequence[Sequence[float]]) -> Markup:
    """Documents and queries as points on a plane."""
    both = [*documents, *queries]
    frame = Frame(
        axis("first axis", [point[0] for point in both]), axis("second axis", [point[1] for point in both]), height=340
    )
    drawn = [
        dots([(frame.x(point[0]), frame.y(point[1])) for point in points], color)
        for points, color in ((documents, GREY), (queries, COLORS["bm25"]))
    ]
    names, height = legend({"documents": GREY, "queries": COLORS["bm25"]}, frame.height + 2, frame.width)
    return svg(frame.width, frame.height + height + 6, frame.draw(), *drawn, names)


def geometry_map(places: Mapping[str, Mapping[str, tuple[float, float]]]) -> Markup:
    """Uniformity across and alignment up, by set and encoder: a ring for base, a dot for others, an arrow to tuned."""
    points = [point for by_encoder in places.values() for point in by_encoder.values()]
    across = axis("uniformity, lower is better", [x for x, _ in points])
    frame = Frame(across, axis("alignment, lower is better", [y for _, y in points]), width=480, height=320)
    colors, parts = colors_of(f"set {name}" for name in places), [frame.draw()]  # never those of encoders
    for set_name, by_encoder in places.items():
        color = colors[f"set {set_name}"]
        at = {name: (frame.x(x), frame.y(y)) for name, (x, y) in by_encoder.items()}
        if {"base", "tuned"} <= at.keys():
            parts.append(_arrow(at["base"], at["tuned"], color))
        for name, (x, y) in at.items():
            fill = "var(--paper)" if name == "base" else color
            values = "{:.3f}, {:.3f}".format(*by_encoder[name])
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{color}" stroke-width="2">'
                f"<title>{escape(f'{set_name}, {name}: {values}')}</title></circle>"
            )
    names, height = legend({name: colors[f"set {name}"] for name in places}, frame.height + 2, frame.width)
    return svg(frame.width, frame.height + height + 6, *parts, names)


def _arrow(start: tuple[float, float], end: tuple[float, float], color: str) -> str:
    """A line that ends in a head before the dot at its end."""
    length = math.dist(start, end)
    if length < 16:  # ring and dot touch
        return ""
    across, down = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    tip = (end[0] - 7 * across, end[1] - 7 * down)
    sides = [f"{tip[0] - 8 * across + side * down:.1f},{tip[1] - 8 * down - side * across:.1f}" for side in (4, -4)]
    return (
        f'<path d="M{start[0]:.1f} {start[1]:.1f}L{tip[0]:.1f} {tip[1]:.1f}" stroke="{color}" stroke-width="1.5"/>'
        f'<polygon points="{tip[0]:.1f},{tip[1]:.1f} {" ".join(sides)}" fill="{color}"/>'
    )
