"""A stage's folder: complete or not there, ours or left alone."""

import contextlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlift.artifacts import Stage, read_manifest, read_parquet, read_rows, replace_folder, write_json
from nlift.errors import ArtifactError, DataError
from nlift.schema import NLIPair, Score

PAIR = NLIPair("0", "A dog runs.", "An animal moves.", "entailment")


@pytest.fixture
def stage(tmp_path):
    return Stage("nli", tmp_path / "run" / "nli", {"limit": 1})


def write(stage, rows=(PAIR,), **options):
    with stage.writing(**options) as output:
        output.write_rows(list(rows), NLIPair)


def changed(stage):
    return Stage(stage.name, stage.folder, {"limit": 2})


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_come_back_and_the_manifest_says_what_they_are(stage):
    with stage.writing() as output:
        output.rows_in, output.notes = 3, {"extra": "note"}
        output.write_rows([PAIR], NLIPair)
    assert read_rows(stage.folder, NLIPair) == [PAIR]
    manifest = read_manifest(stage.folder)
    wanted = {"stage": "nli", "identity": {"limit": 1}, "rows_in": 3, "rows_out": 1, "quarantined": 0, "extra": "note"}
    assert manifest.items() >= wanted.items()
    assert manifest["fingerprint"] == stage.fingerprint and manifest["seconds"] >= 0
    assert manifest["packages"]["numpy"] and manifest["finished"] and "git_commit" in manifest


def test_nothing_stands_under_the_name_while_it_is_written(stage):
    with stage.writing() as output:
        output.write_rows([PAIR], NLIPair)
        assert not stage.folder.exists()
        assert output.path == stage.temporary and not (output.path / "manifest.json").exists()
    assert stage.done() and not stage.temporary.exists()


def test_the_manifest_is_written_last(stage, monkeypatch):
    before = []

    def spy(path, content):
        before.extend(sorted(one.name for one in path.parent.iterdir()))
        write_json(path, content)

    monkeypatch.setattr("nlift.artifacts.write_json", spy)
    with stage.writing() as output:
        output.quarantine({"a": 1}, "bad")
        output.write_rows([PAIR], NLIPair)
    assert before == ["quarantine.jsonl", "rows.parquet"]
    assert sorted(path.name for path in stage.folder.iterdir()) == ["manifest.json", *before]


def test_an_error_leaves_no_folder_of_the_stage(stage):
    with pytest.raises(ZeroDivisionError), stage.writing() as output:
        output.write_rows([PAIR], NLIPair)
        raise ZeroDivisionError
    assert not stage.folder.exists() and not stage.done()
    write(stage)
    assert stage.done()


def test_an_error_leaves_the_former_result_as_it_was(stage):
    write(stage)
    before = content(stage.folder)
    with pytest.raises(ZeroDivisionError), changed(stage).writing():
        raise ZeroDivisionError
    assert content(stage.folder) == before and stage.done()


def test_done_means_this_identity(stage):
    assert not stage.done()
    write(stage)
    assert stage.done()
    assert not changed(stage).done()
    assert not Stage("score", stage.folder, stage.identity).done()


def test_the_order_of_the_identity_does_not_matter(tmp_path):
    first, second = (Stage("a", tmp_path, identity) for identity in ({"x": 1, "y": 2}, {"y": 2, "x": 1}))
    assert first.fingerprint == second.fingerprint


def test_another_identity_replaces_the_folder_as_a_whole(stage):
    with stage.writing() as output:
        (output.path / "old.txt").write_text("old")
    write(changed(stage))
    assert changed(stage).done() and not (stage.folder / "old.txt").exists()
    assert [path.name for path in stage.folder.parent.iterdir()] == ["nli"]


def test_what_a_crash_left_of_another_identity_is_removed(stage):
    changed(stage).temporary.mkdir(parents=True)
    write(stage)
    assert [path.name for path in stage.folder.parent.iterdir()] == ["nli"]


def test_no_overwrite_keeps_another_result(stage):
    write(stage)
    before = content(stage.folder)
    with pytest.raises(ArtifactError, match=r"holds another result.*--no-overwrite"):
        write(changed(stage), overwrite=False)
    assert content(stage.folder) == before


def test_no_overwrite_writes_where_nothing_is(stage):
    write(stage, overwrite=False)
    assert stage.done()


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_that_is_not_ours_is_left_alone(stage, overwrite):
    stage.folder.mkdir(parents=True)
    (stage.folder / "thesis.tex").write_text("mine")
    with pytest.raises(ArtifactError, match="nlift did not write it"):
        write(stage, overwrite=overwrite)
    assert [path.name for path in stage.folder.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_corrupt_manifest(stage, text):
    stage.folder.mkdir(parents=True)
    (stage.folder / "manifest.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json: not a manifest of nlift; remove"):
        stage.done()


def test_a_file_in_place_of_the_stage(stage):
    stage.folder.parent.mkdir()
    stage.folder.write_text("mine")
    with pytest.raises(ArtifactError, match="nli"):
        write(stage)
    assert stage.folder.read_text() == "mine"


def test_a_file_in_place_of_the_run(stage):
    stage.folder.parent.write_text("mine")
    with pytest.raises(ArtifactError, match="a file stands where a folder is needed"):
        write(stage)


def test_bad_rows_are_set_aside_with_their_reason(stage):
    with stage.writing() as output:
        output.quarantine({"premise": "żółw"}, "no label")
        output.quarantine(PAIR, "too short")
    lines = [json.loads(line) for line in (stage.folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"reason": "no label", "row": {"premise": "żółw"}}
    assert lines[1]["reason"] == "too short" and lines[1]["row"]["pair_id"] == "0"
    assert read_manifest(stage.folder)["quarantined"] == 2


def test_the_quarantine_of_a_run_that_was_cut_is_not_kept(tmp_path):
    stage = Stage("nli", tmp_path / "nli", {})
    with contextlib.suppress(KeyboardInterrupt), stage.writing() as output:
        output.quarantine(PAIR, "too short")
        raise KeyboardInterrupt
    with stage.writing() as output:
        output.write_rows([PAIR], NLIPair)
    assert not (stage.folder / "quarantine.jsonl").exists()


def test_no_bad_rows_no_file(stage):
    write(stage)
    assert not (stage.folder / "quarantine.jsonl").exists()


def test_rows_of_a_stage_that_did_not_run(stage):
    with pytest.raises(ArtifactError, match="missing; run the stage nli first"):
        read_rows(stage.folder, NLIPair)


def test_rows_of_another_type(stage):
    write(stage)
    with pytest.raises(DataError, match=r"rows\.parquet: column 'key' is missing"):
        read_rows(stage.folder, Score)


@pytest.mark.parametrize("keep", [0, 3, 200])
def test_a_truncated_parquet_file(stage, keep):
    write(stage)
    path = stage.folder / "rows.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"rows\.parquet: not a readable Parquet file"):
        read_rows(stage.folder, NLIPair)


def test_a_parquet_file_with_a_damaged_page(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": [f"{i * 7919 % 100003} text" for i in range(5000)]}), path)
    damaged = bytearray(path.read_bytes())
    damaged[8:2000] = b"\xff" * 1992
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="not a readable Parquet file"):
        read_parquet(path)


def test_write_json_replaces_and_leaves_nothing_else(tmp_path):
    for value in ({"a": 1}, {"ż": 2}):
        write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"ż": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_replace_folder_takes_all_of_the_new_one(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["old", "old/new"]
