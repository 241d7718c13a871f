"""What is shown of STS beside each set's own figure: the average over sets, and subsets."""

from collections.abc import Mapping
from typing import Any

from nlift.evaluation import sts_figures
from nlift.report.tables import Column, Row, Table, ordered


def average_line(averages: Mapping[str, Mapping[str, float]]) -> str:
    """Every encoder's average over sts sets in a line; "" where there is none. `averages` as metrics.json has them."""
    if not averages:
        return ""
    names = ordered(dict(averages))
    figures = ", ".join(f"{name} {averages[name]['spearman']:.3f}" for name in names)
    return f"sts average of {averages[names[0]]['sets']} sets, Spearman: {figures}"


def subsets_table(encoders: Mapping[str, Any]) -> Table | None:
    """A row per subset of an sts set, with every encoder's Spearman; None where no set has subsets."""
    sts = {name: groups["sts"] for name, groups in encoders.items() if groups.get("sts")}
    names = ordered(sts)
    rows = []
    for set_name in dict.fromkeys(set_name for sets in sts.values() for set_name in sets):
        figures = {name: sts[name][set_name] for name in names if set_name in sts[name]}
        whole = next(iter(figures.values()))
        subsets = sts_figures.subset_names(whole)
        for subset, end in [*((name, f"/{name}") for name in subsets), ("all", "")] if subsets else []:
            cells = (f"{figures[name]['spearman' + end]:.3f}" if name in figures else "" for name in names)
            rows.append(Row((set_name, subset, str(whole["pairs" + end]), *cells), first=subset == subsets[0]))
    columns = (Column("set", True), Column("subset", True), Column("pairs"), *map(Column, names))
    return Table("subsets, Spearman", columns, tuple(rows), grouped=True) if rows else None
