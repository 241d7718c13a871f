"""What all plots share: axes with ticks, frames, legends. Names are text and never markup.

Colours are variables of the page's style sheet, so that plots follow light and dark.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

BLUE, GREY = "var(--tuned)", "var(--base)"
COLORS = {name: f"var(--{name})" for name in ("base", "bm25", "tuned", "hybrid")}
OTHER_COLORS = tuple(f"var(--other-{i})" for i in range(1, 5))  # of encoders and sets with other names
CHARACTER_PX, LINE_PX = 7, 18
LEAST_STEPS = 3  # from tick to tick of an axis; there are eight at most
LEFT, RIGHT, TOP, BOTTOM = 56, 18, 26, 42  # around a plot


@dataclass(frozen=True)
class Axis:
    """A range of values with its name and round ticks."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    decimals: int = 0
    percent: bool = False

    def share(self, value: float) -> float:
        """Where a value is: 0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)

    def text(self, value: float) -> str:
        """A tick's label."""
        return f"{100 * value:,.{max(0, self.decimals - 2)}f} %" if self.percent else f"{value:,.{self.decimals}f}"


def axis(label: str, values: Iterable[float], *, from_zero: bool = False, percent: bool = False) -> Axis:
    """The axis that holds all values, from a round number to a round number."""
    there = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min([0.0, *there] if from_zero else there), max(there)
    if low == high:
        low, high = (low, low + 1.0) if from_zero else (low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10)
    step = _step((high - low) / LEAST_STEPS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Axis(label, ticks[0], ticks[-1], ticks, max(0, -math.floor(math.log10(step) + 1e-9)), percent)


def _step(most: float) -> float:
    """The largest round number that is no more: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(most) + 1e-9)
    return next(factor * power for factor in (5, 2, 1) if factor * power <= most * (1 + 1e-9))


@dataclass(frozen=True)
class Frame:
    """Two axes and the room between them, in pixels."""

    across: Axis
    up: Axis
    width: int = 400
    height: int = 240

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + (self.width - LEFT - RIGHT) * self.across.share(value)

    def y(self, value: float) -> float:
        """Pixels from above."""
        return TOP + (self.height - TOP - BOTTOM) * (1 - self.up.share(value))

    def draw(self, across: bool = True) -> str:
        """Grid, ticks and names of the axes; of the upward one alone where the other has names for ticks."""
        right, bottom = self.width - RIGHT, self.height - BOTTOM
        parts = [
            f'<path d="M{LEFT} {self.y(tick):.1f}H{right}" stroke="var(--grid)"/>'
            f'<text x="{LEFT - 6}" y="{self.y(tick) + 4:.1f}" text-anchor="end">{self.up.text(tick)}</text>'
            for tick in self.up.ticks
        ]
        parts.append(f'<text x="4" y="13">{escape(self.up.label)}</text>')
        if across:
            parts += [
                f'<path d="M{self.x(tick):.1f} {bottom}v5" stroke="var(--axis)"/>'
                f'<text x="{self.x(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{self.across.text(tick)}</text>'
                for tick in self._roomy()
            ]
            middle = (LEFT + right) / 2
            parts.append(
                f'<text x="{middle:.1f}" y="{bottom + 34}" text-anchor="middle">{escape(self.across.label)}</text>'
            )
        parts.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="var(--axis)"/>')
        return "".join(parts)

    def _roomy(self) -> Sequence[float]:
        """The ticks, or every other one where their labels would touch."""
        widest = CHARACTER_PX * max(len(self.across.text(tick)) for tick in self.across.ticks) + 8
        room = (self.width - LEFT - RIGHT) / max(1, len(self.across.ticks) - 1)
        return self.across.ticks[:: max(1, math.ceil(widest / room))]


def svg(width: float, height: float, *parts: str) -> Markup:
    """A plot of its parts, which shrinks a little where the page is narrower, and is scrolled beyond that."""
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return Markup(f'<svg {size} style="min-width:{0.8 * width:.0f}px">{"".join(parts)}</svg>')


def legend(colors: Mapping[str, str], top: float, width: float) -> tuple[str, float]:
    """A dot and a name each, in as many lines as they need; and how high that is."""
    parts, x, line = [], 8.0, 0
    for name, color in colors.items():
        label = short(name, 40)
        needed = 26 + CHARACTER_PX * len(label)
        if x > 8 and x + needed > width:
            x, line = 8.0, line + 1
        y = top + LINE_PX * line + 10
        parts.append(
            f'<circle cx="{x + 4:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>'
            f'<text x="{x + 13:.1f}" y="{y + 4:.1f}">{escape(label)}<title>{escape(name)}</title></text>'
        )
        x += needed
    return "".join(parts), LINE_PX * (line + 1)


def colors_of(names: Iterable[str]) -> dict[str, str]:
    """A colour per name, the same for base, bm25, tuned and hybrid everywhere."""
    named = list(dict.fromkeys(names))
    others = [name for name in named if name not in COLORS]
    return {name: COLORS.get(name) or OTHER_COLORS[others.index(name) % len(OTHER_COLORS)] for name in named}


def line(points: Sequence[tuple[float, float]], color: str, title: str, style: str = 'stroke-width="1.8"') -> str:
    """A line through points, in pixels."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = f'<polyline points="{path}" fill="none" stroke="{color}" {style}>'
    return f"{drawn}<title>{escape(title)}</title></polyline>"


def dots(points: Iterable[tuple[float, float]], color: str, size: float = 3.0) -> str:
    """Many points as one path, in pixels."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    style = f'stroke-width="{size}" stroke-linecap="round" stroke-opacity=".7" fill="none"'
    return f'<path d="{path}" stroke="{color}" {style}/>'


def short(label: str, longest: int = 16) -> str:
    """A label's end where it is long: paths differ there."""
    return label if len(label) <= longest else "…" + label[1 - longest :]
