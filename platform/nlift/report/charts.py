"""Plots as SVG, to stand in a page that needs nothing else. Names in them are text and never markup."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup

from nlift.settings import SearchSpace
from nlift.tuning.trials import described, shown

BLUE, GREY = "#2f6fb5", "#9aa5b1"
COLORS = {"base": GREY, "bm25": "#d9a441", "tuned": BLUE, "hybrid": "#3f9c74"}
OTHER_COLORS = ("#6b4ea0", "#c2557a", "#4c9fb8", "#8a6d3b")  # of encoders with other names
BAR_PX, BAR_GAP_PX, CLUSTER_GAP_PX = 26, 6, 28
RAMP = ((244, 180, 60), (214, 79, 123), (59, 31, 143))  # worst to best, from light to dark
AXIS_PX = 150  # between two axes of parallel coordinates


def bar_chart(values: dict[str, dict[str, float]], height: int = 200) -> Markup:
    """Bars from 0 to 1, a cluster per set, a bar per encoder: values by set and encoder. A value below 0 has no bar."""
    names = list(dict.fromkeys(name for by_encoder in values.values() for name in by_encoder))
    others = iter(OTHER_COLORS * (1 + len(names) // len(OTHER_COLORS)))
    colors = {name: COLORS.get(name) or next(others) for name in names}
    parts, x = [], 20.0
    for set_name, by_encoder in values.items():
        label = _short(set_name)
        width = max(len(by_encoder) * (BAR_PX + BAR_GAP_PX) - BAR_GAP_PX, 7 * len(label))
        left = x + (width - len(by_encoder) * (BAR_PX + BAR_GAP_PX) + BAR_GAP_PX) / 2
        for i, (name, value) in enumerate(by_encoder.items()):
            parts.append(_bar(left + i * (BAR_PX + BAR_GAP_PX), value, height, colors[name], name))
        middle, whole_name = x + width / 2, f"<title>{escape(set_name)}</title>"
        parts.append(f'<text x="{middle:.1f}" y="{height - 6}" text-anchor="middle">{escape(label)}{whole_name}</text>')
        x += width + CLUSTER_GAP_PX
    legend, legend_x = [], 20.0
    for name, color in colors.items():
        legend.append(
            f'<circle cx="{legend_x + 4:.1f}" cy="{height + 12}" r="4" fill="{color}"/>'
            f'<text x="{legend_x + 12:.1f}" y="{height + 16}">{escape(name)}</text>'
        )
        legend_x += 26 + 7 * len(name)
    return _svg(max(x, legend_x), height + 24, *parts, *legend)


def _bar(x: float, value: float, height: int, color: str, name: str) -> str:
    size = max(value, 0.0) * (height - 44)
    top = height - 22 - size
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{BAR_PX}" height="{size:.1f}" fill="{color}">'
        f"<title>{escape(name)} {value:.3f}</title></rect>"
        f'<text x="{x + BAR_PX / 2:.1f}" y="{top - 4:.1f}" text-anchor="middle">{value:.2f}</text>'
    )


def line_chart(xs: Sequence[float], ys: Sequence[float], width: int = 640, height: int = 220) -> Markup:
    """A line with its axes' ends labelled."""
    low, high = min(ys), max(ys)
    spread, last = (high - low) or 1.0, max(xs) or 1
    points = " ".join(
        f"{50 + (width - 70) * x / last:.1f},{height - 30 - (height - 50) * (y - low) / spread:.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    labels = (
        f'<text x="44" y="26" text-anchor="end">{high:.2f}</text>'
        f'<text x="44" y="{height - 28}" text-anchor="end">{low:.2f}</text>'
        f'<text x="{width - 20}" y="{height - 10}" text-anchor="end">{last}</text>'
    )
    line = f'<polyline points="{points}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>'
    return _svg(width, height, _axes(width, height), line, labels)


def scatter(points: Sequence[tuple[float, float, str]], x_name: str, y_name: str, width: int = 420) -> Markup:
    """Points with names, one colour per name; ticks at the ends and the middle of both axes."""
    height = 260
    names = list(dict.fromkeys(name for _, _, name in points))
    palette = (BLUE, *list(COLORS.values())[1:2], COLORS["hybrid"], *OTHER_COLORS)
    colors = {name: COLORS.get(name) or palette[i % len(palette)] for i, name in enumerate(names)}
    across, up = _Scale([x for x, _, _ in points], False), _Scale([y for _, y, _ in points], False)
    parts = []
    for x, y, name in points:
        left, top = 66 + (width - 96) * across.share(x), 24 + (height - 74) * (1 - up.share(y))
        title = f"<title>{escape(name)}: {x:.3f}, {y:.3f}</title>"
        parts.append(
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="4.5" fill="{colors[name]}" opacity=".8">{title}</circle>'
        )
    for value in across.ticks:
        left = 66 + (width - 96) * across.share(value)
        parts.append(f'<text x="{left:.1f}" y="{height - 30}" text-anchor="middle">{value:.2f}</text>')
    for value in up.ticks:
        top = 28 + (height - 74) * (1 - up.share(value))
        parts.append(f'<text x="52" y="{top:.1f}" text-anchor="end">{value:.3f}</text>')
    frame = f'<path d="M58 14V{height - 44}H{width - 20}" fill="none" stroke="#cbd2d9"/>'
    names_of_axes = (
        f'<text x="{width / 2:.0f}" y="{height - 10}" text-anchor="middle">{escape(x_name)}</text>'
        f'<text x="58" y="10">{escape(y_name)}</text>'
    )
    return _svg(width, height, frame, *parts, names_of_axes)


