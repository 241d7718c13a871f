"""Ray Train's snapshot of checkpoints: half of one is no end of a run."""

import json

import pytest

from nlift.training.ray_snapshot import SNAPSHOT, SnapshotKeeper, mend


@pytest.fixture
def folder(tmp_path):
    (tmp_path / SNAPSHOT).write_text(json.dumps({"latest": "checkpoint_1"}))
    SnapshotKeeper(tmp_path).after_report(None, [], checkpoint="checkpoint_1")
    return tmp_path


def test_half_a_snapshot_is_replaced_by_the_copy(folder):
    (folder / SNAPSHOT).write_text('{"latest": "chec')
    mend(folder)
    assert json.loads((folder / SNAPSHOT).read_text()) == {"latest": "checkpoint_1"}


def test_a_whole_snapshot_stays(folder):
    (folder / SNAPSHOT).write_text('{"latest": "checkpoint_2"}')
    mend(folder)
    assert json.loads((folder / SNAPSHOT).read_text()) == {"latest": "checkpoint_2"}


def test_a_report_without_a_checkpoint_is_not_copied(folder):
    (folder / SNAPSHOT).write_text("")
    SnapshotKeeper(folder).after_report(None, [], checkpoint=None)
    mend(folder)
    assert json.loads((folder / SNAPSHOT).read_text()) == {"latest": "checkpoint_1"}


def test_a_checkpoint_that_was_not_finished_is_removed(folder):
    (folder / SNAPSHOT).write_text('{"latest": "checkpoint_12"}')
    for name in ("checkpoint_1", "checkpoint_12", "checkpoint_123"):
        (folder / name).mkdir()
    mend(folder)
    assert [path.name for path in folder.glob("checkpoint_*/")] == ["checkpoint_12"]


def test_half_a_snapshot_without_a_copy_is_removed(tmp_path):
    (tmp_path / SNAPSHOT).write_text("")
    mend(tmp_path)
    assert not (tmp_path / SNAPSHOT).exists()


def test_a_run_that_has_not_begun(tmp_path):
    mend(tmp_path / "none")
    assert not (tmp_path / "none").exists()
