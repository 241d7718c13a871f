"""Which encoder counts as tuned: the sweep's where it is there and promoted, else train's."""

from pathlib import Path

from nlift.config import Experiment
from nlift.pipeline import train, tune
from nlift.pipeline.stage import Stage, StageFolder


def tuned_stage(experiment: Experiment) -> Stage:
    """The stage whose encoder counts as tuned."""
    promoted = experiment.tune is not None and experiment.tune.promote
    return tune.STAGE if promoted and finished_sweep(experiment) is not None else train.STAGE


def tuned_encoder(experiment: Experiment) -> Path:
    """The folder of the encoder that counts as tuned."""
    return tuned_stage(experiment).path(experiment) / "encoder"


def finished_sweep(experiment: Experiment) -> StageFolder | None:
    """The sweep's folder where it is done."""
    if experiment.tune is None:
        return None
    sweep = tune.STAGE.folder(experiment)
    return sweep if sweep.done() else None
