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
    if results.correlations:
        console.draw(correlations_table(results))


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
        correlations=correlations_table(results) if results.correlations else None,
        plots=_plots(results),
        failed=[f"{outcome.run.cell}, seed {outcome.run.seed}: {outcome.error}" for outcome in results.failed],
    )
    path = folder / FILE
    write_text(path, visible_page(page) + "\n")
    return path


def tables_of(results: Results) -> list[Table]:
    """A table per set and metric: of every variant the mean over seeds, its deviation, how far above others it is."""
    columns = (Column("variant", True), Column("mean"), Column("above the first"), Column("above its base"))
    tables = []
    for set_name, metric in dict.fromkeys((figure.set_name, figure.metric) for figure in results.figures):
        own = [figure for figure in results.figures if (figure.set_name, figure.metric) == (set_name, metric)]
        rows = [
            Row(
                (figure.cell, *_cells(figure)),
                strong=place == 0,
                first=figure.cell in results.controls and own[place - 1].cell not in results.controls,
            )
            for place, figure in enumerate(own)
        ]
        tables.append(Table(f"{set_name}, {metric_name(metric)}", columns, tuple(rows)))
    return tables


def _cells(figure: Figure) -> tuple[str, str, str]:
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


def correlations_table(results: Results) -> Table:
    """A row per set, figure of geometry and metric: over all encoders, over the trained ones, and within variants."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for correlation in results.correlations:
        cells = rows.setdefault((correlation.set_name, correlation.geometry, metric_name(correlation.metric)), {})
        cells[correlation.over] = _interval(correlation.rho, correlation.low, correlation.high)
        if correlation.within is not None:
            cells["within"] = _interval(correlation.within, correlation.within_low, correlation.within_high)
    names = ("all", "trained", "within")
    drawn, before = [], ""
    for (set_name, geometry, metric), cells in rows.items():
        place = (set_name, geometry, metric, *(cells.get(name, "") for name in names))
        drawn.append(Row(place, first=set_name != before))
        before = set_name
    words = (Column("set", True), Column("geometry", True), Column("metric", True))
    numbers = map(Column, ("variants and controls", "trained variants", "within variants"))
    return Table("geometry and retrieval, Spearman", (*words, *numbers), tuple(drawn), grouped=True)


def _interval(value: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]{' *' if low > 0 or high < 0 else ''}"
    return f"{value:+.2f}{ends}"


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
                trained = {name: "trained" for _, _, name in points if name not in results.controls}
                svg = charts.scatter(points, geometry, "NDCG@10", trained)
                plots.append(Plot(svg, f"{set_name}: a point per encoder"))
    return plots
