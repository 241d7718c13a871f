"""Tables, made once: the console and the page draw the same rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nlift.config import Experiment
from nlift.pipeline import STAGES, stages
from nlift.pipeline.stage import MANIFEST, DataSize, Stage, read_manifest
from nlift.report.licences import licence
from nlift.settings import METRICS, Metric
from nlift.tuning.trials import shown

ORDER = ("base", "bm25_plain", "bm25", "tuned", "hybrid")  # the baselines first; other names stand behind, as they come
PLAIN = "bm25_plain"  # left out of the short table
SHOWN = 0.05  # of a corrected P, below which a difference counts as shown


@dataclass(frozen=True)
class Column:
    """A column's name, and whether its cells are words or numbers."""

    name: str
    words: bool = False


@dataclass(frozen=True)
class Row:
    """A row's cells, as they are read."""

    cells: tuple[str, ...]
    strong: bool = False
    first: bool = False
    """Whether a group of rows begins here."""
    note: str = ""
    """What the page says under the first cell."""


@dataclass(frozen=True)
class Table:
    """A title, columns and rows."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    grouped: bool = False
    """Whether the page leaves out a first cell that repeats the one above."""


def set_names(encoders: dict[str, Any]) -> list[str]:
    """Sets in the order they were measured in."""
    groups = (group for encoder in encoders.values() for group in encoder.values())
    return list(dict.fromkeys(name for group in groups for name in group))


def ordered(encoders: dict[str, Any]) -> list[str]:
    """Names of encoders, the baselines before the tuned encoder."""
    return sorted(encoders, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def short_metrics() -> list[Metric]:
    """The metrics of the console's table."""
    return [metric for metric in METRICS if metric.summary]


def all_metrics() -> list[Metric]:
    """The metrics of the page's table."""
    return [metric for metric in METRICS if metric.report]


def encoders_table(encoders: dict[str, Any], metrics: list[Metric]) -> Table:
    """A row per set and encoder with those of the metrics that any has, of what metrics.json has under `encoders`."""
    rows = []
    measured = [(group, row) for groups in encoders.values() for group in groups for row in groups[group].values()]
    there = {(group, name) for group, row in measured for name in row}
    metrics = [metric for metric in metrics if (metric.group, metric.name) in there]
    for set_name in set_names(encoders):
        first = True
        for name in ordered(encoders):
            groups = {group: sets.get(set_name, {}) for group, sets in encoders[name].items()}
            values = [groups.get(metric.group, {}).get(metric.name) for metric in metrics]
            if all(value is None for value in values):
                continue
            cells = ("" if value is None else f"{value:.3f}" for value in values)
            note = _size(groups) if first else ""
            rows.append(Row((set_name, name, *cells), strong=name == "tuned", first=first, note=note))
            first = False
    columns = (Column("set", True), Column("encoder", True), *(Column(metric.name) for metric in metrics))
    title = "base, bm25, tuned and hybrid" if {*encoders, PLAIN} == set(ORDER) else "encoders"
    return Table(title, columns, tuple(rows), grouped=True)


def comparisons_table(comparisons: list[dict[str, Any]]) -> Table:
    """A row per comparison of comparisons.json: both figures, the difference, its interval, and what it is worth."""
    rows, before = [], None
    for row in comparisons:
        interval = f"{row['low']:+.3f} to {row['high']:+.3f}"
        figures = (f"{row['value']:.3f}", f"{row['against_value']:.3f}", f"{row['difference']:+.3f}", interval)
        place = (row["set"], row["metric"])
        cells = (row["set"], row["metric"], row["name"], row["against"], *figures, _p(row["p_holm"]), _worth(row))
        rows.append(Row(cells, first=place != before))
        before = place
    words, numbers = ("set", "metric", "encoder", "against"), ("value", "its", "difference", "95 % interval", "p")
    columns = (*(Column(name, True) for name in words), *map(Column, numbers), Column("", True))
    return Table("differences on the same queries", columns, tuple(rows), grouped=True)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _worth(row: dict[str, Any]) -> str:
    if row["p_holm"] < SHOWN:
        return "above" if row["difference"] > 0 else "below"
    if row["detectable"] is None:
        return "no difference shown"
    return f"no difference shown; {row['count']:,} can show {row['detectable']:.3f}"


def lift_lines(comparisons: list[dict[str, Any]]) -> list[str]:
    """What matters most of comparisons.json in sentences: encoders beside the first, and what is fused beside BM25."""
    by_set: dict[str, list[str]] = {}
    for row in comparisons:
        fused = row["name"] == "hybrid" or row["name"].endswith("+bm25")
        wanted = fused if row["against"] == "bm25" else not fused and row["name"] != "bm25"
        if wanted and row["metric"] != "recall@100":
            by_set.setdefault(row["set"], []).append(row["words"])
    return [f"{name}: {'; '.join(lines)}" for name, lines in by_set.items()]


