"""What a study found, on the console and as a page of its own: one self-contained HTML file."""

from pathlib import Path

from markupsafe import Markup

from nlift import __version__
from nlift.evaluation.comparisons import metric_name
from nlift.evaluation.study_results import Figure
from nlift.pipeline.study import Results
from nlift.report import charts, console
from nlift.report.html import FILE, HERE, template
from nlift.report.html import Figure as Plot
from nlift.report.tables import Column, Row, Table
from nlift.study_config import Study
from nlift.visible import visible_page

TEMPLATE = "study.html.j2"


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
        css=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        findings=findings(results),
        tables=tables_of(results),
        correlations=[row.words for row in results.correlations],
        plots=_plots(results),
        failed=[f"{outcome.run.cell}, seed {outcome.run.seed}: {outcome.error}" for outcome in results.failed],
    )
    path = folder / FILE
    path.write_text(visible_page(page) + "\n", encoding="utf-8")
    return path


def tables_of(results: Results) -> list[Table]:
    """A table per set: a row per variant; each figure's mean over seeds, its deviation, and how far above the first."""
    tables = []
    for set_name in dict.fromkeys(figure.set_name for figure in results.figures):
        own = [figure for figure in results.figures if figure.set_name == set_name]
        metrics = list(dict.fromkeys(figure.metric for figure in own))
        cells = list(dict.fromkeys(figure.cell for figure in own))
        by_place = {(figure.cell, figure.metric): figure for figure in own}
        rows = [
            Row((cell, *(text for metric in metrics for text in _cells(by_place[cell, metric]))), strong=place == 0)
            for place, cell in enumerate(cells)
        ]
        columns = [Column("variant", True)]
        for metric in metrics:
            columns += [Column(metric_name(metric)), Column("above the first")]
        tables.append(Table(set_name, tuple(columns), tuple(rows)))
    return tables


def _cells(figure: Figure) -> tuple[str, str]:
    spread = "" if len(figure.by_seed) < 2 else f" ± {figure.deviation:.3f}"
    if figure.above is None:
        return f"{figure.mean:.3f}{spread}", ""
    difference, low, high = figure.above
    return f"{figure.mean:.3f}{spread}", f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def findings(results: Results) -> list[str]:
    """What differs from the first variant beyond chance, and how many comparisons show nothing, a sentence per set."""
    lines = []
    for set_name in dict.fromkeys(figure.set_name for figure in results.figures):
        own = [figure for figure in results.figures if figure.set_name == set_name and figure.above is not None]
        shown = [figure for figure in own if figure.is_shown]
        said = [
            f"{figure.cell} {figure.above[0]:+.3f} {metric_name(figure.metric)}"
            for figure in sorted(shown, key=lambda figure: -abs(figure.above[0] if figure.above else 0))
            if figure.above is not None
        ]
        lines.append(
            f"{set_name}: {len(shown)} of {len(own)} differences to the first variant are shown"
            + (f": {'; '.join(said[:6])}" if said else "")
        )
    return lines


def _plots(results: Results) -> list[Plot]:
    """Uniformity and alignment beside NDCG@10, a point per encoder."""
    plots = []
    for set_name in dict.fromkeys(str(point["set"]) for point in results.points):
        for geometry in ("uniformity", "alignment"):
            points = [
                (float(point[geometry]), float(point["ndcg@10"]), str(point["cell"]))
                for point in results.points
                if point["set"] == set_name and geometry in point and "ndcg@10" in point
            ]
            if len(points) > 1:
                svg = charts.scatter(points, geometry, "NDCG@10")
                plots.append(Plot(svg, f"{set_name}: a point per encoder"))
    return plots
