"""Stage `train`: supervised SimCSE under Ray Train; the loop itself is in loop.py."""

import shutil
from pathlib import Path
from typing import Any

from nlift import checkpoints, cluster, modes, progress, remote, sources, stages
from nlift.artifacts import Output, Stage, read_rows
from nlift.config import Experiment
from nlift.errors import NliftError, ResourceError
from nlift.loop import run_steps
from nlift.schema import Triplet
from nlift.sections import direction

RUN = "simcse"  # Ray Train's name of a run: its folder in the storage
# settings that do not change results
PERFORMANCE = {"use_gpu", "max_failures", "gradient_checkpointing", "cpus_per_worker", "storage"}


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    return Stage("train", experiment.folder / "train", identity(experiment))


def identity(experiment: Experiment) -> dict[str, Any]:
    """What a trained encoder depends on."""
    config = experiment.train
    watched = [sources.fingerprint(sources.data_path(one.path)) for one in experiment.evaluate.sets if one.name == config.dev]
    return {
        "config": config.model_dump(mode="json", exclude=PERFORMANCE),
        "model": sources.model_fingerprint(config.base_model, "encoder", config.revision),
        "seed": experiment.seed,
        "max_length": inference_length(experiment),
        "inputs": [data(experiment).fingerprint, *watched],
    }


def data(experiment: Experiment) -> Stage:
    """The stage whose rows training reads."""
    *_, last = stages.before_training(experiment).values()
    written: Stage = last.stage(experiment)
    return written


def inference_length(experiment: Experiment) -> int:
    """Tokens that the saved encoder takes by default: what the index embeds."""
    return experiment.index.max_length if experiment.index is not None else 256


def write(experiment: Experiment, output: Output) -> None:
    """Train and save `encoder/`; loss and dev curves in log.jsonl, dev.jsonl and `tensorboard/`."""
    rows = read_rows(data(experiment).folder, Triplet)
    good, bad = modes.usable(rows)
    for row, reason in bad:
        output.quarantine(row, reason)
    output.rows_in, output.rows_out = len(rows), len(good)
    config, log = experiment.train, output.path / "log.jsonl"
    steps = modes.planned_steps(good, config)
    storage: Path | str = output.path / "ray"
    if config.storage is not None:
        storage = f"{config.storage.rstrip('/')}/{experiment.name}-{stage(experiment).fingerprint}"
    with progress.following(log, "train", steps, "steps"):
        result = fit(experiment, storage=storage, log=log)
    checkpoint, metrics = checkpoints.best(result, config)
    shutil.rmtree(output.path / "encoder", ignore_errors=True)  # of a run that was cut right here
    with checkpoint.as_directory() as folder:
        shutil.copytree(Path(folder) / "encoder", output.path / "encoder")
    remove(storage)
    done = (result.metrics or {}).get("step", steps)
    output.notes = {
        "steps": done,
        "planned_steps": steps,
        "best_step": metrics.get("step"),
        "metrics": {k: v for k, v in metrics.items() if k != "step"},
    }


def planned_steps(experiment: Experiment) -> int:
    """Optimizer steps of the whole training. Raises DataError for fewer rows than a batch."""
    return modes.planned_steps(modes.usable(read_rows(data(experiment).folder, Triplet))[0], experiment.train)


def fit(experiment: Experiment, *, storage: Path | str, log: Path | None, callbacks: list[Any] | None = None) -> Any:
    """Ray Train's Result of a finished run. Raises NliftError for the user's mistakes that workers met, and a full disk."""
    import ray.train

    try:
        with cluster.user_errors():
            result = trainer(experiment, storage=storage, log=log, callbacks=callbacks).fit()
    except ray.train.ControllerError as error:
        if not isinstance(error.controller_failure, OSError):
            raise
        raise ResourceError(
            f"train: the record of the checkpoints cannot be written ({error.controller_failure}); "
            "free space and run again: training goes on from the last checkpoint"
        ) from None
    if result.return_value:
        raise NliftError(result.return_value)
    return result


def trainer(experiment: Experiment, *, storage: Path | str, log: Path | None, callbacks: list[Any] | None = None) -> Any:
    """The TorchTrainer of an experiment; with the same storage it goes on from its last checkpoint.

    Raises ResourceError for more workers than fit.
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    from nlift import records

    config, keepers = experiment.train, []
    if not remote.is_remote(str(storage)):
        folder = Path(storage).absolute() / RUN
        records.mend(folder)
        keepers.append(records.RecordKeeper(folder))
    dev = next((one for one in experiment.evaluate.sets if one.name == config.dev), None)
    return TorchTrainer(
        run_steps,
        train_loop_config={
            "train": config.model_dump(mode="json"),
            "seed": experiment.seed,
            "triplets": str(data(experiment).folder),
            "dev": dev.model_dump(mode="json") if dev else None,
            "max_length": inference_length(experiment),
            "log": str(log) if log else None,
            "failures": str(log.parent if log else storage),
        },
        scaling_config=_scaling(experiment, alone=callbacks is None),
        run_config=ray.train.RunConfig(
            name=RUN,
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute=config.metric, checkpoint_score_order=direction(config.metric)
            ),
            callbacks=[*(callbacks or []), *keepers],
        ),
    )


def _scaling(experiment: Experiment, alone: bool) -> Any:
    """Workers and what each takes; beside a sweep's other trials nine tenths of a CPU. Raises ResourceError."""
    import ray
    import ray.train

    config, available = experiment.train, ray.cluster_resources()
    here = experiment.cluster.address == "local" and not cluster.in_job()
    gpu = config.use_gpu if config.use_gpu is not None else available.get("GPU", 0) >= config.num_workers
    kind = "GPU" if gpu else "CPU"
    if available.get(kind, 0) < config.num_workers and here:
        raise ResourceError(
            f"train.num_workers {config.num_workers}: the cluster has {available.get(kind, 0):.0f} {kind}s, one per worker needed"
        )
    share: dict[str, float] = {"GPU": 1}
    if not gpu:
        equal = int(available.get("CPU", 1)) // config.num_workers if here else 1
        share = {"CPU": config.cpus_per_worker or equal if alone else 0.9}
    return ray.train.ScalingConfig(num_workers=config.num_workers, use_gpu=gpu, resources_per_worker=share)


def remove(storage: Path | str) -> None:
    """Remove a folder, local or a URI's."""
    if remote.is_remote(str(storage)):
        remote.remove_folder(str(storage))
    else:
        shutil.rmtree(storage, ignore_errors=True)
