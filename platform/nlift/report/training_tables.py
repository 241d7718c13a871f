"""Tables of what training is made of and ends with: translations, the guard, a sweep."""

from typing import Any

from nlift.report.tables import Column, Row, Table
from nlift.tuning.trials import shown


def guard_table(verdict: dict[str, Any]) -> Table:
    """A row per encoder of guard.json: what it has on each set that they were compared on."""
    rows = tuple(
        Row(
            (row["name"], *(f"{figure:.3f}" for figure in row["figures"]), _state(row, verdict)),
            strong=row["name"] == verdict["chosen"],
        )
        for row in verdict["candidates"]
    )
    sets = (Column(f"{judged['metric']}, {judged['name']}") for judged in verdict["sets"])
    return Table("base, tuned and their averages", (Column("encoder", True), *sets, Column("", True)), rows)


def _state(row: dict[str, Any], verdict: dict[str, Any]) -> str:
    if row["name"] == verdict["chosen"]:
        return "kept"
    return "loses too much" if row["held_back"] else ""


def guard_line(verdict: dict[str, Any]) -> str:
    """Which encoder was kept, and how far it is above base and tuned where encoders were compared."""
    judged = verdict["sets"][0]
    above = (
        f"{rows[0]['mean']:+.3f} [{rows[0]['low']:+.3f}, {rows[0]['high']:+.3f}] to {name}"
        for name, rows in verdict["above"].items()
        if name != verdict["chosen"]
    )
    line = f"{verdict['chosen']} kept, by {judged['metric']} on {judged['name']}"
    return ": ".join(filter(None, (line, ", ".join(above))))


def thresholds_table(kept: list[dict[str, Any]]) -> Table:
    """What each threshold of COMET would keep; rows as of thresholds.json."""
    rows = (
        Row(("none" if row["min_score"] is None else str(row["min_score"]), str(row["pairs"]), str(row["triplets"])))
        for row in kept
    )
    return Table("kept by min_score", tuple(map(Column, ("min_score", "pairs", "triplets"))), tuple(rows))


def examples_table(kind: str, examples: list[dict[str, Any]]) -> Table:
    """A row per example of quality.json: a sentence, its translation, its COMET."""
    rows = (Row((row["source"], row["target"], f"{row['comet']:.3f}")) for row in examples)
    columns = (Column("source", words=True), Column("translation", words=True), Column("COMET"))
    return Table(f"{kind} {len(examples)} translations", columns, tuple(rows))


def sweep_table(content: dict[str, Any], with_seconds: bool = False) -> Table:
    """A row per configuration of trials.json, best first; the deviation where there are several seeds."""
    keys = list(content["trials"][0]["config"])
    several = any(row["seeds"] > 1 for row in content["configurations"])
    rows = []
    for row in content["configurations"]:
        trials = [trial for trial in content["trials"] if trial["config"] == row["config"]]
        steps = max(trial["steps"] or 0 for trial in trials)
        mean = "failed" if row["mean"] is None else f"{row['mean']:.4f}"
        cells = [*(shown(row["config"][key]) for key in keys), f"{row['finished']}/{row['seeds']}", str(steps), mean]
        if several:
            cells.append("" if row["std"] is None else f"{row['std']:.4f}")
        if with_seconds:
            cells.append(f"{sum(trial['seconds'] or 0 for trial in trials):.0f}")
        rows.append(Row(tuple(cells)))
    more = [name for name, there in (("std", several), ("seconds", with_seconds)) if there]
    names = (*keys, "finished", "steps", content["metric"], *more)
    return Table(f"configurations by dev {content['metric']}", tuple(map(Column, names)), tuple(rows))


def trials_table(content: dict[str, Any]) -> Table:
    """A row per trial of trials.json, and how it ended."""
    rows = []
    for trial in content["trials"]:
        end = trial["error"] or f"{trial['value']:.4f}, {trial['status']} at step {trial['steps']}"
        rows.append(Row((*map(shown, trial["config"].values()), str(trial["seed"]), end)))
    keys = list(content["trials"][0]["config"])
    columns = (*map(Column, (*keys, "seed")), Column("how it ended", True))
    return Table("trials", columns, tuple(rows))