MODES = ("dense", "lexical", "hybrid")
CHOSEN_ON = {
    "dev": "dev queries",
    "corpus": "pairs of the corpus",
    "separation": "the encoder's separation",
    "settings": "settings",
    "nothing": "nothing",
}


def deployed_table(deployed: dict[str, Any]) -> Table:
    """A row per set, of what metrics.json has under `deployed`: what search means there when nobody says, and gives."""
    names = ("set", "mode", "dense weight", "words", "chosen on", *MODES, "gain")
    rows = (Row((set_name, *_deployed_cells(search))) for set_name, search in deployed.items())
    columns = tuple(Column(name, words=name not in ("dense weight", *MODES)) for name in names)
    return Table("search when nobody says how, NDCG@10", columns, tuple(rows))


def _deployed_cells(search: dict[str, Any]) -> Iterator[str]:
    yield search["mode"]
    yield f"{search['alpha']:g}" if search["mode"] == "hybrid" else ""
    yield _words(search)
    yield CHOSEN_ON[search["chosen_on"]]
    yield from (f"{search['reported']['ndcg@10'][mode]:.3f}" for mode in MODES)
    yield _gain(search["reported"]["gain"])


def _words(search: dict[str, Any]) -> str:
    return " ".join(filter(None, (search["analyzer"], search["language"])))


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


def search_line(search: dict[str, Any]) -> str:
    """How a bundle is searched when nobody says, on what that was chosen, and the figures there, if there are any."""
    weight = f", {search['alpha']:g} dense" if search["mode"] == "hybrid" else ""
    figure = search["ndcg@10"].get(search["mode"])
    figures = "" if figure is None else f": NDCG@10 {figure:.3f}, {_gain(search['gain'])}"
    return f"{search['mode']}{weight}, words {_words(search)}, chosen on {search['reason']}{figures}"


def _gain(gain: dict[str, Any]) -> str:
    interval = "" if gain["low"] is None else f" [{gain['low']:+.3f}, {gain['high']:+.3f}]"
    return f"{gain['mean']:+.3f}{interval} to {gain['above']}"


def _size(groups: dict[str, dict[str, float]]) -> str:
    retrieval, sts, transfer = (groups.get(name, {}) for name in ("retrieval", "sts", "transfer"))
    if "examples" in transfer:
        left_out = f", {transfer['left_out']:.0f} left out" if transfer.get("left_out") else ""
        return f"{transfer['examples']:.0f} examples, {transfer['classes']:.0f} classes{left_out}"
    if "queries" in retrieval:
        return f"{retrieval['queries']:.0f} queries, {retrieval['documents']:.0f} documents"
    return f"{sts['pairs']:.0f} pairs" if "pairs" in sts else ""


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


def stages_table(experiment: Experiment) -> Table:
    """A row per finished stage: rows, quarantined, seconds."""
    rows = []
    for stage in STAGES:
        folder = stage.path(experiment)
        if (folder / MANIFEST).is_file():
            manifest = read_manifest(folder)
            counts = (manifest[key] for key in ("rows_in", "rows_out", "quarantined"))
            speed = "" if manifest["rows_per_s"] is None else f"{manifest['rows_per_s']:.1f}"
            cells = (stage.name, manifest["fingerprint"], *map(str, counts), f"{manifest['seconds']:.1f}", speed)
            rows.append(Row(cells))
    names = ("rows in", "rows out", "quarantined", "seconds", "rows/s")
    columns = (Column("stage", True), Column("fingerprint", True), *map(Column, names))
    return Table("stages", columns, tuple(rows))


def plan_table(experiment: Experiment, size: DataSize) -> Table:
    """A row per stage that `nlift run` takes: whether it is done, and what it did or would do."""
    rows = (_planned(stage, experiment, size) for stage in stages(experiment))
    columns = (Column(name, words=True) for name in ("stage", "state", "work"))
    return Table(f"{experiment.name}: {experiment.folder}", tuple(columns), tuple(rows))


def _planned(stage: Stage, experiment: Experiment, size: DataSize) -> Row:
    folder = stage.folder(experiment)
    if folder.done():
        return Row((stage.name, "done", f"{read_manifest(folder.path)['rows_out']} rows"))
    state = "to be replaced" if folder.path.exists() else "to do"
    return Row((stage.name, state, stage.work(experiment, size)))


def models_table(experiment: Experiment) -> Table:
    """A row per model that the stages load, with its licence."""
    models = ((stage.name, model.name) for stage in stages(experiment) for model in stage.models(experiment))
    rows = (Row((stage_name, model, licence(model))) for stage_name, model in models)
    columns = (Column(name, words=True) for name in ("stage", "model", "licence"))
    return Table("models", tuple(columns), tuple(rows))
