"""Figures of STS beside a set's own: its subsets, and the average over sets.

As SentEval and SimCSE report them: a set's own figure is over all of its pairs together, the average is a plain mean
of Spearman's correlation over sets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlift.evaluation import metrics

LEAST_PAIRS = 10  # of a subset that has a figure of its own
PREFIX = "spearman/"


def by_subset(subsets: Sequence[str], predicted: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """`spearman/NAME` and `pairs/NAME` of each subset of ten pairs or more; {} where a set has no subsets.

    `subsets` has that of each pair, "" where it is of none.
    """
    own = np.array(subsets)
    figures: dict[str, float] = {}
    for name in dict.fromkeys(subsets):
        there = own == name
        if name and there.sum() >= LEAST_PAIRS:
            figures[PREFIX + name] = metrics.spearman(predicted[there], gold[there])
            figures[f"pairs/{name}"] = int(there.sum())
    return figures


def subset_names(sts: Mapping[str, float]) -> list[str]:
    """The subsets that a set has figures of, of what metrics.json has of the set under `sts`."""
    return [name.removeprefix(PREFIX) for name in sts if name.startswith(PREFIX)]


def averages(encoders: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By encoder `spearman`, the mean over all sts sets, and `sets`, how many; {} where there are fewer than two.

    `encoders` is as metrics.json has it; an encoder that lacks one of the sets has no average.
    """
    by_encoder = {name: groups["sts"] for name, groups in encoders.items() if groups.get("sts")}
    sets = {set_name for sts in by_encoder.values() for set_name in sts}
    if len(sets) < 2:
        return {}
    return {
        name: {"spearman": float(np.mean([row["spearman"] for row in sts.values()])), "sets": len(sts)}
        for name, sts in by_encoder.items()
        if sts.keys() == sets
    }
