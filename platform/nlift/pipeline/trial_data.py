"""The training data of a sweep's trials, made once for all that share it."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from nlift.config import Experiment
from nlift.data import transfer
from nlift.pipeline import train
from nlift.pipeline.stage import run_stage
from nlift.pipeline.stage_folder import StageFolder
from nlift.tuning.trials import described

logger = logging.getLogger("nlift")


def with_training_data(experiment: Experiment, values: dict[str, Any], seed: int) -> Experiment:
    """The experiment of a trial, all stages before training done.

    A trial that trains on other data than the experiment has a folder of its own beside the experiment's, shared by all
    trials of the same data. Stages whose content is somewhere already are links.
    """
    changes = {**values, "seed": seed, "tune": None, "output_dir": experiment.store or str(experiment.root)}
    changed = experiment.override(changes)
    data = train.STAGE.upstream(changed).folder(changed)
    if data.done():
        return changed
    variant = changed.override({"name": f"{experiment.name}.tune-{data.fingerprint[:8]}"})
    variant.folder.mkdir(parents=True, exist_ok=True)
    for stage in train.before_training(variant):
        wanted = stage.folder(variant)
        if wanted.path.is_symlink():
            wanted.path.unlink()
        elif wanted.done():
            continue
        same = next(_same_content(wanted, [experiment.folder, *variant_folders(experiment)]), None)
        if same is not None:
            wanted.path.symlink_to(Path("..", same.parent.name, same.name))
            wanted.keep()
            continue
        logger.info("%s with %s", stage.name, described(values))
        run_stage(stage, variant)
    return variant


def variant_folders(experiment: Experiment) -> list[Path]:
    """The folders of the training data that trials have of their own."""
    return sorted(experiment.root.glob(f"{experiment.name}.tune-{'[0-9a-f]' * 8}"))


def remove_variants(experiment: Experiment) -> None:
    """Remove the training data that trials have of their own."""
    for folder in variant_folders(experiment):
        shutil.rmtree(folder)
        if experiment.store is not None:
            transfer.remove(f"{experiment.store}/{folder.name}")


def _same_content(wanted: StageFolder, runs: list[Path]) -> Iterator[Path]:
    """Where a stage's content stands already in the folders of other runs."""
    for run in runs:
        path = run / wanted.path.name
        if replace(wanted, path=path, uri=None).done():
            yield path