def histogram(counts: np.ndarray, edges: np.ndarray, width: int = 640, height: int = 220) -> Markup:
    """Counts [B] of equal bins with edges [B + 1]."""
    bins = len(counts)
    step = (width - 70) / bins
    bars = "".join(
        f'<rect x="{50 + i * step:.1f}" y="{height - 30 - size:.1f}" width="{step - 1:.1f}" height="{size:.1f}" '
        f'fill="{BLUE}"><title>{edges[i]:.3f} to {edges[i + 1]:.3f}: {counts[i]}</title></rect>'
        for i, size in enumerate((height - 50) * counts / counts.max())
    )
    labels = (
        f'<text x="50" y="{height - 10}">{edges[0]:.2f}</text>'
        f'<text x="{width - 20}" y="{height - 10}" text-anchor="end">{edges[-1]:.2f}</text>'
        f'<text x="44" y="26" text-anchor="end">{counts.max()}</text>'
    )
    return _svg(width, height, _axes(width, height), bars, labels)


def parallel(space: dict[str, SearchSpace], rows: list[dict[str, Any]], metric: str, lower_is_better: bool) -> Markup:
    """Parallel coordinates: an axis per swept key, the metric's last; a line per configuration of `trials.ranked`.

    Colours and the metric's axis go from worst, light and below, to best, dark and above. A
    configuration without a value is dashed and ends before the metric's axis.
    """
    measured = [row["mean"] for row in rows if row["mean"] is not None]
    scale, height = _Scale(measured, lower_is_better), 300
    xs = [80 + AXIS_PX * i for i in range(len(space) + 1)]
    axes = [_axis(x, key, *_ticks(space[key])) for x, key in zip(xs, space, strict=False)]
    axes.append(_axis(xs[-1], metric, [(scale.share(value), f"{value:.4f}") for value in scale.ticks]))
    lines = []
    for row in reversed(rows):
        heights = [_place(space[key], row["config"][key]) for key in space]
        failed = row["mean"] is None
        points = zip(xs, heights if failed else [*heights, scale.share(row["mean"])], strict=False)
        style = f'stroke="{GREY}" stroke-dasharray="4 4"' if failed else f'stroke="{scale.color(row["mean"])}"'
        width = 3.5 if row is rows[0] else 1.8
        values = described(row["config"])
        title = escape(f"failed: {values}" if failed else f"{metric} {row['mean']:.4f}: {values}")
        path = " ".join(f"{x},{_y(share):.1f}" for x, share in points)
        lines.append(
            f'<polyline points="{path}" fill="none" stroke-width="{width}" stroke-opacity="0.85" {style}>'
            f"<title>{title}</title></polyline>"
        )
    return _svg(xs[-1] + 90, height, *lines, *axes)  # labels stand over lines


def histories(trials: list[dict[str, Any]], lower_is_better: bool, width: int = 640, height: int = 260) -> Markup:
    """The metric by step, a line per trial of trials.json; a ring where it was stopped, a cross where it failed."""
    reported = [(step, value) for trial in trials for step, value in trial["history"] if _number(value)]
    if not reported:
        return Markup()
    last, scale = max(step for step, _ in reported), _Scale([value for _, value in reported], False)
    colors = _Scale([trial["value"] for trial in trials if trial["value"] is not None], lower_is_better)
    parts = [_frame(width, height, scale, str(last))]
    for trial in trials:
        points = [
            (60 + (width - 90) * step / last, 20 + (height - 50) * (1 - scale.share(value)))
            for step, value in trial["history"]
            if _number(value)
        ]
        if not points:
            continue
        color = GREY if trial["value"] is None else colors.color(trial["value"])
        parts.append(_line(points, color, _said(trial)) + _end(points[-1], trial["status"], color, _said(trial)))
    return _svg(width, height, *parts)


