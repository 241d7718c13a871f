"""What a study found, on the console and as a page of its own: one self-contained HTML file."""

from pathlib import Path

from nlift import __version__
from nlift.data.files import write_text
from nlift.evaluation.comparisons import metric_name
from nlift.evaluation.study_results import GEOMETRY, Above, Figure
from nlift.pipeline.study import Results
from nlift.report import charts, console
from nlift.report.html import FILE, style, template
from nlift.report.tables import Column, Row, Table
from nlift.report.tables import Figure as Plot
from nlift.study_config import Study
from nlift.visible import visible_page

TEMPLATE = "study.html.j2"
LARGEST = 6  # differences that a sentence names


def show(study: Study, results: Results) -> None:
    """The figures of every variant, and what goes with what."""
    for table in tables_of(results):
        console.draw(table)
    for outcome in results.failed:
        console.say(f"failed   {outcome.run.cell}, seed {outcome.run.seed}: {outcome.error}")
    for row in results.correlations:
        console.say(row.words)


def write(study: Study, results: Results, folder: Path) -> Path:
    """Write the page; where it is."""
    page = template(TEMPLATE).render(
        name=study.name,
        question=study.question,
        version=__version__,
        seeds=study.seeds,
        variants=study.variants,
        css=style(),
        findings=findings(results),
        tables=tables_of(results),
        correlations=[row.words for row in results.correlations],
        plots=_plots(results),
        failed=[f"{outcome.run.cell}, seed {outcome.run.seed}: {outcome.error}" for outcome in results.failed],
    )
    path = folder / FILE
    write_text(path, visible_page(page) + "\n")
    return path


def tables_of(results: Results) -> list[Table]:
    """A table per set: a row per variant; each figure's mean over seeds, its deviation, how far above others it is."""
    tables = []
    for set_name in dict.fromkeys(figure.set_name for figure in results.figures):
        own = [figure for figure in results.figures if figure.set_name == set_name]
        metrics = list(dict.fromkeys(figure.metric for figure in own))
        cells = list(dict.fromkeys(figure.cell for figure in own))
        by_place = {(figure.cell, figure.metric): figure for figure in own}
        rows = [
            Row(
                (cell, *(text for metric in metrics for text in _cells(by_place.get((cell, metric))))),
                strong=place == 0,
                first=cell in results.controls and cells[place - 1] not in results.controls,
            )
            for place, cell in enumerate(cells)
        ]
        columns = [Column("variant", True)]
        for metric in metrics:
            columns += [Column(metric_name(metric)), Column("above the first"), Column("above its base")]
        tables.append(Table(set_name, tuple(columns), tuple(rows)))
    return tables


def _cells(figure: Figure | None) -> tuple[str, str, str]:
    if figure is None:
        return "", "", ""
    spread = "" if len(figure.by_seed) < 2 else f" ± {figure.deviation:.3f}"
    return f"{figure.mean:.3f}{spread}", _difference(figure.above), _difference(figure.above_base)


def _difference(above: Above | None) -> str:
    if above is None:
        return ""
    return f"{above.difference:+.3f} [{above.low:+.3f}, {above.high:+.3f}]{' *' if above.is_shown else ''}"


def findings(results: Results) -> list[str]:
    """What differs beyond chance from the first variant, and from the base; a sentence for each set."""
    lines = []
    for set_name in dict.fromkeys(figure.set_name for figure in results.figures):
        own = [figure for figure in results.figures if figure.set_name == set_name]
        trained = [figure for figure in own if figure.cell not in results.controls]
        beside_first = [(figure, figure.above) for figure in trained if figure.above is not None]
        beside_base = [(figure, figure.above_base) for figure in trained if figure.above_base is not None]
        for what, pairs in (("the first variant", beside_first), ("the model without training", beside_base)):
            if pairs:
                lines.append(f"{set_name}: {_shown(what, pairs)}")
    return lines


def _shown(what: str, pairs: list[tuple[Figure, Above]]) -> str:
    shown = sorted((pair for pair in pairs if pair[1].is_shown), key=lambda pair: -abs(pair[1].difference))
    said = [f"{figure.cell} {above.difference:+.3f} {metric_name(figure.metric)}" for figure, above in shown[:LARGEST]]
    named = f", as {'; '.join(said)}" if said else ""
    return f"{len(shown)} of {len(pairs)} differences to {what} are shown{named}"


def _plots(results: Results) -> list[Plot]:
    """Geometry beside NDCG@10, a point per encoder."""
    plots = []
    for set_name in dict.fromkeys(str(point["set"]) for point in results.points):
        for geometry in GEOMETRY:
            points = [
                (float(point[geometry]), float(point["ndcg@10"]), str(point["cell"]))
                for point in results.points
                if point["set"] == set_name and geometry in point and "ndcg@10" in point
            ]
            if len(points) > 1:
                svg = charts.scatter(points, geometry, "NDCG@10")
                plots.append(Plot(svg, f"{set_name}: a point per encoder"))
    return plots
