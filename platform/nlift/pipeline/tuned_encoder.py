"""Which encoder counts as tuned: the sweep's where it is there, promoted and no worse than train's, else train's."""

from dataclasses import dataclass
from pathlib import Path

from nlift.config import Experiment
from nlift.pipeline import train, tune
from nlift.pipeline.stage import Stage
from nlift.pipeline.stage_folder import StageFolder, read_manifest


@dataclass(frozen=True)
class Promotion:
    """What the encoders of train and of the sweep have on the queries that both were compared on."""

    judged_on: str
    metric: str
    train: float
    sweep: float

    @property
    def promoted(self) -> bool:
        """Whether the sweep's is taken."""
        return self.sweep >= self.train


def tuned_stage(experiment: Experiment) -> Stage:
    """The stage whose encoder counts as tuned."""
    if experiment.tune is None or not experiment.tune.promote or finished_sweep(experiment) is None:
        return train.STAGE
    compared = promotion(experiment)
    return tune.STAGE if compared is None or compared.promoted else train.STAGE


def promotion(experiment: Experiment) -> Promotion | None:
    """The comparison of both; None where one of them is not there, or they were not compared on the same."""
    sweep, trained = finished_sweep(experiment), train.STAGE.folder(experiment)
    if sweep is None or not trained.done():
        return None
    verdicts = [read_manifest(folder.fetch()).get("guard") or {"sets": [None]} for folder in (trained, sweep)]
    judged = verdicts[0]["sets"][0]
    if judged is None or judged != verdicts[1]["sets"][0]:
        return None
    figures = [
        next(row["figures"][0] for row in verdict["candidates"] if row["name"] == verdict["chosen"])
        for verdict in verdicts
    ]
    return Promotion(judged["name"], judged["metric"], *figures)


def tuned_encoder(experiment: Experiment) -> Path:
    """The folder of the encoder that counts as tuned."""
    return tuned_stage(experiment).path(experiment) / "encoder"


def finished_sweep(experiment: Experiment) -> StageFolder | None:
    """The sweep's folder where it is done."""
    if experiment.tune is None:
        return None
    sweep = tune.STAGE.folder(experiment)
    return sweep if sweep.done() else None
