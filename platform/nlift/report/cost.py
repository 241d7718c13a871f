"""What a run would take, as `nlift check` prints it: times, money, what both rest on, and what makes no sense."""

from collections.abc import Iterator, Sequence

from nlift.config import Experiment
from nlift.cost import rates
from nlift.cost.assumptions import assumed
from nlift.cost.doubts import doubts, duration
from nlift.cost.machines import Machines
from nlift.cost.prediction import Prediction, Predictor, StageTime
from nlift.cost.rates import Rate
from nlift.pipeline.stage import DataSize
from nlift.report import console
from nlift.report.tables import Column, Row, Table

UNCALIBRATED = "not calibrated here: times go by the embedded models on two other cores; run nlift calibrate"
STARTING = "machines that have to start first take minutes more, and cost from then on; all are paid to the end here"


def show(experiment: Experiment, size: DataSize, machines: Machines, rows: int | None = None) -> None:
    """Print what the stages that are not done would take.

    Args:
        experiment: What would run.
        size: Of its data.
        machines: Where, with their prices.
        rows: Of a data set that is not here.

    Raises:
        ArtifactError: The file of rates is damaged, or of another version.
    """
    counted, assumption = assumed(experiment, size, rows)
    measured, shipped = rates.known()
    predictor = Predictor(experiment, counted, machines, [shipped] if measured is None else [measured, shipped])
    if not predictor.undone():
        return
    planned = predictor.planned()
    console.draw(times_table(planned, predictor.scaled(), machines))
    for line in (assumption, *_grounds(planned, machines), *doubts(predictor, planned)):
        if line is not None:
            console.say(line)


def times_table(planned: Prediction, scaled: Sequence[Prediction], machines: Machines) -> Table:
    """A row per stage: as planned, what of it no worker shortens, and on 1, 2, 4, ... workers; the sum, and money."""
    counts = [f"{run.workers} {machines.unit}{'s' if run.workers > 1 else ''}" for run in scaled]
    columns = (Column("stage", True), Column("as planned"), Column("not shared"), *map(Column, counts))
    runs, rows = (planned, *scaled), []
    for i, stage in enumerate(planned.stages):
        as_planned, *others = (_time(run.stages[i]) for run in runs)
        rows.append(Row((stage.name, as_planned, duration(stage.start_s + stage.serial_s), *others)))
    as_planned, *others = map(_total, runs)
    alone_s = sum(stage.start_s + stage.serial_s for stage in planned.stages)
    rows.append(Row(("all", as_planned, duration(alone_s), *others)))
    if planned.money is not None:
        as_planned, *others = map(_money, runs)
        rows.append(Row(("money", as_planned, "", *others)))
    return Table(f"time on {machines.title}", columns, tuple(rows))


def _time(stage: StageTime) -> str:
    return "not known" if stage.missing else duration(stage.seconds)


def _total(run: Prediction) -> str:
    return f"over {duration(run.seconds)}" if run.missing else duration(run.seconds)


def _money(run: Prediction) -> str:
    return "" if run.money is None else f"{'over ' if run.missing else ''}{run.money:.2f}"


def _grounds(planned: Prediction, machines: Machines) -> Iterator[str]:
    """What the times rest on."""
    basis = dict.fromkeys(line for stage in planned.stages for line in stage.basis)
    if "shipped" in basis:
        yield UNCALIBRATED
    yield from (line for line in basis if line not in ("measured", "shipped"))
    for line in planned.missing:
        yield f"{line} is known: run nlift calibrate where there is one"
    if not machines.is_here:
        yield STARTING


def rates_table(measured: Sequence[Rate]) -> Table:
    """A row per measurement."""
    names = ("workers", "threads", "tokens/s of each", "start, s")
    columns = (*(Column(name, words=True) for name in ("model", "use", "settings", "on")), *map(Column, names))
    return Table("rates", columns, tuple(map(_rate_row, measured)))


def _rate_row(rate: Rate) -> Row:
    counts = (str(rate.beside), str(rate.threads), f"{rate.tokens_per_s:,.0f}", f"{rate.start_s:.1f}")
    return Row((rate.model, rate.use, rate.settings, rate.hardware, *counts))
