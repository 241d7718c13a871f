"""All stages in order: NLI pairs in, evaluated encoder and searchable bundle out."""

from pathlib import Path

from nlift import cluster, uris
from nlift.config import Experiment
from nlift.data import conditional_write, sources, transfer
from nlift.errors import ConfigError
from nlift.pipeline import (
    cloze,
    evaluate,
    index,
    mine,
    nli,
    saved_experiment,
    score,
    train,
    translate,
    triplets,
    tune,
)
from nlift.pipeline.stage import DataSize, Stage, StageResult, in_order, run_stage
from nlift.pipeline.stage_folder import check_writable
from nlift.pipeline.survey import survey

STAGES = in_order(
    nli.STAGE,
    translate.STAGE,
    score.STAGE,
    triplets.STAGE,
    mine.STAGE,
    cloze.STAGE,
    train.STAGE,
    tune.STAGE,
    evaluate.STAGE,
    index.STAGE,
)
"""The only list of stages."""


def stages(experiment: Experiment) -> list[Stage]:
    """The stages that `nlift run` takes, in order."""
    return [stage for stage in STAGES if stage.enabled(experiment) and not stage.on_request]


def run(experiment: Experiment, only: list[str] | None = None, overwrite: bool = True) -> list[StageResult]:
    """Run every stage that is not done, in order. Silent, unless `nlift.progress.show()` was called.

    Args:
        experiment: What to run.
        only: Names of the stages to run; all of them when None.
        overwrite: Whether a folder that holds another result may be replaced.

    Returns:
        What became of each stage, in order.

    Raises:
        NliftError: The user's mistakes; before anything starts where they can be seen then.
    """
    chosen = select(stages(experiment), only)
    preflight(experiment, chosen)
    saved_experiment.save(experiment, overwrite)
    return [run_stage(stage, experiment, overwrite) for stage in chosen]


def run_tune(experiment: Experiment, overwrite: bool = True) -> list[StageResult]:
    """The stages before training, then the sweep. Raises NliftError as `run` does."""
    tune.config_of(experiment)
    chosen = [*tune.STAGE.lineage(experiment), tune.STAGE]
    preflight(experiment, [*stages(experiment), tune.STAGE])  # trials train, and look at a set
    for variant in tune.all_variants(experiment):
        _check_models(stages(variant), variant)
    saved_experiment.save(experiment, overwrite)
    return [run_stage(stage, experiment, overwrite) for stage in chosen]


def select(known: list[Stage], only: list[str] | None) -> list[Stage]:
    """The stages named in `only`, in their order. Raises ConfigError for an unknown one."""
    names = [stage.name for stage in known]
    for name in only or []:
        if name not in names:
            raise ConfigError(f"--only {name}: no such stage in this experiment; it has {', '.join(names)}")
    return [stage for stage in known if not only or stage.name in only]


def preflight(experiment: Experiment, chosen: list[Stage] | None = None, memories: bool = False) -> DataSize:
    """Find the user's mistakes before any work; `nlift check` and every command that works call it.

    Args:
        experiment: What is to run.
        chosen: The stages that are to run; all of `nlift run`'s when None.
        memories: Whether to look up what the translation memory has.

    Returns:
        How much the data is.

    Raises:
        NliftError: A path, data, model, setting or folder that the work would stumble over.
    """
    _check_folders(experiment)
    chosen = stages(experiment) if chosen is None else chosen
    undone = [stage for stage in chosen if not stage.folder(experiment).done()]  # raises where a folder is not ours
    counted = any(stage in undone for stage in (nli.STAGE, train.STAGE, tune.STAGE)) or memories
    readable = nli.STAGE in chosen or nli.STAGE.folder(experiment).done()
    size = survey(experiment, memories) if counted and readable else DataSize()
    _check_models(undone, experiment)
    for stage in undone:
        stage.check(experiment, size)
    return size


def _check_folders(experiment: Experiment) -> None:
    if experiment.store is not None:
        _check_store(experiment, experiment.store)
    for key, folder in (("output_dir", experiment.output_dir), ("cluster.memory_dir", experiment.memories)):
        if cluster.in_job() and not folder.startswith("/") and not uris.is_remote(folder):
            raise ConfigError(
                f"{key} {folder}: in a job this must be absolute, as the working directory is Ray's "
                f"throw-away copy; add --set {key}=$PWD/runs"
            )
    check_writable(experiment.folder, "output_dir" if experiment.store is None else "XDG_CACHE_HOME")
    if not uris.is_remote(experiment.memories):
        check_writable(Path(experiment.memories).absolute(), "cluster.memory_dir")


def _check_store(experiment: Experiment, uri: str) -> None:
    """Raise NliftError where nothing can be kept under the URI of an output_dir."""
    if "?" in uri or "#" in uri:
        raise ConfigError(
            f"output_dir {uri}: expected no ? or # in it; set AWS_ENDPOINT_URL where the store is your own"
        )
    if experiment.index is not None:
        conditional_write.check(uri)
    transfer.probe(uri, "output_dir")


def _check_models(chosen: list[Stage], experiment: Experiment) -> None:
    """Raise ModelError for a model of these stages whose files are broken."""
    for model in dict.fromkeys(model for stage in chosen for model in stage.models(experiment)):
        sources.check_model(model.name, model.kind)
