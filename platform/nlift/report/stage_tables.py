"""Tables of stages: what they did, what they would do, which models they load."""

from nlift.config import Experiment
from nlift.pipeline import STAGES, stages
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import MANIFEST, read_manifest
from nlift.report.licences import licence
from nlift.report.tables import Column, Row, Table


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
        return Row((stage.name, "done", f"{(folder.said() or {}).get('rows_out')} rows"))
    state = "to be replaced" if folder.path.exists() else "to do"
    return Row((stage.name, state, stage.work(experiment, size)))


def models_table(experiment: Experiment) -> Table:
    """A row per model that the stages load, with its licence."""
    models = ((stage.name, model.name) for stage in stages(experiment) for model in stage.models(experiment))
    rows = (Row((stage_name, model, licence(model))) for stage_name, model in models)
    columns = (Column(name, words=True) for name in ("stage", "model", "licence"))
    return Table("models", tuple(columns), tuple(rows))
