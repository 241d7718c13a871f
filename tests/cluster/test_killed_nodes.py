"""A node is killed (SIGKILL) at a random moment of a stage, and comes back: nothing is lost, and it works again."""

import random
import shutil
import time
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from cluster_of_nodes import Nodes, size_of, watched
from conftest import started
from safetensors.torch import load_file

from nlift.config import Experiment
from nlift.data.files import read_json, read_jsonl
from nlift.data.sources import EMBEDDED
from nlift.pipeline import STAGES
from nlift.pipeline.stage import read_manifest
from nlift.search.aliases import read_aliases

PACE_S = {"translate": 0.5, "score": 0.5, "index": 1.5}
SHARD, EVERY = 16, 4


def slow(stage, seeds):
    return [pytest.param(stage, seed, marks=pytest.mark.slow) for seed in seeds]


@pytest.fixture(scope="module")
def nodes():
    """A head that does no work, and two nodes of a CPU each."""
    with Nodes(dashboard=True) as nodes:  # Ray Train asks the dashboard what a trial held
        nodes.add()
        nodes.add()
        yield nodes


@pytest.fixture(scope="module")
def experiment(nodes, tmp_path_factory):
    """All stages, on what is small."""
    folder = tmp_path_factory.mktemp("killed")
    lines = (EMBEDDED / "data" / "stsb_pl.tsv").read_text().splitlines()[:201]
    (folder / "sts.tsv").write_text("\n".join(lines) + "\n")
    return Experiment.model_validate(
        {
            "name": "run",
            "output_dir": str(folder / "runs"),
            "cluster": {"address": nodes.address},
            "nli": {"path": "embedded", "limit": 400},
            "translate": {"num_beams": 1, "shard_size": SHARD},
            "score": {"shard_size": SHARD},
            "triplets": {"require_negative": False},
            "train": {
                "learning_rate": 1e-3,
                "global_batch_size": 8,
                "epochs": 1,
                "num_workers": 2,
                "checkpoint_every_steps": EVERY,
                "dev": "pairs",
            },
            "tune": {"space": {"train.learning_rate": {"choice": [1e-3, 1e-4]}}, "search": "grid", "metric": "spearman"},
            "evaluate": {
                "sets": [
                    {"name": "pairs", "kind": "sts", "path": str(folder / "sts.tsv")},
                    {"name": "poquad_pl", "kind": "retrieval", "path": "embedded:poquad_pl"},
                ]
            },
            "index": {"corpus": "embedded:poquad_pl", "kind": "flat", "max_length": 64},
        }
    )


class Run:
    """Stages of an experiment in a process of its own, and what its models saw."""

    def __init__(self, experiment, folder, stages, pace_s=0.0):
        self.experiment, self.folder, self.log = experiment, folder, folder / "log"
        (folder / "experiment.json").write_text(experiment.model_dump_json())
        self.process = started("run_experiment.py", folder, stages, folder / "experiment.json", self.log, pace_s)

    def rows(self):
        """Node, process and key of every row that went into a model."""
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def wait_for(self, condition):
        """Wait until something is so."""
        while not condition():
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)

    def end(self):
        """Wait for the end."""
        assert watched(self.process, self.folder / "output", lambda: size_of(self.folder)) == 0, self.said()

    def said(self):
        return (self.folder / "output").read_text()[-3000:]


@pytest.fixture(scope="module")
def undisturbed(experiment, tmp_path_factory):
    """Gives the experiment with a stage done, and those before it, nothing killed."""

    def done(stage):
        names = [before.name for before in STAGES if before.name not in ("mine", "cloze", "tune")]
        stages = ",".join(names[: names.index(stage) + 1]) if stage != "tune" else "tune"
        if not (experiment.folder / stage).exists():
            Run(experiment, tmp_path_factory.mktemp(stage), stages).end()
        return experiment

    return done


def from_before(undisturbed, stage, folder):
    """The experiment elsewhere, with the stages before one done."""
    run = undisturbed.override({"output_dir": str(folder / "runs")})
    names = [known.name for known in STAGES]
    for name in names[: names.index(stage)]:
        if (undisturbed.folder / name).exists():
            shutil.copytree(undisturbed.folder / name, run.folder / name)
    return run


def killed_and_back(nodes, run, rng):
    """Kill one of the nodes and start it again: the new one."""
    victim = rng.choice(nodes.workers)
    nodes.kill(victim)
    return nodes.start_again(victim)


