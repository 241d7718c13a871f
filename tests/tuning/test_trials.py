"""What is kept of a trial, and which configuration wins."""

import json

from nlift.tuning.trials import Trial, ranked


def summary(config, seed, value, status="finished"):
    return {"config": {"x": config}, "seed": seed, "value": value, "status": status}


def test_the_mean_over_seeds_decides():
    rows = ranked(
        [summary(1, 1, 0.9), summary(1, 2, 0.1), summary(2, 1, 0.6), summary(2, 2, 0.7)], lower_is_better=False
    )
    assert [row["config"]["x"] for row in rows] == [2, 1]
    assert round(rows[0]["mean"], 4) == 0.65 and round(rows[0]["std"], 4) == 0.0707 and rows[0]["best_seed"] == 2
    assert ranked([summary(1, 1, 0.2), summary(2, 1, 0.1)], lower_is_better=True)[0]["config"]["x"] == 2


def test_a_lucky_seed_beside_a_failed_or_stopped_one_does_not_win():
    for status, value in (("failed", None), ("stopped", 0.2)):
        trials = [summary(1, 1, 0.9), summary(1, 2, value, status), summary(2, 1, 0.5), summary(2, 2, 0.5)]
        assert ranked(trials, lower_is_better=False)[0]["config"]["x"] == 2


def test_all_failed():
    (row,) = ranked([summary(1, 1, None, "failed")], lower_is_better=False)
    assert row["mean"] is None and row["best_seed"] is None and row["finished"] == 0


def test_a_history_cut_in_the_middle_of_a_line_and_steps_twice(tmp_path):
    trial = Trial.of({"x": 1}, 1, tmp_path)
    trial.folder.path.mkdir()
    rows = [
        {"step": 2, "value": 0.1, "checkpoint": None, "seconds": 1.0},
        {"step": 4, "value": 0.2, "checkpoint": None, "seconds": 2.0},
    ]
    for row in (*rows, {**rows[0], "value": 0.3}):
        trial.folder.report(row)
    with (trial.folder.path / "history.jsonl").open("a") as stream:
        stream.write(json.dumps(rows[1])[:9])
    assert [(row["step"], row["value"]) for row in trial.folder.history()] == [(2, 0.3), (4, 0.2)]


def test_how_it_ended_is_written_once(tmp_path):
    trial = Trial.of({"x": 1}, 1, tmp_path)
    trial.folder.end("failed", "why")
    trial.folder.end("finished")
    assert trial.folder.result() == {"status": "failed", "error": "why"}
    trial.folder.forget()
    assert trial.folder.result() == {}


def test_a_value_that_is_no_number_is_a_failure(tmp_path):
    trial = Trial.of({"x": 1}, 1, tmp_path)
    trial.folder.end("finished")
    trial.folder.report({"step": 2, "value": float("nan"), "checkpoint": None, "seconds": 1.0})
    assert trial.summary()["status"] == "failed" and trial.summary()["error"] == "the metric is nan at step 2"


def test_the_best_report_counts_where_its_checkpoint_is_kept(tmp_path):
    for keeps, value, name in ((None, 0.1, "c"), ("max", 0.3, "b"), ("min", 0.1, "c")):
        trial = Trial.of({"keeps": keeps}, 1, tmp_path)
        trial.folder.start({"name": "x"}, 6, keeps)
        for step, (value_seen, folder) in enumerate([(0.2, "a"), (0.3, "b"), (0.1, "c")]):
            (tmp_path / folder / "encoder").mkdir(parents=True, exist_ok=True)
            trial.folder.report(
                {"step": step, "value": value_seen, "checkpoint": str(tmp_path / folder), "seconds": 1.0}
            )
        trial.folder.end("finished")
        assert trial.summary()["value"] == value and trial.folder.encoder == tmp_path / name / "encoder"
        assert trial.summary()["steps"] == 2
        assert trial.folder.experiment() == {"name": "x"}
