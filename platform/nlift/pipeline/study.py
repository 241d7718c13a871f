"""Running a study: every variant with every seed, a whole run each; what variants share is computed once.

A run's folder stands under the study's own. A stage that another run has already, of this study or of another under the
same output_dir, with the same inputs and settings, is taken over by links; so a study that was killed, or gets more
variants, does what is new alone.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nlift import cluster, progress
from nlift.config import Experiment
from nlift.data import transfer
from nlift.data.files import link_or_copy, write_json
from nlift.errors import NliftError
from nlift.evaluation.comparisons import BM25, HYBRID, PerQuery
from nlift.evaluation.controls import Control
from nlift.evaluation.study_results import Correlation, Figure, correlations, figures
from nlift.pipeline import evaluate, index, measurements, per_query
from nlift.pipeline.all_stages import preflight, run, stages
from nlift.pipeline.measurements import Measurement
from nlift.pipeline.output_folder import manifest_of
from nlift.pipeline.output_lock import in_use
from nlift.pipeline.stage import Stage
from nlift.pipeline.stage_folder import MANIFEST, StageFolder
from nlift.study_config import Run, Study

STUDY_FILE, RESULTS_FILE = "study.json", "results.json"
CONTROLS: tuple[Control, ...] = ("random", "centred", "whitened")
TRIPLETS = "triplet_accuracy"


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its evaluation's folder, or why there is none."""

    run: Run
    seconds: float
    folder: Path | None
    error: str = ""


def run_study(study: Study, planned: Sequence[Run]) -> list[Outcome]:
    """Run what is not done yet, one after the other; what fails is told and the rest goes on.

    Raises NliftError for what can be seen to be wrong with a variant before anything starts.
    """
    for planned_run in planned:
        preflight(planned_run.experiment, _chosen(planned_run))
    outcomes: list[Outcome] = []
    folder = planned[0].experiment.root
    with in_use(planned[0].experiment), progress.bar(study.name, len(planned), "runs") as advance:
        for planned_run in planned:
            outcomes.append(_outcome(planned_run))
            advance(1)
    write_json(folder / STUDY_FILE, {"study": study.model_dump(mode="json"), "runs": list(map(_as_json, outcomes))})
    keep(planned[0].experiment, STUDY_FILE)
    return outcomes


def keep(experiment: Experiment, name: str) -> None:
    """Let an output_dir that is a URI have a file of a study's folder; `experiment` is one of its runs."""
    if experiment.store is not None:
        transfer.put(experiment.root / name, transfer.joined(experiment.store, name))


def _chosen(planned: Run) -> list[Stage]:
    """Everything but the index: it has no figure of its own."""
    return [stage for stage in stages(planned.experiment) if stage is not index.STAGE]


def _outcome(planned: Run) -> Outcome:
    chosen = _chosen(planned)
    seconds = 0.0
    try:
        for stage in chosen:
            _take_over(stage.folder(planned.experiment), planned.experiment)
            seconds += sum(result.seconds for result in run(planned.experiment, [stage.name]))
    except NliftError as error:
        progress.notice(f"{planned.cell}, seed {planned.seed}: {error}")
        return Outcome(planned, seconds, None, str(error))
    return Outcome(planned, seconds, evaluate.STAGE.path(planned.experiment))


def _take_over(wanted: StageFolder, experiment: Experiment) -> None:
    """Let a run have what another run under the output_dir has computed, of this study or not, by links."""
    if wanted.path.exists():
        return
    for manifest in sorted(experiment.root.parent.glob(f"*/*/{wanted.path.name}/{MANIFEST}")):
        if manifest_of(manifest.parent).get("fingerprint") == wanted.fingerprint:
            temporary = wanted.path.with_name(f".{wanted.path.name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(manifest.parent, temporary, copy_function=link_or_copy)
            temporary.rename(wanted.path)
            return


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "cell": outcome.run.cell,
        "seed": outcome.run.seed,
        "folder": outcome.run.experiment.name,
        "seconds": round(outcome.seconds, 1),
        "error": outcome.error,
    }


@dataclass(frozen=True)
class Results:
    """What a study found."""

    figures: list[Figure]
    correlations: list[Correlation]
    points: list[dict[str, Any]]
    """Geometry and figures of every encoder on every set: `set`, `cell`, `seed` (None of a control), and by name."""
    controls: list[str]
    """The cells that are not trained."""
    failed: list[Outcome]


