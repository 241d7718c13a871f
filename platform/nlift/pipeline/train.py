"""Stage `train`: supervised SimCSE, and what is distilled beside it, under Ray Train; then the guard.

The loop itself is in training/loop.py.
"""

from pathlib import Path
from typing import Any

from nlift import progress, uris
from nlift.config import Experiment
from nlift.data import sources, transfer
from nlift.data.files import read_rows
from nlift.data.schema import Triplet
from nlift.data.stored_folder import StoredFolder, place
from nlift.evaluation.set_rows import content_of
from nlift.models.encoder import Encoder
from nlift.pipeline import guard, lessons, training_work
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output, check_writable
from nlift.pipeline.workload import NamedModel, Workload
from nlift.training import batches, checkpoints, trainer
from nlift.training.loop import load_encoder
from nlift.training.loop_settings import LoopSettings

# settings that do not change results
PERFORMANCE = {"use_gpu", "max_failures", "gradient_checkpointing", "cpus_per_worker", "gpus_per_worker", "storage"}
TO_SPARE_MEMORY = (
    "lower train.device_batch_size (the same gradients, in pieces) or train.num_workers, or set "
    "train.gradient_checkpointing: true"
)


class Train(Stage):
    """A fine-tuned encoder."""

    name = "train"
    reads = Triplet
    writes = Encoder
    needs_ray = True
    to_spare_memory = TO_SPARE_MEMORY

    def models(self, experiment: Experiment) -> list[NamedModel]:
        """The base model, and the teacher."""
        teacher = experiment.train.teacher
        names = [experiment.train.base_model, *([teacher] if teacher is not None else [])]
        return [NamedModel(name, "encoder") for name in names]

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """What a trained encoder depends on."""
        config = experiment.train
        watched = [dataset for dataset in experiment.evaluate.sets if experiment.is_watched(dataset.name)]
        return {
            "config": config.model_dump(mode="json", exclude=PERFORMANCE),
            "model": sources.model_fingerprint(config.base_model, "encoder", config.revision),
            "seed": experiment.seed,
            "max_length": experiment.inference_length,
            "watched": [content_of(dataset) for dataset in watched],
            "guard": guard.identity(experiment),
            "teacher": lessons.identity(experiment),
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """Epochs, batches and workers."""
        config = experiment.train
        batch = f"batches of {config.global_batch_size}"
        idle = config.base_share == "auto" and not guard.judges(experiment)
        compared = "; too little to compare base and tuned on" if idle else ""
        return f"{config.epochs:g} epochs of {batch} on {config.num_workers} worker(s){compared}"

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Tokens of all steps, and of the guard."""
        return training_work.workload(experiment, size)

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """There are rows for a batch, a CPU or GPU for every worker of this machine, and an encoder to train."""
        config, rows = experiment.train, training_work.rows_of(experiment, size)
        if rows is not None:
            batches.total_steps(rows, config)
        if config.storage is not None and not uris.is_remote(config.storage):
            check_writable(Path(config.storage).absolute(), "train.storage")
        trainer.check_workers(config, experiment.cluster)
        if sources.is_local(config.base_model, "encoder"):
            load_encoder(config, experiment.inference_length)
        guard.check(experiment)
        lessons.check(experiment, size.premises)

    def run(self, experiment: Experiment, output: Output) -> None:
        """Train and save the best of base, tuned and their averages as `encoder/`; its comparison in guard.json.

        Loss and dev curves are in log.jsonl, dev.jsonl and `tensorboard/`.
        """
        rows = read_rows(self.upstream(experiment).path(experiment), Triplet)
        usable, unusable = batches.usable(rows)
        for row, reason in unusable:
            output.quarantine(row, reason)
        output.rows_in, output.rows_out = len(rows), len(usable)
        config, steps = experiment.train, batches.planned_steps(usable, experiment.train)
        lessons.prepare(experiment, output.path, output.store)
        settings = loop_settings(experiment, output.path, store=output.store)
        storage: Path | str = output.path / "ray" if output.store is None else f"{output.store}/ray"
        if config.storage is not None:
            fingerprint = self.folder(experiment).fingerprint
            storage = f"{config.storage.rstrip('/')}/{experiment.name}-{fingerprint}"
        with progress.following(settings.log, "train", steps, "steps"):
            result = trainer.fit(settings, storage=storage, cluster_config=experiment.cluster)
        if settings.store is not None:
            transfer.download(settings.store, output.path)
        checkpoint, metrics = checkpoints.best(result, config)
        with checkpoint.as_directory() as folder:
            verdict = guard.keep_best(experiment, Path(folder) / "encoder", output.path, output.store)
        trainer.remove(storage)
        output.notes = {
            "steps": (result.metrics or {}).get("step", steps),
            "planned_steps": steps,
            "best_step": metrics.get("step"),
            "device_batch_size": metrics.get("device_batch_size"),
            "metrics": {name: value for name, value in metrics.items() if name not in ("step", "device_batch_size")},
            "guard": verdict,
        }


STAGE = Train()


def before_training(experiment: Experiment) -> list[Stage]:
    """The stages up to the rows that training reads, in order; the last one writes them."""
    return STAGE.lineage(experiment)


def loop_settings(
    experiment: Experiment, folder: Path, in_sweep: bool = False, store: str | None = None
) -> LoopSettings:
    """What the training loop of an experiment gets; it logs into `folder`, by way of `store` where that is a URI."""
    config, distilled = experiment.train, lessons.folder(experiment, folder)
    at = None if distilled is None else place(distilled)
    if distilled == folder and store is not None:
        at = StoredFolder(f"{store}/lessons").publish(folder, {}, mark=False)
    return LoopSettings(
        train=config,
        seed=experiment.seed,
        triplets=place(STAGE.upstream(experiment).path(experiment)),
        lessons=at,
        store=None if store is None else log_store(store),
        dev=experiment.dev_set,
        max_length=experiment.inference_length,
        folder=folder,
        in_sweep=in_sweep,
    )


def log_store(store: str) -> str:
    """Where workers leave what belongs into a training's folder, under the URI of its work."""
    return f"{store}/log"


def planned_steps(experiment: Experiment) -> int:
    """Optimizer steps of the whole training. Raises DataError for fewer rows than a batch."""
    rows = read_rows(STAGE.upstream(experiment).path(experiment), Triplet)
    usable, _ = batches.usable(rows)
    return batches.planned_steps(usable, experiment.train)
