"""Sweeps on the tiny run: shared stages, seeds, failures, a kill, and what is left at the end."""

import json
import os
import signal
import time

import pytest
from conftest import started

from nlift import pipeline
from nlift.config import load_experiment
from nlift.errors import ConfigError, ModelError
from nlift.models.encoder import Encoder
from nlift.pipeline import tune
from nlift.pipeline.stage import StageResult
from nlift.pipeline.stage_folder import read_manifest
from nlift.pipeline.trial_data import variant_folders
from nlift.pipeline.tuned_encoder import tuned_stage
from nlift.report import console, html

SEEDS = {
    "space": {"train.temperature": {"uniform": [0.04, 0.1]}},
    "num_trials": 1,
    "seeds": [1, 2],
    "scheduler": "none",
}
GRID = {
    "space": {
        "triplets.side": {"choice": ["source"]},
        "train.learning_rate": {"choice": [1e-3, 1e12]},
    },
    "search": "grid",
    "metric": "uniformity",
}


@pytest.fixture(scope="module")
def swept(ray_session, tiny_run):
    """A configuration with two seeds."""
    experiment = tiny_run.override({"name": "swept", "tune": SEEDS, "train.num_workers": 1})  # both seeds at a time
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_run.root.parent)  # as users write it: relative, while a trial runs in a folder of its own
        pipeline.run_tune(experiment.override({"output_dir": tiny_run.root.name}))
    return experiment


@pytest.fixture(scope="module")
def gridded(ray_session, tiny_run):
    """Other triplets than the experiment's, by two learning rates, one of which explodes."""
    changes = {"train.checkpoint_every_steps": 1, "train.max_grad_norm": 1e12, "train.num_workers": 1}
    experiment = tiny_run.override({"name": "gridded", "tune": GRID, **changes})
    pipeline.run_tune(experiment)
    return experiment


def content(experiment):
    return json.loads((experiment.folder / "tune" / "trials.json").read_text())


def test_every_configuration_is_trained_with_every_seed(swept):
    sweep = content(swept)
    assert sweep["metric"] == "ndcg@10"
    (row,) = sweep["configurations"]
    assert {trial["seed"] for trial in sweep["trials"]} == {1, 2} and row["finished"] == 2
    assert row["mean"] == pytest.approx(sum(trial["value"] for trial in sweep["trials"]) / 2)
    for trial in sweep["trials"]:
        assert trial["error"] is None and trial["history"][-1] == [trial["steps"], trial["value"]]


def test_the_best_is_kept_with_its_whole_configuration(swept):
    first = content(swept)["configurations"][0]
    best = load_experiment(swept.folder / "tune" / "best.yaml")
    assert best.train.temperature == first["config"]["train.temperature"] and best.seed == first["best_seed"]
    assert Encoder.load(swept.folder / "tune" / "encoder").dim == Encoder.load("embedded").dim
    assert html.write(swept).read_text().count("</svg>") >= 3


def test_evaluate_and_index_take_the_promoted_encoder(swept):
    assert tuned_stage(swept).name == "tune"
    kept = swept.override({"tune.promote": False})
    assert tuned_stage(kept).name == "train"
    assert tune.STAGE.folder(kept).done()


@pytest.mark.parametrize(("ran", "named"), [(["train", "index"], "tune"), (["train"], "train")])
def test_the_encoder_that_is_used_is_the_one_that_is_named(swept, capsys, ran, named):
    console.show_run(swept, [StageResult(name, 0.0, {}) for name in ran])
    assert f"encoder  {swept.folder / named / 'encoder'}" in capsys.readouterr().out


def test_a_second_sweep_does_nothing(swept):
    assert all(result.seconds == 0 for result in pipeline.run_tune(swept))


def test_a_trial_that_fails_does_not_end_the_sweep(gridded):
    good, bad = sorted(content(gridded)["trials"], key=lambda trial: trial["config"]["train.learning_rate"])
    assert bad["status"] == "failed" and "lower train.learning_rate" in bad["error"] and "trials.json" in bad["error"]
    assert len(bad["failed_batch"]["pair_ids"]) == gridded.train.global_batch_size
    assert good["status"] == "finished" and good["value"] < 0 and len(good["history"]) > 1
    assert load_experiment(gridded.folder / "tune" / "best.yaml").train.learning_rate == 1e-3
    assert read_manifest(gridded.folder / "tune")["failed"] == 1


