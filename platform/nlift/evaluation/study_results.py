"""What a study found: every variant's figures over its seeds, beside the first variant's on the same queries.

Shape suffixes: S seeds, Q queries, R runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from nlift.evaluation import metrics
from nlift.evaluation.comparisons import PerQuery, metric_name
from nlift.evaluation.significance import RESAMPLES, bootstrap_interval

MEASURED = ("ndcg@10", "recall@100", "spearman", "accuracy")
GEOMETRY = ("uniformity", "alignment")
LEAST_CELLS = 4  # of which a correlation says anything


@dataclass(frozen=True)
class Figure:
    """A variant's figure on a set, and how far it is above the first variant's."""

    set_name: str
    metric: str
    cell: str
    by_seed: tuple[float, ...]
    above: tuple[float, float, float] | None
    """The difference and its 95 % interval over queries, both means over seeds; None of the first variant."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.by_seed))

    @property
    def deviation(self) -> float:
        """Over seeds; NaN where there is one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else float("nan")

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.above is not None and (self.above[1] > 0 or self.above[2] < 0)

    def as_json(self) -> dict[str, Any]:
        """The figure as results.json has it."""
        above = dict(zip(("difference", "low", "high"), self.above, strict=True)) if self.above else {}
        deviation = None if np.isnan(self.deviation) else round(self.deviation, 4)
        row = {"set": self.set_name, "metric": self.metric, "cell": self.cell, "mean": round(self.mean, 4)}
        rounded = {name: round(value, 4) for name, value in above.items()}
        return {**row, "std": deviation, "seeds": list(self.by_seed), **rounded}


def figures(results: Mapping[str, Mapping[str, Sequence[PerQuery]]]) -> list[Figure]:
    """Every variant on every set by every metric; variants over the same queries, the first one compared with.

    `results` has by set and variant what each seed has on the queries.
    """
    found = []
    for set_name, by_cell in results.items():
        first = next(iter(by_cell.values()))
        for metric in _metrics(first[0]):
            for place, (cell, seeds) in enumerate(by_cell.items()):
                own = tuple(_value(metric, seed) for seed in seeds)
                found.append(Figure(set_name, metric, cell, own, _above(metric, seeds, first) if place else None))
    return found


def _metrics(columns: PerQuery) -> list[str]:
    there = {*columns, *(["spearman"] if "cosine" in columns else []), *(["accuracy"] if "correct" in columns else [])}
    return [metric for metric in MEASURED if metric in there]


def _value(metric: str, own: PerQuery, rows: np.ndarray | slice = slice(None)) -> float:
    if metric == "spearman":
        return metrics.spearman(own["cosine"][rows], own["score"][rows])
    return float(own["correct" if metric == "accuracy" else metric][rows].mean())


def _above(metric: str, seeds: Sequence[PerQuery], first: Sequence[PerQuery]) -> tuple[float, float, float]:
    """The difference of means over seeds, and its interval over resampled queries."""
    count = len(next(iter(first[0].values())))
    if metric == "spearman":

        def difference(rows: np.ndarray | slice) -> float:
            own, other = ([_value(metric, seed, rows) for seed in side] for side in (seeds, first))
            return float(np.mean(own) - np.mean(other))

        return (difference(slice(None)), *bootstrap_interval(difference, count))
    column = "correct" if metric == "accuracy" else metric
    own_Q, other_Q = (np.mean([seed[column] for seed in side], axis=0) for side in (seeds, first))
    differences_Q = own_Q - other_Q
    return (float(differences_Q.mean()), *bootstrap_interval(lambda rows: float(differences_Q[rows].mean()), count))


@dataclass(frozen=True)
class Correlation:
    """How a figure of geometry goes with retrieval over a study's encoders."""

    set_name: str
    geometry: str
    metric: str
    rho: float
    """Spearman's, over all runs."""
    low: float
    """The 95 % interval's ends, over resampled variants with all of their seeds."""
    high: float
    within: float | None
    """Over runs as they stand apart from their variant's mean; None with one seed."""
    runs: int
    cells: int

    @property
    def words(self) -> str:
        """The correlation in a sentence."""
        interval = f"{self.rho:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"
        shown = "goes with" if self.low > 0 or self.high < 0 else "is not shown to go with"
        names = f"{self.geometry} {shown} {metric_name(self.metric)}"
        return f"{self.set_name}: {names} over {self.cells} variants, {interval}"


def correlations(rows: Sequence[Mapping[str, Any]]) -> list[Correlation]:
    """Geometry beside retrieval, set by set.

    `rows` are of a set and an encoder each: `set`, `cell`, and by name what was measured.
    """
    found = []
    for set_name in dict.fromkeys(str(row["set"]) for row in rows):
        own = [row for row in rows if row["set"] == set_name]
        for geometry in GEOMETRY:
            for metric in ("ndcg@10", "recall@100"):
                there = [row for row in own if geometry in row and metric in row]
                if len({row["cell"] for row in there}) >= LEAST_CELLS:
                    found.append(_correlation(set_name, geometry, metric, there))
    return found


def _correlation(set_name: str, geometry: str, metric: str, rows: Sequence[Mapping[str, Any]]) -> Correlation:
    names = [str(row["cell"]) for row in rows]
    cells = list(dict.fromkeys(names))
    x_R, y_R = (np.array([float(row[name]) for row in rows]) for name in (geometry, metric))
    places = {cell: np.array([i for i, name in enumerate(names) if name == cell]) for cell in cells}
    chance = np.random.default_rng(len(rows))
    resampled = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([places[cells[i]] for i in chance.integers(len(cells), size=len(cells))])
        if np.ptp(x_R[drawn]) and np.ptp(y_R[drawn]):
            resampled.append(float(stats.spearmanr(x_R[drawn], y_R[drawn]).statistic))
    low, high = np.quantile(resampled, [0.025, 0.975]) if resampled else (-1.0, 1.0)
    within = None
    if any(len(own) > 1 for own in places.values()):
        apart_x, apart_y = x_R.copy(), y_R.copy()
        for own in places.values():
            apart_x[own] -= x_R[own].mean()
            apart_y[own] -= y_R[own].mean()
        within = metrics.spearman(apart_x.round(12), apart_y.round(12))  # what differs by rounding does not differ
    return Correlation(
        set_name, geometry, metric, metrics.spearman(x_R, y_R), float(low), float(high), within, len(rows), len(cells)
    )
