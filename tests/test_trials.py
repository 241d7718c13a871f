"""What is kept of a trial, and which configuration wins."""

import json

import pytest

from nlift.config import Experiment
from nlift.trials import Trial, ranked


@pytest.fixture
def tiny_experiment():
    return Experiment.model_validate({"name": "x", "nli": {"path": "pairs.tsv"}})


def trial(config, seed, value, status="finished"):
    return {"config": {"x": config}, "seed": seed, "value": value, "status": status}


def test_the_mean_over_seeds_decides():
    rows = ranked([trial(1, 1, 0.9), trial(1, 2, 0.1), trial(2, 1, 0.6), trial(2, 2, 0.7)], lower_is_better=False)
    assert [row["config"]["x"] for row in rows] == [2, 1]
    assert round(rows[0]["mean"], 4) == 0.65 and round(rows[0]["std"], 4) == 0.0707 and rows[0]["best_seed"] == 2
    assert ranked([trial(1, 1, 0.2), trial(2, 1, 0.1)], lower_is_better=True)[0]["config"]["x"] == 2


def test_a_lucky_seed_beside_a_failed_or_stopped_one_does_not_win():
    for status, value in (("failed", None), ("stopped", 0.2)):
        found = [trial(1, 1, 0.9), trial(1, 2, value, status), trial(2, 1, 0.5), trial(2, 2, 0.5)]
        assert ranked(found, lower_is_better=False)[0]["config"]["x"] == 2


def test_all_failed():
    (row,) = ranked([trial(1, 1, None, "failed")], lower_is_better=False)
    assert row["mean"] is None and row["best_seed"] is None and row["finished"] == 0


def test_a_history_cut_in_the_middle_of_a_line_and_steps_twice(tmp_path):
    one = Trial.of({"x": 1}, 1, tmp_path)
    one.folder.mkdir()
    rows = [
        {"step": 2, "value": 0.1, "checkpoint": None, "seconds": 1.0},
        {"step": 4, "value": 0.2, "checkpoint": None, "seconds": 2.0},
    ]
    for row in (*rows, {**rows[0], "value": 0.3}):
        one.report(row)
    with (one.folder / "history.jsonl").open("a") as stream:
        stream.write(json.dumps(rows[1])[:9])
    assert [(row["step"], row["value"]) for row in one.history()] == [(2, 0.3), (4, 0.2)]


def test_how_it_ended_is_written_once(tmp_path):
    one = Trial.of({"x": 1}, 1, tmp_path)
    one.end("failed", "why")
    one.end("finished")
    assert one.result() == {"status": "failed", "error": "why"}
    one.forget()
    assert one.result() == {}


def test_a_value_that_is_no_number_is_a_failure(tmp_path):
    one = Trial.of({"x": 1}, 1, tmp_path)
    one.end("finished")
    one.report({"step": 2, "value": float("nan"), "checkpoint": None, "seconds": 1.0})
    assert one.summary()["status"] == "failed" and one.summary()["error"] == "the metric is nan at step 2"


def test_the_best_report_counts_where_its_checkpoint_is_kept(tmp_path, tiny_experiment):
    for keeps, value, name in ((None, 0.1, "c"), ("max", 0.3, "b"), ("min", 0.1, "c")):
        one = Trial.of({"keeps": keeps}, 1, tmp_path)
        one.start(tiny_experiment, 6, keeps)
        for step, (found, folder) in enumerate([(0.2, "a"), (0.3, "b"), (0.1, "c")]):
            (tmp_path / folder / "encoder").mkdir(parents=True, exist_ok=True)
            one.report({"step": step, "value": found, "checkpoint": str(tmp_path / folder), "seconds": 1.0})
        one.end("finished")
        assert one.summary()["value"] == value and one.encoder == tmp_path / name / "encoder"
        assert one.summary()["steps"] == 2
