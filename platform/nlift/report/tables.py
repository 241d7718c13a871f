"""Tables, made once: the console and the page draw the same rows. Here what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nlift.evaluation.comparisons import BASE_HYBRID, BM25, BM25_PLAIN, HYBRID, is_fused
from nlift.evaluation.significance import LEVEL
from nlift.settings import METRICS, Metric

ORDER = ("base", BM25_PLAIN, BM25, BASE_HYBRID, "tuned", HYBRID)  # baselines first; other names stand behind


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
    asides: tuple[str, ...] = ()
    """What the page says behind each cell."""


@dataclass(frozen=True)
class Table:
    """A title, columns and rows."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    grouped: bool = False
    """Whether the page leaves out a first cell that repeats the one above."""


@dataclass(frozen=True)
class Figure:
    """A plot as SVG, and what is said under it."""

    svg: Markup
    caption: str


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


def encoders_table(
    encoders: dict[str, Any], metrics: list[Metric], comparisons: Sequence[dict[str, Any]] = ()
) -> Table:
    """A row per set and encoder with those of the metrics that any has, of what metrics.json has under `encoders`.

    Behind a figure the page says how far it is above base's, where comparisons.json has that.
    """
    rows = []
    above = {(row["set"], row["name"], row["metric"]): delta(row) for row in comparisons if row["against"] == "base"}
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
            asides = ("", "", *(above.get((set_name, name, metric.name), "") for metric in metrics))
            rows.append(Row((set_name, name, *cells), name == "tuned", first, note, asides))
            first = False
    columns = (Column("set", True), Column("encoder", True), *(Column(metric.name) for metric in metrics))
    title = "base, bm25, tuned and hybrid" if {*encoders, BM25_PLAIN, BASE_HYBRID} == set(ORDER) else "encoders"
    return Table(title, columns, tuple(rows), grouped=True)


def comparisons_table(comparisons: Sequence[dict[str, Any]]) -> Table:
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


def delta(row: dict[str, Any]) -> str:
    """A difference of comparisons.json in brackets, with its interval and whether it is shown."""
    if is_equal(row):
        return "(the same everywhere)"
    none = "" if is_shown(row) else "; not shown"
    return f"({_bare(row['difference'], '+')}, {_bare(row['low'])} to {_bare(row['high'])}{none})"


def is_equal(row: dict[str, Any]) -> bool:
    """Whether both have the same on every query of a comparison."""
    return row["difference"] == row["low"] == row["high"] == row["detectable"] == 0


def _bare(value: float, sign: str = "") -> str:
    """A figure without the zero before its point, as there are many in a row."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.3f}"


def is_shown(row: dict[str, Any]) -> bool:
    """Whether a difference of comparisons.json is more than chance."""
    return bool(row["p_holm"] < LEVEL)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _worth(row: dict[str, Any]) -> str:
    if is_shown(row):
        return "above" if row["difference"] > 0 else "below"
    if row["detectable"] is None:
        return "no difference shown"
    return f"no difference shown; {row['count']:,} can show {row['detectable']:.3f}"


def lift_lines(comparisons: Sequence[dict[str, Any]]) -> list[str]:
    """What matters most of comparisons.json in sentences: encoders beside the first, what is fused beside BM25."""
    by_set: dict[str, list[str]] = {}
    for row in comparisons:
        beside_words = row["against"] == BM25 or is_fused(row["against"])
        wanted = is_fused(row["name"]) if beside_words else not is_fused(row["name"]) and row["name"] != BM25
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
