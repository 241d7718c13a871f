"""Several runs on one page: their figures side by side, paired differences, and what differs between them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nlift import __version__
from nlift.data.files import write_text
from nlift.errors import ArtifactError
from nlift.evaluation.comparisons import Comparison, compare_all, metric_name
from nlift.report import run_folder, tables
from nlift.report.html import style, template
from nlift.report.run_differences import differences
from nlift.report.run_folder import RunFolder
from nlift.report.tables import Column, Row, Table
from nlift.settings import Metric
from nlift.visible import visible_page

FILE, TEMPLATE = "compare.html", "compare.html.j2"


def write(folders: Sequence[Path], path: Path | None = None) -> Path:
    """Write the page; beside the first run where no path is given. Where it is.

    Raises ArtifactError where a folder is no run's, was not evaluated, or has nothing in common with the first.
    """
    runs = run_folder.read(folders)
    path = path or folders[0].absolute().parent / FILE
    comparable, left_out = _comparable(runs)
    if not comparable:
        raise ArtifactError(f"nothing to compare: {'; '.join(left_out)}")
    compared = _compared(runs, comparable)
    page = template(TEMPLATE).render(
        version=__version__,
        css=style(),
        runs=[run.label for run in runs],
        differences=differences(runs),
        tables=[_table(set_name, who, compared) for set_name, who in comparable.items()],
        words=[_words(row) for row in compared if row.name.startswith("tuned of ")],
        left_out=left_out,
    )
    write_text(path, visible_page(page) + "\n")
    return path


def _comparable(runs: Sequence[RunFolder]) -> tuple[dict[str, list[RunFolder]], list[str]]:
    """By set the runs whose figures mean the same as the first one's, that first; and what is left out and why."""
    first, comparable, left_out = runs[0], {}, []
    for set_name in first.sets:
        alike = [first]
        for run in runs[1:]:
            why = _why_not(set_name, first, run)
            if why:
                left_out.append(f"{set_name} of {run.label}: {why}")
            else:
                alike.append(run)
        if len(alike) > 1:
            comparable[set_name] = alike
    left_out += [
        f"{set_name} of {run.label}: {first.label} was not measured on it"
        for run in runs[1:]
        for set_name in run.sets
        if set_name not in first.sets
    ]
    return comparable, left_out


def _why_not(set_name: str, first: RunFolder, run: RunFolder) -> str:
    """Why a run's figures on a set cannot stand beside the first one's; empty where they can."""
    if set_name not in run.sets:
        return "it was not measured on it"
    contents = [folder.content_of(set_name) for folder in (first, run)]
    if None not in contents and contents[0] != contents[1]:
        return f"its content is another one than {first.label}'s"
    own, other = (_queries(set_name, folder) for folder in (run, first))
    if own != other:
        both = len(set(own) & set(other))
        return f"measured on other queries than {first.label}: {len(own):,} and {len(other):,}, {both:,} in common"
    return ""


def _queries(set_name: str, run: RunFolder) -> list[str]:
    return next(queries for (name, _), (queries, _) in run.per_query.items() if name == set_name)


def _compared(runs: Sequence[RunFolder], comparable: dict[str, list[RunFolder]]) -> list[Comparison]:
    """Every encoder of every further run with the same one of the first."""
    comparisons = []
    for set_name, alike in comparable.items():
        for encoder in tables.ordered(runs[0].encoders):
            rows = {
                str(place): run.per_query[set_name, encoder][1]
                for place, run in enumerate(alike)
                if (set_name, encoder) in run.per_query
            }
            if "0" in rows and len(rows) > 1:
                comparisons += [
                    replace(
                        row,
                        name=f"{encoder} of {alike[int(row.name)].label}",
                        against=f"{encoder} of {alike[0].label}",
                    )
                    for row in compare_all({set_name: rows}, ["0"])
                ]
    return comparisons


def _words(row: Comparison) -> str:
    if tables.is_equal(row.as_json()):
        return f"{row.set_name}: {row.name} and {row.against} are the same on every query by {metric_name(row.metric)}"
    return f"{row.set_name}: {row.words}"


def _table(set_name: str, runs: Sequence[RunFolder], compared: Sequence[Comparison]) -> Table:
    """A row per encoder and run; behind a figure how far it is above the first run's."""
    above = {(row.name, row.metric): tables.delta(row.as_json()) for row in compared if row.set_name == set_name}
    metrics = [metric for metric in tables.all_metrics() if any(_has(metric, set_name, run) for run in runs)]
    rows = []
    for encoder in tables.ordered({name: None for run in runs for name in run.encoders}):
        first = True
        for run in runs:
            groups = run.encoders.get(encoder, {})
            values = [groups.get(metric.group, {}).get(set_name, {}).get(metric.name) for metric in metrics]
            if all(value is None for value in values):
                continue
            cells = ("" if value is None else f"{value:.3f}" for value in values)
            asides = (above.get((f"{encoder} of {run.label}", metric.name), "") for metric in metrics)
            rows.append(
                Row((encoder, run.label, *cells), strong=encoder == "tuned", first=first, asides=("", "", *asides))
            )
            first = False
    columns = (Column("encoder", True), Column("run", True), *(Column(metric.name) for metric in metrics))
    return Table(set_name, columns, tuple(rows), grouped=True)


def _has(metric: Metric, set_name: str, run: RunFolder) -> bool:
    return any(metric.name in groups.get(metric.group, {}).get(set_name, {}) for groups in run.encoders.values())
