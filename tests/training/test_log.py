"""The log of a training run."""

import json

from nlift.training.log import TrainingLog


def test_what_was_logged_after_the_checkpoint_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    first = TrainingLog(tmp_path, 0)
    for step in range(1, 6):
        first.step(step, {"loss": 1.0}, 1e-3, 0.5)
    first.dev(4, {"ndcg@10": 0.5})
    first.close()
    path.write_text(path.read_text() + '{"step": 6, "lo')  # cut in the middle
    again = TrainingLog(tmp_path, 3)
    again.step(4, {"loss": 0.5}, 1e-3, 0.5)
    again.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and rows[-1]["loss"] == 0.5
    assert (tmp_path / "dev.jsonl").read_text() == ""
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_other_ranks_log_nothing(tmp_path):
    log = TrainingLog(None, 0)
    log.step(1, {"loss": 1.0}, 1e-3, 0.5)
    log.dev(1, {"map": 0.1})
    log.close()
    assert not list(tmp_path.iterdir())
