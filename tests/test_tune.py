"""A sweep of two trials on the tiny run."""

import json

import pytest

from nlift import evaluate, pipeline, tune
from nlift.config import load_experiment
from nlift.encoder import Encoder
from nlift.errors import ConfigError

SPACE = {"train.learning_rate": {"choice": [1e-4, 1e-3]}, "train.temperature": {"uniform": [0.04, 0.1]}}


@pytest.fixture(scope="module")
def swept(ray_session, tiny_run):
    experiment = tiny_run.override({"name": "swept", "tune": {"space": SPACE, "num_trials": 2, "metric": "ndcg@10"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_run.root.parent)  # as users write it: relative, while a trial runs in a folder of its own
        pipeline.run_tune(experiment.override({"output_dir": tiny_run.root.name}))
    return experiment


def test_every_trial_is_listed_with_what_it_tried(swept):
    content = json.loads((swept.folder / "tune" / "trials.json").read_text())
    assert content["metric"] == "ndcg@10" and len(content["trials"]) == 2
    for trial in content["trials"]:
        assert set(trial["config"]) == set(SPACE) and trial["error"] is None
        assert 0 <= trial["value"] <= 1


def test_the_best_is_kept_with_its_configuration(swept):
    trials = json.loads((swept.folder / "tune" / "trials.json").read_text())["trials"]
    best = load_experiment(swept.folder / "tune" / "best.yaml")
    top = max(trials, key=lambda trial: trial["value"])
    assert best.train.learning_rate == top["config"]["train.learning_rate"]
    assert Encoder.load(swept.folder / "tune" / "encoder").dim == Encoder.load("embedded").dim


def test_evaluate_and_index_take_the_promoted_encoder(swept):
    assert evaluate.tuned_stage(swept).name == "tune"
    kept = swept.override({"tune.promote": False})
    assert evaluate.tuned_stage(kept).name == "train"
    assert tune.stage(kept).done()


def test_a_second_sweep_does_nothing(swept):
    assert all(one.seconds == 0 for one in pipeline.run_tune(swept))


def test_no_section_tune(tiny_run):
    with pytest.raises(ConfigError, match="no section tune"):
        pipeline.run_tune(tiny_run.override({"tune": None}))