def test_nothing_is_left_of_trials_data(gridded):
    assert not variant_folders(gridded)
    assert sorted(path.name for path in (gridded.folder / "tune").iterdir()) == [
        "best.yaml",
        "encoder",
        "manifest.json",
        "trials.json",
    ]


def test_no_placement_group_is_left(swept, gridded):
    from ray.util import placement_group_table

    assert {group["state"] for group in placement_group_table().values()} <= {"REMOVED"}


@pytest.mark.slow
def test_all_trials_failed(ray_session, tiny_run):
    space = {"train.learning_rate": {"choice": [1e12]}}
    experiment = tiny_run.override({"name": "hopeless", "tune": {"space": space}, "train.max_grad_norm": 1e12})
    with pytest.raises(
        ModelError, match=r"tune: all 1 trials failed; the first: train: the .* lower train.learning_rate"
    ):
        pipeline.run_tune(experiment)


def test_no_section_tune(tiny_run):
    with pytest.raises(ConfigError, match="no section tune"):
        pipeline.run_tune(tiny_run.override({"tune": None}))


@pytest.mark.slow
def test_a_trial_that_is_behind_is_stopped_and_its_cpus_are_freed(address_of_another_ray, tiny_run):
    """One after the other: the second is no better at the first step and ends there.

    Whatever other Ray this machine had.
    """
    space = {"train.learning_rate": {"choice": [1e-3, 1e-9]}}
    sweep = {"space": space, "search": "grid", "metric": "alignment"}
    experiment = tiny_run.override({"name": "behind", "tune": sweep, "train.checkpoint_every_steps": 1})
    pipeline.run_tune(experiment)
    by_rate = {trial["config"]["train.learning_rate"]: trial["status"] for trial in content(experiment)["trials"]}
    assert by_rate[1e-9] == "stopped"
    end = time.monotonic() + 30  # Ray sees to a stopped trial's group after the trial is gone
    while placement_groups() != {"REMOVED"} and time.monotonic() < end:
        time.sleep(0.5)
    assert placement_groups() == {"REMOVED"}


@pytest.mark.slow
@pytest.mark.parametrize("search", ["random", "optuna"])
def test_a_killed_sweep_goes_on(tiny_run, tmp_path, search):
    """Trials that had ended are not trained again, and none is lost."""
    sweep = {"space": SEEDS["space"], "num_trials": 3, "search": search, "scheduler": "none"}
    experiment = tiny_run.override({"name": "killed", "tune": sweep, "output_dir": str(tmp_path)})
    (tmp_path / "experiment.json").write_text(experiment.model_dump_json())
    process = start(tmp_path)
    end = time.monotonic() + 300
    while not (ended := results(experiment)):
        assert process.poll() is None and time.monotonic() < end, (tmp_path / "output").read_text()[-3000:]
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in ended}
    first = next(iter(before))
    lines = (first.parent / "history.jsonl").read_text()
    time.sleep(2)
    again = start(tmp_path)
    while again.poll() is None and first.exists():
        assert first.stat().st_mtime_ns == before[first] and (first.parent / "history.jsonl").read_text() == lines
        time.sleep(0.2)
    assert again.wait(300) == 0, (tmp_path / "output").read_text()[-3000:]
    trials = content(experiment)["trials"]
    assert len(trials) == 3 and all(trial["status"] == "finished" for trial in trials)
    assert json.loads(lines.splitlines()[-1])["value"] in [trial["value"] for trial in trials]


def placement_groups():
    """States of all placement groups that this Ray had."""
    from ray.util import placement_group_table

    return {group["state"] for group in placement_group_table().values()}


def results(experiment):
    return list(experiment.folder.glob("tune.tmp-*/trials/*/result.json"))


def start(folder):
    return started("run_experiment.py", folder, "tune", folder / "experiment.json")
