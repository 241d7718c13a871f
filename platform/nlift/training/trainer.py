"""A training run under Ray Train: started, gone on with, and what it takes of the cluster."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from nlift import cluster, uris
from nlift.data import remote
from nlift.errors import NliftError, ResourceError
from nlift.settings import ClusterConfig, TrainConfig, direction
from nlift.training.loop import run_steps
from nlift.training.loop_settings import LoopSettings

RUN = "simcse"  # Ray Train's name of a run: its folder in the storage
SWEEP_CPUS = 0.9  # of a worker in a sweep; the tenth that is left is the trial's driver's


def fit(settings: LoopSettings, *, storage: Path | str, cluster_config: ClusterConfig) -> Any:
    """Ray Train's Result of a finished run.

    Raises NliftError for the user's mistakes that workers met, and for a full disk.
    """
    import ray.train

    try:
        with cluster.user_errors():
            result = cluster.in_thread(trainer(settings, storage=storage, cluster_config=cluster_config).fit)
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


def trainer(settings: LoopSettings, *, storage: Path | str, cluster_config: ClusterConfig) -> Any:
    """The TorchTrainer of a run; with the same storage it goes on from its last checkpoint.

    Raises ResourceError for more workers than fit.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from nlift.training import ray_snapshot

    config, callbacks = settings.train, [TuneReportCallback()] if settings.in_sweep else []
    if not uris.is_remote(str(storage)):
        folder = Path(storage).absolute() / RUN
        ray_snapshot.mend(folder)
        callbacks.append(ray_snapshot.SnapshotKeeper(folder))
    return TorchTrainer(
        run_steps,
        train_loop_config={"settings": settings},
        # Ray would take NCCL wherever a worker has a GPU, also where torch was built for CPUs
        torch_config=TorchConfig(backend=None if torch.distributed.is_nccl_available() else "gloo"),
        scaling_config=_scaling(settings, cluster_config),
        run_config=ray.train.RunConfig(
            name=RUN,
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=1,
                checkpoint_score_attribute=config.metric,
                checkpoint_score_order=direction(config.metric),
            ),
            callbacks=callbacks,
        ),
    )


def _scaling(settings: LoopSettings, cluster_config: ClusterConfig) -> Any:
    """Workers and what each takes. Raises ResourceError for more than this machine has."""
    import ray
    import ray.train

    config, available = settings.train, ray.cluster_resources()
    here = cluster_config.address == "local" and not cluster.in_job()
    gpus = config.num_workers * config.gpus_per_worker
    gpu = config.use_gpu if config.use_gpu is not None else available.get("GPU", 0) >= gpus
    kind = "GPU" if gpu else "CPU"
    if available.get(kind, 0) < (gpus if gpu else config.num_workers) and here:
        raise ResourceError(
            f"train.num_workers {config.num_workers}: the cluster has {available.get(kind, 0):.0f} {kind}s, "
            "one per worker needed"
        )
    share: dict[str, float] = {"GPU": config.gpus_per_worker}
    if not gpu:
        equal = int(available.get("CPU", 1)) // config.num_workers if here else 1
        share = {"CPU": SWEEP_CPUS if settings.in_sweep else config.cpus_per_worker or equal}
    return ray.train.ScalingConfig(num_workers=config.num_workers, use_gpu=gpu, resources_per_worker=share)


def check_workers(config: TrainConfig, cluster_config: ClusterConfig) -> None:
    """Raise ResourceError for more workers than this machine has CPUs, where they are to run here, without GPUs."""
    cpus = cluster_config.num_cpus or os.cpu_count() or 1
    here = cluster_config.address == "local" and not cluster.in_job() and "RAY_ADDRESS" not in os.environ
    if here and config.num_workers > max(cpus, torch.cuda.device_count()):
        raise ResourceError(
            f"train.num_workers {config.num_workers}: this machine has {cpus} CPUs, one per worker needed"
        )


def remove(storage: Path | str) -> None:
    """Remove a folder, local or a URI's."""
    if uris.is_remote(str(storage)):
        remote.remove_folder(str(storage))
    else:
        shutil.rmtree(storage, ignore_errors=True)