def best_so_far(trials: list[dict[str, Any]], lower_is_better: bool, width: int = 640, height: int = 260) -> Markup:
    """A point per trial in the order of the sweep, and the best value up to there."""
    values = [trial["value"] for trial in trials]
    measured = [value for value in values if value is not None]
    if not measured:
        return Markup()
    scale, colors = _Scale(measured, False), _Scale(measured, lower_is_better)
    better = min if lower_is_better else max

    def point(i: int, value: float) -> tuple[float, float]:
        return 60 + (width - 90) * (i + 0.5) / len(values), 20 + (height - 50) * (1 - scale.share(value))

    parts, best = [_frame(width, height, scale, f"trial {len(values)}")], None
    steps: list[tuple[float, float]] = []
    for i, value in enumerate(values):
        if value is not None:
            best = value if best is None else better(best, value)
        if best is not None:
            steps += [(point(i, best)[0], steps[-1][1])] if steps else []
            steps.append(point(i, best))
    parts.append(_line(steps, BLUE, "best so far"))
    parts += [
        _end(point(i, trial["value"]), trial["status"], colors.color(trial["value"]), _said(trial))
        for i, trial in enumerate(trials)
        if trial["value"] is not None
    ]
    return _svg(width, height, *parts)


def _svg(width: float, height: int, *parts: str) -> Markup:
    """A plot of its parts, which shrinks where the page is narrower."""
    size = f'width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}"'
    return Markup(f"<svg {size}>{''.join(parts)}</svg>")


class _Scale:
    """Values to shares of an axis and to colours: 1 is the best, or the highest where that is not asked for."""

    def __init__(self, values: list[float], lower_is_better: bool) -> None:
        self.low, self.high = (min(values), max(values)) if values else (0.0, 1.0)
        self.flipped = lower_is_better
        self.ticks = sorted({self.low, (self.low + self.high) / 2, self.high})

    def share(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return 1 - share if self.flipped else share

    def color(self, value: float) -> str:
        at = self.share(value) * (len(RAMP) - 1)
        first = min(int(at), len(RAMP) - 2)
        mixed = (round(a + (b - a) * (at - first)) for a, b in zip(RAMP[first], RAMP[first + 1], strict=True))
        return "#" + "".join(f"{part:02x}" for part in mixed)


def _place(space: SearchSpace, value: Any) -> float:
    """Where a value is on its key's axis: 0 below, 1 above."""
    if space.choice is not None:
        return (space.choice.index(value) + 0.5) / len(space.choice)
    low, high = space.bounds or (0.0, 1.0)
    if space.loguniform is not None:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _ticks(space: SearchSpace) -> tuple[list[tuple[float, str]], str]:
    """Places and labels of an axis, and a word on its scale."""
    if space.choice is not None:
        return [(_place(space, value), shown(value)) for value in space.choice], ""
    low, high = space.bounds or (0.0, 1.0)
    middle = math.sqrt(low * high) if space.loguniform is not None else (low + high) / 2
    labels = [f"{value:.3g}" for value in (low, middle, high)]
    return list(zip((0.0, 0.5, 1.0), labels, strict=True)), "log" if space.loguniform is not None else ""


def _axis(x: float, key: str, ticks: list[tuple[float, str]], word: str = "") -> str:
    section, _, name = key.rpartition(".")
    small = " ".join(part for part in (section, f"({word})" if word else "") if part)
    labels = "".join(
        f'<path d="M{x - 4} {_y(share):.1f}H{x}" stroke="#7b8794"/>'
        f'<text x="{x - 7}" y="{_y(share) + 4:.1f}" text-anchor="end">{escape(_short(label))}</text>'
        for share, label in ticks
    )
    return (
        f'<text x="{x}" y="16" text-anchor="middle" font-weight="600">{escape(name)}</text>'
        f'<text x="{x}" y="30" text-anchor="middle" font-size="10">{escape(small)}</text>'
        f'<path d="M{x} 42V285" stroke="#7b8794"/>{labels}'
    )


def _y(share: float) -> float:
    return 285 - 243 * share


def _short(label: str) -> str:
    return label if len(label) <= 16 else "…" + label[-15:]


def _number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _said(trial: dict[str, Any]) -> str:
    value = trial["status"] if trial["value"] is None else f"{trial['value']:.4f} ({trial['status']})"
    return f"{value}: {described(trial['config'])}, seed {trial['seed']}"


def _line(points: list[tuple[float, float]], color: str, title: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8">'
    return f"{line}<title>{escape(title)}</title></polyline>"


def _end(point: tuple[float, float], status: str, color: str, title: str) -> str:
    x, y = point
    if status == "failed":
        return f'<path d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8" stroke="{color}" stroke-width="2"/>'
    fill = color if status == "finished" else "#fff"
    shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{color}" stroke-width="1.5">'
    return f"{shape}<title>{escape(title)}</title></circle>"


def _frame(width: int, height: int, scale: _Scale, last: str) -> str:
    labels = "".join(
        f'<text x="54" y="{24 + (height - 50) * (1 - scale.share(value)):.1f}" text-anchor="end">{value:.3f}</text>'
        for value in scale.ticks
    )
    end = f'<text x="{width - 30}" y="{height - 8}" text-anchor="end">{escape(last)}</text>'
    return f'<path d="M60 20V{height - 24}H{width - 20}" fill="none" stroke="#cbd2d9"/>{labels}{end}'


def _axes(width: int, height: int) -> str:
    return f'<path d="M50 20V{height - 30}H{width - 20}" fill="none" stroke="#cbd2d9"/>'
