"""Plots of a sweep as SVG: its configurations, its trials by step, the best so far."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from nlift.report.svg import BLUE, GREY, Frame, axis, line, short, svg
from nlift.settings import SearchSpace
from nlift.tuning.trials import described, shown

RAMP = ("var(--worst)", "var(--middling)", "var(--best)")
AXIS_PX = 150  # between two axes of parallel coordinates


def parallel(space: dict[str, SearchSpace], rows: list[dict[str, Any]], metric: str, lower_is_better: bool) -> Markup:
    """Parallel coordinates: an axis per swept key, the metric's last; a line per configuration of `trials.ranked`.

    Colours and the metric's axis go from worst, below, to best, above. A configuration without a value is dashed and
    ends before the metric's axis.
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
        width, values = 3.5 if row is rows[0] else 1.8, described(row["config"])
        title = f"failed: {values}" if failed else f"{metric} {row['mean']:.4f}: {values}"
        style = f'stroke-width="{width}" stroke-opacity=".85"' + (' stroke-dasharray="4 4"' if failed else "")
        color = GREY if failed else scale.color(row["mean"])
        lines.append(line([(x, _y(share)) for x, share in points], color, title, style))
    return svg(xs[-1] + 90, height, *lines, *axes)  # labels stand over lines


def histories(trials: list[dict[str, Any]], metric: str, lower_is_better: bool) -> Markup:
    """The metric by step, a line per trial of trials.json; a ring where it was stopped, a cross where it failed."""
    reported = [(step, value) for trial in trials for step, value in trial["history"] if _number(value)]
    if not reported:
        return Markup()
    frame = Frame(
        axis("step", [step for step, _ in reported], from_zero=True),
        axis(metric, [value for _, value in reported]),
        560,
    )
    colors = _Scale([trial["value"] for trial in trials if trial["value"] is not None], lower_is_better)
    parts = [frame.draw()]
    for trial in trials:
        points = [(frame.x(step), frame.y(value)) for step, value in trial["history"] if _number(value)]
        if points:
            color = GREY if trial["value"] is None else colors.color(trial["value"])
            parts.append(line(points, color, _said(trial)) + _end(points[-1], trial["status"], color, _said(trial)))
    return svg(frame.width, frame.height, *parts)


def best_so_far(trials: list[dict[str, Any]], metric: str, lower_is_better: bool) -> Markup:
    """A point per trial in the order of the sweep, and the best value up to there."""
    measured = [(i, trial["value"]) for i, trial in enumerate(trials, 1) if trial["value"] is not None]
    if not measured:
        return Markup()
    values = [value for _, value in measured]
    frame, colors = Frame(axis("trial", [0, len(trials)]), axis(metric, values), 560), _Scale(values, lower_is_better)
    better, best, steps = min if lower_is_better else max, values[0], []
    for i, value in measured:
        before, best = best, better(best, value)
        steps += [(frame.x(i), frame.y(before)), (frame.x(i), frame.y(best))]
    steps.append((frame.x(len(trials)), frame.y(best)))
    ends = [
        _end((frame.x(i), frame.y(value)), trials[i - 1]["status"], colors.color(value), _said(trials[i - 1]))
        for i, value in measured
    ]
    return svg(frame.width, frame.height, frame.draw(), line(steps, BLUE, "best so far"), *ends)


class _Scale:
    """Values to shares of an axis and to colours: 1 is the best, or the highest where that is not asked for."""

    def __init__(self, values: Sequence[float], lower_is_better: bool) -> None:
        self.low, self.high = (min(values), max(values)) if values else (0.0, 1.0)
        self.flipped = lower_is_better
        self.ticks = sorted({self.low, (self.low + self.high) / 2, self.high})

    def share(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return 1 - share if self.flipped else share

    def color(self, value: float) -> str:
        at = self.share(value) * (len(RAMP) - 1)
        first = min(int(at), len(RAMP) - 2)
        return f"color-mix(in srgb, {RAMP[first + 1]} {100 * (at - first):.0f}%, {RAMP[first]})"


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
        f'<path d="M{x - 4} {_y(share):.1f}H{x}" stroke="var(--axis)"/>'
        f'<text x="{x - 7}" y="{_y(share) + 4:.1f}" text-anchor="end">{escape(short(label))}</text>'
        for share, label in ticks
    )
    return (
        f'<text x="{x}" y="16" text-anchor="middle" font-weight="600">{escape(name)}</text>'
        f'<text x="{x}" y="30" text-anchor="middle" font-size="10">{escape(small)}</text>'
        f'<path d="M{x} 42V285" stroke="var(--axis)"/>{labels}'
    )


def _y(share: float) -> float:
    return 285 - 243 * share


def _number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _said(trial: dict[str, Any]) -> str:
    value = trial["status"] if trial["value"] is None else f"{trial['value']:.4f} ({trial['status']})"
    return f"{value}: {described(trial['config'])}, seed {trial['seed']}"


def _end(point: tuple[float, float], status: str, color: str, title: str) -> str:
    x, y = point
    if status == "failed":
        return f'<path d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8" stroke="{color}" stroke-width="2"/>'
    fill = color if status == "finished" else "var(--paper)"
    shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{color}" stroke-width="1.5">'
    return f"{shape}<title>{escape(title)}</title></circle>"