def rows_after_a_kill(nodes, undisturbed, stage, seed, folder):
    """Rows that went into the model, by key, after a kill at a random moment; the node that came back did its part."""
    rng, before = random.Random(seed), undisturbed(stage)
    run = Run(from_before(before, stage, folder), folder, stage, PACE_S[stage])
    if seed % 5 == 4:  # while models load
        run.wait_for(lambda: list(run.experiment.folder.glob(f"{stage}.tmp-*")))
        time.sleep(rng.random() * 8)
    else:
        total = read_manifest(before.folder / stage)["rows_out" if stage == "index" else "distinct_sentences"]
        moment = rng.randrange(1, total // 2)
        run.wait_for(lambda: len(run.rows()) >= moment)
        time.sleep(rng.random() * PACE_S[stage])
    back = killed_and_back(nodes, run, rng)
    (other,) = [node for node in nodes.workers if node is not back]
    with nodes.stopped(other):  # else a slow start on a busy machine would find nothing left to do
        run.wait_for(lambda: any(node == back.node_id for node, *_ in run.rows()))
    run.end()
    return run.experiment, before, Counter(key for *_, key in run.rows())


@pytest.mark.parametrize(
    "stage, seed", [pytest.param("translate", 0), *slow("translate", range(1, 20)), *slow("score", range(20))]
)
def test_rows_are_the_same_and_only_what_was_in_flight_is_done_again(nodes, undisturbed, tmp_path, stage, seed):
    run, before, keys = rows_after_a_kill(nodes, undisturbed, stage, seed, tmp_path)
    assert rows_of(run, stage).equals(rows_of(before, stage))
    assert len(keys) == read_manifest(before.folder / stage)["distinct_sentences"]
    assert keys.total() - len(keys) <= SHARD, "more than what the killed node had in hand"


@pytest.mark.parametrize("stage, seed", slow("index", range(3)))
def test_an_index_is_the_same(nodes, undisturbed, tmp_path, stage, seed):
    run, before, keys = rows_after_a_kill(nodes, undisturbed, stage, seed, tmp_path)
    versions = [read_aliases(done.folder / "index")["production"] for done in (run, before)]
    assert versions[0] == versions[1]
    vectors = [np.load(done.folder / "index" / versions[0] / "index" / "vectors.npy") for done in (run, before)]
    assert np.array_equal(*vectors) and len(keys) == read_manifest(before.folder / "index")["rows_out"]
    assert keys.total() - len(keys) <= -(-len(keys) // 16)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_training_ends_with_the_same_weights(nodes, undisturbed, tmp_path, seed):
    rng, before = random.Random(seed), undisturbed("train")
    run = Run(from_before(before, "train", tmp_path), tmp_path, "train")
    moment = rng.randrange(1, read_manifest(before.folder / "train")["steps"])
    run.wait_for(lambda: any(len(read_jsonl(log)) >= moment for log in run.experiment.folder.glob("train.tmp-*/log.jsonl")))
    killed_and_back(nodes, run, rng)
    run.end()
    weights = [load_file(done.folder / "train" / "encoder" / "model.safetensors") for done in (run.experiment, before)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    logs = [[row["step"] for row in read_jsonl(done.folder / "train" / "log.jsonl")] for done in (run.experiment, before)]
    assert logs[0] == logs[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_has_the_same_trials(nodes, undisturbed, tmp_path, seed):
    rng, before = random.Random(seed), undisturbed("tune")
    run = Run(from_before(before, "train", tmp_path), tmp_path, "tune")
    run.wait_for(lambda: list(run.experiment.folder.glob("tune.tmp-*/trials/*/history.jsonl")))
    time.sleep(rng.random() * 10)
    killed_and_back(nodes, run, rng)
    run.end()
    trials = [read_json(done.folder / "tune" / "trials.json")["trials"] for done in (run.experiment, before)]
    assert [[(trial["config"], trial["status"], trial["value"]) for trial in some] for some in trials[:1]] == [
        [(trial["config"], trial["status"], trial["value"]) for trial in some] for some in trials[1:]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_evaluation_has_the_same_figures(nodes, undisturbed, tmp_path, seed):
    rng, before = random.Random(seed), undisturbed("evaluate")
    run = Run(from_before(before, "evaluate", tmp_path), tmp_path, "evaluate")
    run.wait_for(lambda: list(run.experiment.folder.glob("evaluate.tmp-*")))
    time.sleep(rng.random() * 10)
    killed_and_back(nodes, run, rng)
    run.end()
    figures = [read_json(done.folder / "evaluate" / "metrics.json") for done in (run.experiment, before)]
    assert figures[0] == figures[1]


def rows_of(experiment, stage):
    return pq.read_table(experiment.folder / stage / "rows.parquet")
