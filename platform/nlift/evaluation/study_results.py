"""What a study found: every variant's figures over its seeds, beside the first variant's and beside its base model's.

Shape suffixes: S seeds, Q queries, R runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from nlift.evaluation import metrics
from nlift.evaluation.comparisons import PerQuery, metric_name
from nlift.evaluation.significance import LEVEL, RESAMPLES, holm

MEASURED = ("ndcg@10", "recall@100", "spearman", "accuracy")
GEOMETRY = ("uniformity", "alignment", "anisotropy", "effective_rank")
RESAMPLED_MEANS, RESAMPLED_CORRELATIONS = 10_000, 2000  # a rank correlation takes long
AT_ONCE = 500
LEAST_CELLS = 4  # of which a correlation says anything


@dataclass(frozen=True)
class Above:
    """How far a variant's mean over seeds is above another's."""

    difference: float
    low: float
    """The 95 % interval's ends, over resampled queries and resampled seeds."""
    high: float
    p: float
    """Twice the share of resampled differences beyond zero, corrected for all variants compared with the same one."""

    @property
    def is_shown(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p < LEVEL


@dataclass(frozen=True)
class Figure:
    """A variant's figure on a set."""

    set_name: str
    metric: str
    cell: str
    by_seed: tuple[float, ...]
    above: Above | None = None
    """The first variant's; None of that itself."""
    above_base: Above | None = None
    """What the same model has without training; None of a control."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.by_seed))

    @property
    def deviation(self) -> float:
        """Over seeds; NaN where there is one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else float("nan")

    def as_json(self) -> dict[str, Any]:
        """The figure as results.json has it."""
        deviation = None if np.isnan(self.deviation) else round(self.deviation, 4)
        row = {"set": self.set_name, "metric": self.metric, "cell": self.cell, "mean": round(self.mean, 4)}
        return {
            **row,
            "std": deviation,
            "seeds": list(self.by_seed),
            "above_first": _as_json(self.above),
            "above_base": _as_json(self.above_base),
        }


def _as_json(above: Above | None) -> dict[str, float] | None:
    if above is None:
        return None
    ends = {"difference": above.difference, "low": above.low, "high": above.high, "p": above.p}
    return {name: round(value, 4) for name, value in ends.items()}


def figures(
    results: Mapping[str, Mapping[str, Sequence[PerQuery]]], first: str, bases: Mapping[str, str] | None = None
) -> list[Figure]:
    """Every variant on every set by every metric, all on the same queries.

    Args:
        results: By set and variant what each seed has on the queries.
        first: The variant that all others are compared with, where a set has it.
        bases: By variant the one that is its model without training.
    """
    measured = []
    for set_name, by_cell in results.items():
        others = dict.fromkeys((cell for cell in by_cell if cell != first), first) if first in by_cell else {}
        for metric in _metrics(next(iter(by_cell.values()))[0]):
            own = [
                Figure(set_name, metric, cell, tuple(_value(metric, seed) for seed in seeds))
                for cell, seeds in by_cell.items()
            ]
            drawn = _drawn(metric, by_cell)
            firsts = _compared(metric, by_cell, drawn, others)
            untrained = {cell: base for cell, base in (bases or {}).items() if {cell, base} <= by_cell.keys()}
            based = _compared(metric, by_cell, drawn, untrained)
            measured += [
                replace(figure, above=firsts.get(figure.cell), above_base=based.get(figure.cell)) for figure in own
            ]
    return measured


def _metrics(columns: PerQuery) -> list[str]:
    there = {*columns, *(["spearman"] if "cosine" in columns else []), *(["accuracy"] if "correct" in columns else [])}
    return [metric for metric in MEASURED if metric in there]


def _value(metric: str, own: PerQuery, rows: np.ndarray | slice = slice(None)) -> float:
    if metric == "spearman":
        return metrics.spearman(own["cosine"][rows], own["score"][rows])
    return float(own["correct" if metric == "accuracy" else metric][rows].mean())


def _compared(
    metric: str, by_cell: Mapping[str, Sequence[PerQuery]], drawn: Mapping[str, np.ndarray], pairs: Mapping[str, str]
) -> dict[str, Above]:
    """Variants, each with another; so many comparisons are corrected for (Holm 1979)."""
    means = {cell: float(np.mean([_value(metric, seed) for seed in seeds])) for cell, seeds in by_cell.items()}
    compared = {cell: _above(means[cell] - means[other], drawn[cell] - drawn[other]) for cell, other in pairs.items()}
    corrected = holm([above.p for above in compared.values()])
    return {cell: replace(above, p=p) for (cell, above), p in zip(compared.items(), corrected, strict=True)}


def _above(difference: float, drawn_R: np.ndarray) -> Above:
    low, high = np.quantile(drawn_R, [LEVEL / 2, 1 - LEVEL / 2])
    beyond = min(int((drawn_R <= 0).sum()), int((drawn_R >= 0).sum()))
    return Above(difference, float(low), float(high), min(1.0, 2 * (beyond + 1) / (len(drawn_R) + 1)))


def _drawn(metric: str, by_cell: Mapping[str, Sequence[PerQuery]]) -> dict[str, np.ndarray]:
    """Every variant's mean over resampled queries, the same for all, and over its resampled seeds, float64 [R]."""
    count = len(next(iter(next(iter(by_cell.values()))[0].values())))
    chance = np.random.default_rng(count)
    resampled = RESAMPLED_CORRELATIONS if metric == "spearman" else RESAMPLED_MEANS
    drawn: dict[str, list[np.ndarray]] = {cell: [] for cell in by_cell}
    for _ in range(0, resampled, AT_ONCE):
        rows_RQ = chance.integers(count, size=(AT_ONCE, count))
        of_seeds = _correlations if metric == "spearman" else _means
        for cell, values_RS in of_seeds(metric, by_cell, rows_RQ):
            size = values_RS.shape[1]
            times_RS = chance.multinomial(size, [1 / size] * size, AT_ONCE)
            drawn[cell].append((values_RS * times_RS).sum(1) / size)
    return {cell: np.concatenate(parts) for cell, parts in drawn.items()}


def _means(
    metric: str, by_cell: Mapping[str, Sequence[PerQuery]], rows_RQ: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """The mean of every variant's seeds over rows, [R, S]."""
    column, (size, count) = "correct" if metric == "accuracy" else metric, rows_RQ.shape
    flat = (rows_RQ + np.arange(size)[:, None] * count).ravel()
    times_RQ = np.bincount(flat, minlength=size * count).reshape(size, count).astype(np.float64)
    for cell, seeds in by_cell.items():
        yield cell, times_RQ @ np.stack([seed[column] for seed in seeds], axis=1) / count


def _correlations(
    metric: str, by_cell: Mapping[str, Sequence[PerQuery]], rows_RQ: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """The rank correlation of every variant's seeds over rows, [R, S]."""
    for cell, seeds in by_cell.items():
        yield cell, np.array([[_value(metric, seed, rows) for seed in seeds] for rows in rows_RQ])


@dataclass(frozen=True)
class Correlation:
    """How a figure of geometry goes with retrieval over a study's encoders."""

    set_name: str
    geometry: str
    metric: str
    over: str
    """`all` encoders, or `trained` ones alone."""
    rho: float
    """Spearman's, over all runs."""
    low: float
    """The 95 % interval's ends, over resampled variants with all of their seeds."""
    high: float
    within: float | None
    """Over runs as they stand apart from their variant's mean; None with one seed."""
    within_low: float | None
    within_high: float | None
    runs: int
    cells: int

    @property
    def words(self) -> str:
        """The correlation in a sentence."""
        interval = f"{self.rho:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"
        shown = "goes with" if self.low > 0 or self.high < 0 else "is not shown to go with"
        names = f"{self.geometry} {shown} {metric_name(self.metric)}"
        encoders = "variants and controls" if self.over == "all" else "trained variants"
        apart = "" if self.within is None else f"; within variants {self.within:+.2f}"
        if self.within_low is not None:
            apart += f" [{self.within_low:+.2f}, {self.within_high:+.2f}]"
        return f"{self.set_name}: {names} over {self.cells} {encoders}, {interval}{apart}"


def correlations(rows: Sequence[Mapping[str, Any]], controls: Sequence[str] = ()) -> list[Correlation]:
    """Geometry beside retrieval, set by set, over all encoders, then over the trained ones.

    Args:
        rows: Of a set and an encoder each: `set`, `cell`, and by name what was measured.
        controls: Cells that are not trained.
    """
    measured = []
    for set_name in dict.fromkeys(str(row["set"]) for row in rows):
        for over in ("all", "trained") if controls else ("all",):
            left_out = controls if over == "trained" else ()
            own = [row for row in rows if row["set"] == set_name and row["cell"] not in left_out]
            for geometry in GEOMETRY:
                for metric in ("ndcg@10", "recall@100"):
                    there = [row for row in own if geometry in row and metric in row]
                    if len({row["cell"] for row in there}) >= LEAST_CELLS:
                        measured.append(_correlation(set_name, geometry, metric, over, there))
    return measured


def _correlation(
    set_name: str, geometry: str, metric: str, over: str, rows: Sequence[Mapping[str, Any]]
) -> Correlation:
    names = [str(row["cell"]) for row in rows]
    cells = list(dict.fromkeys(names))
    x_R, y_R = (np.array([float(row[name]) for row in rows]) for name in (geometry, metric))
    places = {cell: np.array([i for i, name in enumerate(names) if name == cell]) for cell in cells}
    low, high = _resampled(x_R, y_R, [places[cell] for cell in cells])
    within = (None, None, None)
    several = [own for own in places.values() if len(own) > 1]
    if several:
        apart_x, apart_y = (_apart(values, several).round(12) for values in (x_R, y_R))  # rounding is no difference
        rows_R = np.concatenate(several)
        ends = _resampled(apart_x, apart_y, several) if len(several) >= LEAST_CELLS else (None, None)
        within = (metrics.spearman(apart_x[rows_R], apart_y[rows_R]), *ends)
    rho = metrics.spearman(x_R, y_R)
    return Correlation(set_name, geometry, metric, over, rho, low, high, *within, len(rows), len(cells))


def _apart(values_R: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    apart = values_R.astype(float)
    for own in groups:
        apart[own] -= values_R[own].mean()
    return apart


def _resampled(x_R: np.ndarray, y_R: np.ndarray, groups: Sequence[np.ndarray]) -> tuple[float, float]:
    """The interval of a rank correlation over groups of runs that are drawn together."""
    chance = np.random.default_rng(len(x_R))
    values = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([groups[i] for i in chance.integers(len(groups), size=len(groups))])
        if np.ptp(x_R[drawn]) and np.ptp(y_R[drawn]):
            values.append(float(stats.spearmanr(x_R[drawn], y_R[drawn]).statistic))
    low, high = np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2]) if values else (-1.0, 1.0)
    return float(low), float(high)