def results_of(outcomes: Sequence[Outcome]) -> Results:
    """Read what the runs measured, measure the controls, and compare; results.json in the study's folder has the same.

    Controls of every base model are the model itself, with random weights, centred and whitened (controls.py); BM25 is
    one of all. Raises NliftError where every run failed.
    """
    done = [outcome for outcome in outcomes if outcome.folder is not None]
    if not done:
        raise NliftError(f"every run failed; the first: {outcomes[0].error}")
    table = _Table()
    bases: dict[str, str] = {}
    for outcome in done:
        assert outcome.folder is not None
        table.add_run(outcome)
        bases[outcome.run.cell] = _base_name(outcome.run, done)
    cells, used = list(table.cells), set[str]()
    for name, experiment in {bases[outcome.run.cell]: outcome.run.experiment for outcome in reversed(done)}.items():
        measured = _controls(name, experiment)
        used.update(measurements.folders(measured))
        for measurement in measured:
            columns = _columns(measurement)
            table.add_control(measurement.set_name, measurement.name, columns, measurement.groups)
            if measurement.name == BM25:  # what a hybrid is to be better than
                table.add_control(f"{measurement.set_name}, hybrid", measurement.name, columns, {})
    controls = [cell for cell in table.cells if cell not in cells]
    results = Results(
        [*figures(table.by_set, outcomes[0].run.cell, bases), *table.without_queries()],
        correlations(table.points, controls),
        table.points,
        controls,
        [outcome for outcome in outcomes if outcome.folder is None],
    )
    content = {
        "figures": [figure.as_json() for figure in results.figures],
        "correlations": [{**asdict(row), "words": row.words} for row in results.correlations],
        "points": results.points,
        evaluate.MEASUREMENTS: sorted(used),
    }
    write_json(outcomes[0].run.experiment.root / RESULTS_FILE, content)
    keep(outcomes[0].run.experiment, RESULTS_FILE)
    return results


class _Table:
    """What was measured, by set and cell in the order of cells."""

    def __init__(self) -> None:
        self.by_set: dict[str, dict[str, list[PerQuery]]] = {}
        self.points: list[dict[str, Any]] = []
        self.cells: dict[str, None] = {}

    def add_run(self, outcome: Outcome) -> None:
        """A run's trained encoder, and on sets of their own its hybrids with BM25."""
        assert outcome.folder is not None
        queries = per_query.read_all(outcome.folder / evaluate.PER_QUERY_FILE)
        encoders = evaluate.read_metrics(outcome.folder)["encoders"]
        for (set_name, name), columns in queries.items():
            if name in ("tuned", HYBRID):
                groups = {group: sets.get(set_name, {}) for group, sets in encoders[name].items()}
                shown = set_name if name == "tuned" else f"{set_name}, hybrid"
                self.add(shown, outcome.run.cell, outcome.run.seed, columns, groups)

    def add_control(
        self, set_name: str, cell: str, columns: PerQuery, groups: Mapping[str, Mapping[str, float]]
    ) -> None:
        """What a control has on a set: once, as BM25 is the same beside every base."""
        if cell not in self.by_set.get(set_name, {}):
            self.add(set_name, cell, None, columns, groups)

    def add(
        self, set_name: str, cell: str, seed: int | None, columns: PerQuery, groups: Mapping[str, Mapping[str, float]]
    ) -> None:
        """What a cell has on a set with a seed; a control has none."""
        self.cells.setdefault(cell)
        of_set = self.by_set.setdefault(set_name, {})
        known = next((seeds[0] for seeds in of_set.values()), columns)
        counts = [len(next(iter(own.values()))) for own in (known, columns)]
        if counts[0] != counts[1]:
            raise NliftError(
                f"{set_name}: {counts[1]} queries with {cell}, {counts[0]} with {next(iter(of_set))}; expected the "
                "same set in all variants, or another name for another one"
            )
        of_set.setdefault(cell, []).append(columns)
        values = {name: value for group in groups.values() for name, value in group.items()}
        self.points.append({"set": set_name, "cell": cell, "seed": seed, **values})

    def without_queries(self) -> list[Figure]:
        """Figures of which nothing is kept by query."""
        values: dict[tuple[str, str], list[float]] = {}
        for point in self.points:
            if TRIPLETS in point:
                values.setdefault((point["set"], point["cell"]), []).append(point[TRIPLETS])
        return [Figure(set_name, TRIPLETS, cell, tuple(own)) for (set_name, cell), own in values.items()]


def _base_name(run: Run, done: Sequence[Outcome]) -> str:
    """What a run's model without training is called: `base`, with the model's name where a study has several."""
    models = {outcome.run.experiment.train.base_model for outcome in done}
    own = run.experiment.train.base_model
    return "base" if len(models) == 1 else f"base {Path(own).name}"


def _controls(name: str, experiment: Experiment) -> list[Measurement]:
    """A base model, what is made of it without training, BM25 and the model together with BM25."""
    base = replace(evaluate.base_contender(experiment), name=name, hybrid=HYBRID)
    moved = [replace(base, name=name.replace("base", control, 1), control=control, hybrid=None) for control in CONTROLS]
    cluster.connect(experiment.cluster)
    with evaluate.STAGE.advice():
        measured = evaluate.measure_all(experiment, [base, *moved])
    return [
        replace(result, name=name, set_name=f"{result.set_name}, hybrid") if result.name == HYBRID else result
        for result in measured
    ]


def _columns(measurement: Measurement) -> PerQuery:
    """By query, in the order of their names."""
    assert measurement.per_query is not None
    names, columns = per_query.read(measurement.per_query)
    order = np.argsort(names, kind="stable")
    return {metric: values[order] for metric, values in columns.items()}
