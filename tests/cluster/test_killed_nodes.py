"""Nodes are killed (SIGKILL) at random moments of a stage, and come back: nothing is lost, and they work again."""

import random
import time
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from cluster_of_nodes import Nodes
from experiment_on_nodes import EVERY, SHARD, Reference, Run, from_before, small_experiment
from safetensors.torch import load_file

from nlift.data.files import read_json, read_jsonl
from nlift.pipeline.stage_folder import read_manifest
from nlift.search.aliases import read_aliases

PACE_S = {"translate": 0.4, "score": 0.4, "index": 1.0}


def slow(stage):
    """Twenty kills: four runs, the nodes of each killed five times."""
    return [pytest.param(stage, seed, 5, marks=pytest.mark.slow) for seed in range(4)]


@pytest.fixture(scope="module")
def nodes():
    """A head that does no work, and two nodes of a CPU each."""
    with Nodes(dashboard=True) as nodes:  # Ray Train asks the dashboard what a trial held
        nodes.add()
        nodes.add()
        yield nodes


@pytest.fixture(scope="module")
def undisturbed(nodes, bert, tmp_path_factory):
    """Gives the experiment with a stage done, and those before it, nothing killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return Reference(small_experiment(folder, nodes.address, bert), folder)


def killed_and_back(nodes, rng):
    """Kill one of the nodes and start it again: the new one."""
    victim = rng.choice(nodes.workers)
    nodes.kill(victim)
    return nodes.start_again(victim)


def after_kills(nodes, undisturbed, stage, seed, kills, folder):
    """A run of a stage in which nodes were killed at random moments, each then back at work, and the undisturbed one.

    Rows that went into the model are counted by their key.
    """
    rng, before = random.Random(seed), undisturbed(stage)
    run = Run(from_before(before, stage, folder), folder, stage, PACE_S[stage])
    run.wait_for(lambda: list(run.experiment.folder.glob(f"{stage}.tmp-*")))
    for kill in range(kills):
        if seed % 2 or kill:  # else while the models load
            # soon, as five kills are to find shards that no worker has yet
            moment = len(run.rows()) + rng.randrange(1, 2 * SHARD)
            run.wait_for(lambda moment=moment: len(run.rows()) >= moment)
        time.sleep(rng.random() * (PACE_S[stage] if seed % 2 or kill else 5))
        back = killed_and_back(nodes, rng)
        (other,) = [node for node in nodes.workers if node is not back]
        with nodes.stopped(other):  # else a slow start on a busy machine would find nothing left to do
            run.wait_for(lambda node=back.node_id: any(row[0] == node for row in run.rows()))
    run.end()
    return run.experiment, before, Counter(key for *_, key in run.rows())


@pytest.mark.parametrize("stage, seed, kills", [("translate", 1, 1), *slow("translate"), *slow("score")])
def test_rows_are_the_same_and_only_what_was_in_flight_is_done_again(nodes, undisturbed, tmp_path, stage, seed, kills):
    run, before, keys = after_kills(nodes, undisturbed, stage, seed, kills, tmp_path)
    rows, expected = (pq.read_table(done.folder / stage / "rows.parquet") for done in (run, before))
    assert rows.equals(expected)
    assert len(keys) == read_manifest(before.folder / stage)["distinct_sentences"]
    assert keys.total() - len(keys) <= kills * SHARD, "more than what the killed nodes had in hand"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_index_is_the_same(nodes, undisturbed, tmp_path, seed):
    run, before, keys = after_kills(nodes, undisturbed, "index", seed, 1, tmp_path)
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
    moment = rng.randrange(1, read_manifest(before.folder / "train")["steps"] - EVERY)
    run.wait_for(lambda: run.steps() >= moment)
    killed_and_back(nodes, rng)
    run.end()
    folders = [done.folder / "train" for done in (run.experiment, before)]
    weights, expected = (load_file(folder / "encoder" / "model.safetensors") for folder in folders)
    assert weights.keys() == expected.keys() and all((weights[name] == expected[name]).all() for name in weights)
    steps = [[row["step"] for row in read_jsonl(folder / "log.jsonl")] for folder in folders]
    assert steps[0] == steps[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_has_the_same_trials(nodes, undisturbed, tmp_path, seed):
    rng, before = random.Random(seed), undisturbed("tune")
    run = Run(from_before(before, "train", tmp_path), tmp_path, "tune")
    run.wait_for(lambda: list(run.experiment.folder.glob("tune.tmp-*/trials/*/history.jsonl")))
    time.sleep(rng.random() * 5)
    killed_and_back(nodes, rng)
    run.end()
    trials = [read_json(done.folder / "tune" / "trials.json")["trials"] for done in (run.experiment, before)]
    told = ("config", "seed", "status", "value")
    first, second = ([[trial[name] for name in told] for trial in run_trials] for run_trials in trials)
    assert first == second and [row[2] for row in first] == ["finished", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_evaluation_has_the_same_figures(nodes, undisturbed, tmp_path, seed):
    rng, before = random.Random(seed), undisturbed("evaluate")
    run = Run(from_before(before, "evaluate", tmp_path), tmp_path, "evaluate")
    run.wait_for(lambda: list(run.experiment.folder.glob("evaluate.tmp-*")))
    time.sleep(rng.random() * 10)
    killed_and_back(nodes, rng)
    run.end()
    figures, expected = (read_json(done.folder / "evaluate" / "metrics.json") for done in (run.experiment, before))
    assert figures == expected
