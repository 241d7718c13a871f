"""Running a study: every variant with every seed, a whole run each; what variants share is computed once.

A run's folder stands under the study's own. A stage that another run of the study has already, with the same inputs and
settings, is taken over by links; so a study that was killed, or gets more variants, does what is new alone.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nlift import progress
from nlift.data.files import link_or_copy, write_json
from nlift.errors import NliftError
from nlift.evaluation.comparisons import PerQuery
from nlift.evaluation.study_results import Correlation, Figure, correlations, figures
from nlift.pipeline import evaluate, index, per_query
from nlift.pipeline.run import preflight, run, stages
from nlift.pipeline.stage import MANIFEST, Stage, StageFolder, read_manifest
from nlift.study_config import Run, Study

STUDY_FILE, RESULTS_FILE = "study.json", "results.json"
CONTROLS = ("base", "bm25")  # measured in every run, and the same in all of them


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
    with progress.bar(study.name, len(planned), "runs") as advance:
        for planned_run in planned:
            outcomes.append(_outcome(planned_run, planned))
            advance(1)
    folder = planned[0].experiment.root
    write_json(folder / STUDY_FILE, {"study": study.model_dump(mode="json"), "runs": list(map(_as_json, outcomes))})
    return outcomes


def _chosen(planned: Run) -> list[Stage]:
    """Everything but the index: it has no figure of its own."""
    return [stage for stage in stages(planned.experiment) if stage is not index.STAGE]


def _outcome(planned: Run, others: Sequence[Run]) -> Outcome:
    chosen = _chosen(planned)
    seconds = 0.0
    try:
        for stage in chosen:
            _take_over(stage.folder(planned.experiment), stage, others)
            seconds += sum(result.seconds for result in run(planned.experiment, [stage.name]))
    except NliftError as error:
        progress.notice(f"{planned.cell}, seed {planned.seed}: {error}")
        return Outcome(planned, seconds, None, str(error))
    return Outcome(planned, seconds, evaluate.STAGE.path(planned.experiment))


def _take_over(wanted: StageFolder, stage: Stage, others: Sequence[Run]) -> None:
    """Let a run have what another run of the study has computed, by links."""
    if wanted.path.exists():
        return
    for other in others:
        folder = stage.path(other.experiment)
        there = folder != wanted.path and (folder / MANIFEST).is_file()
        if there and read_manifest(folder)["fingerprint"] == wanted.fingerprint:
            temporary = wanted.path.with_name(f".{wanted.path.name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(folder, temporary, copy_function=link_or_copy)
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
    """Geometry and retrieval of every encoder on every set: `set`, `cell` and figures by name."""
    failed: list[Outcome]


def results_of(outcomes: Sequence[Outcome]) -> Results:
    """Read what the runs measured, the untrained encoder and BM25 as variants of their own, and compare.

    results.json in the study's folder has the same.
    """
    by_set: dict[str, dict[str, list[PerQuery]]] = {}
    points: list[dict[str, Any]] = []
    done = [outcome for outcome in outcomes if outcome.folder is not None]
    for outcome in done:
        assert outcome.folder is not None
        table = per_query.read_all(outcome.folder / evaluate.PER_QUERY_FILE)
        encoders = evaluate.read_metrics(outcome.folder)["encoders"]
        for (set_name, name), columns in table.items():
            cell = outcome.run.cell if name == "tuned" else name if name in CONTROLS else None
            if cell is not None and (cell == outcome.run.cell or cell not in by_set.get(set_name, {})):
                by_set.setdefault(set_name, {}).setdefault(cell, []).append(columns)
                groups = [groups.get(set_name, {}) for groups in encoders[name].values()]
                measured = {key: value for group in groups for key, value in group.items()}
                points.append({"set": set_name, "cell": cell, "seed": outcome.run.seed, **measured})
    order = list(dict.fromkeys([outcome.run.cell for outcome in done] + list(CONTROLS)))
    ordered = {
        set_name: {cell: by_cell[cell] for cell in order if cell in by_cell} for set_name, by_cell in by_set.items()
    }
    results = Results(
        figures(ordered), correlations(points), points, [outcome for outcome in outcomes if outcome.folder is None]
    )
    content = {
        "figures": [figure.as_json() for figure in results.figures],
        "correlations": [{**asdict(row), "words": row.words} for row in results.correlations],
        "points": points,
    }
    write_json(outcomes[0].run.experiment.root / RESULTS_FILE, content)
    return results
