"""A small experiment of all stages on a cluster, its stages in a process of their own, and what their models saw."""

import shutil
import time

from cluster_of_nodes import size_of, watched
from conftest import started

from nlift.config import Experiment
from nlift.data.sources import EMBEDDED
from nlift.pipeline import STAGES

SHARD, EVERY = 16, 8  # rows committed at a time; steps between checkpoints
LEFT_OUT = ("mine", "cloze", "tune")


def small_experiment(folder, address, base_model, **changes):
    """All stages on what is small; its sets are written into `folder`."""
    lines = (EMBEDDED / "data" / "stsb_pl.tsv").read_text().splitlines()[:201]
    (folder / "sts.tsv").write_text("\n".join(lines) + "\n")
    train = {"base_model": str(base_model), "base_share": 0, "learning_rate": 1e-3, "global_batch_size": 8}
    train |= {"epochs": 6, "num_workers": 2, "checkpoint_every_steps": EVERY, "dev": "pairs"}
    space = {"train.learning_rate": {"choice": [1e-3, 1e-4]}}
    return Experiment.model_validate(
        {
            "name": "run",
            "output_dir": str(folder / "runs"),
            "cluster": {"address": address},
            "nli": {"path": "embedded", "limit": 400},
            "translate": {"num_beams": 1, "shard_size": SHARD},
            "score": {"shard_size": SHARD},
            "triplets": {"require_negative": False},
            "train": train,
            "tune": {"space": space, "search": "grid", "metric": "spearman", "scheduler": "none"},
            "evaluate": {
                "sets": [
                    {"name": "pairs", "kind": "sts", "path": str(folder / "sts.tsv")},
                    {"name": "paragraphs", "kind": "retrieval", "path": "embedded:poquad_pl"},
                ]
            },
            "index": {"corpus": "embedded:poquad_pl", "kind": "flat", "max_length": 64},
            **changes,
        }
    )


class Run:
    """Stages of an experiment in a process of their own; `stages` as tests/programs/run_experiment.py takes them."""

    def __init__(self, experiment, folder, stages, pace_s=0.0):
        self.experiment, self.folder, self.log = experiment, folder, folder / "log"
        (folder / "experiment.json").write_text(experiment.model_dump_json())
        self.process = started(
            "run_experiment.py", folder, stages, folder / "experiment.json", "--log", self.log, "--pace-s", pace_s
        )

    def rows(self):
        """Node, process and key of every row that went into a model."""
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def steps(self):
        """Steps that a training run has logged."""
        logs = self.experiment.folder.glob("train.tmp-*/log.jsonl")
        return max((log.read_text().count("\n") for log in logs), default=0)

    def wait_for(self, condition):
        """Wait until something is so; the watchdog of `end` is not on, the test's own limit is."""
        while not condition():
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)

    def end(self):
        """Wait for a good end."""
        assert watched(self.process, self.folder / "output", lambda: size_of(self.folder)) == 0, self.said()

    def said(self):
        """The end of what the process printed."""
        return (self.folder / "output").read_text()[-3000:]


class Reference:
    """Called with the name of a stage: the experiment with that stage and those before it done, nothing disturbed."""

    def __init__(self, experiment, folder):
        self.experiment, self.folder = experiment, folder

    def __call__(self, stage):
        experiment, stages = self.experiment, "tune"
        if stage == "tune":
            experiment = experiment.override({"name": "swept"})  # whose encoder the stages after training would take
        else:
            names = [known.name for known in STAGES if known.name not in LEFT_OUT]
            stages = ",".join(names[: names.index(stage) + 1])
        if not (experiment.folder / stage).exists():
            Run(experiment, self.folder, stages).end()
        return experiment


def from_before(experiment, stage, folder):
    """The experiment elsewhere, with the stages before one done."""
    run = experiment.override({"output_dir": str(folder / "runs")})
    names = [known.name for known in STAGES]
    for name in names[: names.index(stage)]:
        if (experiment.folder / name).exists():
            shutil.copytree(experiment.folder / name, run.folder / name)
    return run
