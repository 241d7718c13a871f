"""Training under Ray Train: the same weights whatever dies, the best checkpoint, errors of one line."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import started
from safetensors.torch import load_file

from nlift import pipeline
from nlift.config import Experiment
from nlift.data.files import read_rows
from nlift.data.schema import Triplet
from nlift.data.sources import EMBEDDED
from nlift.errors import NliftError, ResourceError
from nlift.models.encoder import Encoder
from nlift.pipeline import train
from nlift.pipeline.stage import run_stage
from nlift.pipeline.stage_folder import read_manifest
from nlift.pipeline.train import before_training
from nlift.training import checkpoints, trainer
from nlift.training.ray_snapshot import SNAPSHOT

STEPS, EVERY = 24, 4
LIMIT_S = 240
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed else []) for seed in range(5)]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Training on English triplets, watched on sentence pairs."""
    folder = tmp_path_factory.mktemp("train")
    lines = (EMBEDDED / "data" / "stsb_pl.tsv").read_text().splitlines()[:201]
    (folder / "sts.tsv").write_text("\n".join(lines) + "\n")
    settings = {
        "name": "run",
        "output_dir": str(folder / "runs"),
        "cluster": {"num_cpus": 2},
        "nli": {"path": "embedded", "limit": 400},
        "translate": None,
        "score": None,
        "triplets": {"require_negative": False},
        "train": {
            "learning_rate": 1e-3,
            "global_batch_size": 8,
            "epochs": 100,
            "num_workers": 2,
            "checkpoint_every_steps": EVERY,
            "dev": "pairs",
        },
        "evaluate": {"sets": [{"name": "pairs", "kind": "sts", "path": str(folder / "sts.tsv")}]},
    }
    made = Experiment.model_validate(settings)
    for stage in before_training(made):
        run_stage(stage, made)
    rows = len(read_rows(made.folder / "triplets", Triplet))
    return made.override({"train.epochs": (STEPS + 0.1) / (rows // 8)})


def trained(experiment, name, changes=None):
    """The experiment under another name, trained in this process."""
    run = experiment.override({"name": name, **(changes or {})})
    pipeline.run(run, ["nli", "triplets", "train"])
    return run


@pytest.fixture(scope="module")
def undisturbed(ray_session, experiment):
    return trained(experiment, "undisturbed")


def weights(experiment):
    return load_file(experiment.folder / "train" / "encoder" / "model.safetensors")


def kept(result, experiment):
    """Weights of the encoder that counts."""
    with checkpoints.best(result, experiment.train)[0].as_directory() as folder:
        return load_file(Path(folder) / "encoder" / "model.safetensors")


def steps_logged(folder):
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def same(first, second):
    return all((first[name] == second[name]).all() for name in first) and first.keys() == second.keys()


def start(experiment, folder):
    (folder / "experiment.json").write_text(experiment.model_dump_json())
    return started("run_experiment.py", folder, "nli,triplets,train", folder / "experiment.json")


def wait_for_step(experiment, step, process, folder):
    """Wait until the log has the step, and a checkpoint before it can have been saved."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        assert process.poll() is None, (folder / "output").read_text()[-3000:]
        for log in experiment.folder.glob("train.tmp-*/log.jsonl"):
            if log.read_text().count("\n") >= step:
                return
        time.sleep(0.005)
    raise AssertionError((folder / "output").read_text()[-3000:])


def train_workers(driver):
    """Process ids of the Ray Train workers that descend from a driver."""
    command = ["ps", "-eo", "pid=,ppid=,args="]
    listed = [
        line.split(None, 2) for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    ]
    parents = {int(pid): int(parent) for pid, parent, *_ in listed}

    def descends(pid):
        while pid in parents and pid != driver:
            pid = parents[pid]
        return pid == driver

    return [int(pid) for pid, _, *args in listed if "RayTrainWorker" in "".join(args) and descends(int(pid))]


def finish(process, folder):
    assert process.wait(LIMIT_S) == 0, (folder / "output").read_text()[-3000:]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_driver_and_then_a_killed_worker_change_nothing(undisturbed, experiment, tmp_path, seed):
    rng, run = random.Random(seed), experiment.override({"output_dir": str(tmp_path), "name": "run"})
    process = start(run, tmp_path)
    wait_for_step(run, rng.randrange(EVERY + 1, STEPS // 2), process, tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)  # Ray's processes see that their driver is gone
    (log,) = run.folder.glob("train.tmp-*/log.jsonl")
    before = len(steps_logged(log.parent))
    assert EVERY < before < STEPS - EVERY
    process = start(run, tmp_path)
    wait_for_step(run, before + 1 + rng.randrange(STEPS - EVERY - before), process, tmp_path)
    workers = train_workers(process.pid)
    assert len(workers) == 2
    os.kill(rng.choice(workers), signal.SIGKILL)
    finish(process, tmp_path)
    assert same(weights(run), weights(undisturbed))
    assert steps_logged(run.folder / "train") == list(range(1, STEPS + 1))
    assert log.parent != run.folder / "train" and not log.exists()


@pytest.mark.slow  # what was killed, or had no room, shows it too
def test_the_same_seed_gives_the_same_weights(undisturbed, experiment):
    assert same(weights(trained(experiment, "again")), weights(undisturbed))


@pytest.mark.slow
def test_another_seed_gives_other_weights(undisturbed, experiment):
    assert not same(weights(trained(experiment, "other", {"seed": 2})), weights(undisturbed))


def test_curves_are_kept(undisturbed):
    folder = undisturbed.folder / "train"
    assert steps_logged(folder) == list(range(1, STEPS + 1))
    dev = [json.loads(line) for line in (folder / "dev.jsonl").read_text().splitlines()]
    assert [row["step"] for row in dev] == list(range(EVERY, STEPS + 1, EVERY))
    assert all({"spearman", "pearson", "uniformity"} < row.keys() for row in dev)
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))


def test_the_best_checkpoint_is_kept_and_patience_ends_the_run(ray_session, experiment, tmp_path):
    """At a huge learning rate the first measurement is the best one."""
    changes = {
        "train.metric": "spearman",
        "train.patience": 2,
        "train.learning_rate": 0.05,
        "train.warmup_share": 0,
        "train.storage": f"file://{tmp_path}/checkpoints",
        "train.mode": "unsupervised",
        "train.device_batch_size": 2,
        "train.mlp_head": "training",
        "train.base_share": 0.5,
    }
    run = trained(experiment, "patient", changes)
    manifest = read_manifest(run.folder / "train")
    dev = [json.loads(line) for line in (run.folder / "train" / "dev.jsonl").read_text().splitlines()]
    best = max(dev, key=lambda row: row["spearman"])
    assert manifest["best_step"] == best["step"] and manifest["steps"] == dev[-1]["step"] < manifest["planned_steps"]
    assert len(dev) - 1 - dev.index(best) == 2
    assert manifest["metrics"]["spearman"] == pytest.approx(best["spearman"])
    encoder = Encoder.load(run.folder / "train" / "encoder")
    assert not encoder.mlp_head
    assert not list((tmp_path / "checkpoints").glob("*"))


@pytest.mark.slow  # killed and resumed runs show most of it
@pytest.mark.parametrize(
    "changes", [{"train.metric": "spearman", "train.patience": 1, "train.learning_rate": 0.05}, {}]
)
def test_a_run_cut_after_its_last_checkpoint_ends_as_it_would_have(ray_session, experiment, tmp_path, changes):
    """Its storage is there, its result was not taken: nothing is trained or logged again."""
    run = experiment.override({"name": "cut", **changes})
    for stage in before_training(run):
        run_stage(stage, run)
    settings = train.loop_settings(run, tmp_path)
    first = trainer.fit(settings, storage=tmp_path / "ray", cluster_config=run.cluster)
    before = kept(first, run)
    logged = [(tmp_path / name).read_text() for name in ("log.jsonl", "dev.jsonl")]
    again = trainer.fit(settings, storage=tmp_path / "ray", cluster_config=run.cluster)
    assert [(tmp_path / name).read_text() for name in ("log.jsonl", "dev.jsonl")] == logged
    assert again.metrics == first.metrics
    assert same(kept(again, run), before)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run_at_once(ray_session, experiment):
    run = experiment.override({"name": "exploded", "train.learning_rate": 1e12, "train.max_grad_norm": 1e12})
    with pytest.raises(NliftError, match=r"train: the (loss|gradient's norm) is (nan|inf) at step \d+, learning rate"):
        pipeline.run(run, ["nli", "triplets", "train"])
    (batch,) = run.folder.glob("train.tmp-*/failed_batch.json")
    assert len(json.loads(batch.read_text())["pair_ids"]) == 8
    assert len(steps_logged(batch.parent)) < STEPS  # and was not tried again
    assert not (run.folder / "train").exists()


def test_a_gpu_where_none_is(ray_session, experiment):
    with pytest.raises(ResourceError, match="the cluster has 0 GPUs"):
        trained(experiment, "gpu", {"train.use_gpu": True})


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a small disk")
def test_a_full_disk_keeps_the_checkpoint_before(undisturbed, experiment, tmp_path):
    """A disk with room for one checkpoint: the one before is there while the next is written."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        filler = small / "filler"
        run = experiment.override({"name": "full", "train.storage": str(small), "train.epochs": 100})
        filler.write_bytes(b"0" * 2**20 * 130)
        what = (
            r"train: the (checkpoint of step \d+|record of the checkpoints) cannot be written .*training goes on from"
        )
        with pytest.raises(NliftError, match=what):
            trained(experiment, "full", {"train.storage": str(small)})
        assert list(small.glob("*/simcse/checkpoint_*/state.pt"))
        filler.unlink()
        (record,) = small.glob(f"*/simcse/{SNAPSHOT}")
        os.truncate(record, record.stat().st_size // 2)  # as the full disk may have left it
        trained(experiment, "full", {"train.storage": str(small)})
        assert same(weights(run), weights(undisturbed))
    finally:
        subprocess.run(["umount", "-l", str(small)])


def test_identity_leaves_out_what_changes_speed_alone(experiment):
    fingerprint = train.STAGE.folder(experiment).fingerprint
    assert (
        train.STAGE.folder(experiment.override({"train.cpus_per_worker": 1, "train.storage": "/x"})).fingerprint
        == fingerprint
    )
    assert train.STAGE.folder(experiment.override({"train.device_batch_size": 2})).fingerprint != fingerprint
