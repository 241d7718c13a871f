"""A stage's folder: complete or not there, ours or left alone."""

import contextlib
import json

import pytest

from nlift.config import Experiment
from nlift.data.files import read_rows, write_json
from nlift.data.schema import NLIPair, Triplet
from nlift.errors import ArtifactError
from nlift.pipeline import STAGES, train
from nlift.pipeline.stage import Stage, in_order, run_stage
from nlift.pipeline.stage_folder import StageFolder, read_manifest

PAIR = NLIPair("0", "A dog runs.", "An animal moves.", "entailment")


@pytest.fixture
def stage(tmp_path):
    return StageFolder("nli", tmp_path / "run" / "nli", {"limit": 1})


def write(stage, rows=(PAIR,), **options):
    with stage.writing(**options) as output:
        output.write_rows(list(rows), NLIPair)


def changed(stage):
    return StageFolder(stage.name, stage.path, {"limit": 2})


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_come_back_and_the_manifest_says_what_they_are(stage):
    with stage.writing() as output:
        output.rows_in, output.notes = 3, {"extra": "note"}
        output.write_rows([PAIR], NLIPair)
    assert read_rows(stage.path, NLIPair) == [PAIR]
    manifest = read_manifest(stage.path)
    wanted = {"stage": "nli", "identity": {"limit": 1}, "rows_in": 3, "rows_out": 1, "quarantined": 0, "extra": "note"}
    assert manifest.items() >= wanted.items()
    assert manifest["fingerprint"] == stage.fingerprint and manifest["seconds"] >= 0
    assert manifest["packages"]["numpy"] and manifest["finished"] and "git_commit" in manifest


def test_nothing_stands_under_the_name_while_it_is_written(stage):
    with stage.writing() as output:
        output.write_rows([PAIR], NLIPair)
        assert not stage.path.exists()
        assert output.path == stage.temporary and not (output.path / "manifest.json").exists()
    assert stage.done() and not stage.temporary.exists()


def test_the_manifest_is_written_last(stage, monkeypatch):
    before = []

    def spy(path, content):
        before.extend(sorted(file.name for file in path.parent.iterdir()))
        write_json(path, content)

    monkeypatch.setattr("nlift.pipeline.stage_folder.write_json", spy)
    with stage.writing() as output:
        output.quarantine({"a": 1}, "bad")
        output.write_rows([PAIR], NLIPair)
    assert before == ["quarantine.jsonl", "rows.parquet"]
    assert sorted(path.name for path in stage.path.iterdir()) == ["manifest.json", *before]


def test_an_error_leaves_no_folder_of_the_stage(stage):
    with pytest.raises(ZeroDivisionError), stage.writing() as output:
        output.write_rows([PAIR], NLIPair)
        raise ZeroDivisionError
    assert not stage.path.exists() and not stage.done()
    write(stage)
    assert stage.done()


def test_an_error_leaves_the_former_result_as_it_was(stage):
    write(stage)
    before = content(stage.path)
    with pytest.raises(ZeroDivisionError), changed(stage).writing():
        raise ZeroDivisionError
    assert content(stage.path) == before and stage.done()


def test_done_means_this_identity(stage):
    assert not stage.done()
    write(stage)
    assert stage.done()
    assert not changed(stage).done()
    assert not StageFolder("score", stage.path, stage.identity).done()


def test_the_order_of_the_identity_does_not_matter(tmp_path):
    first, second = (StageFolder("a", tmp_path, identity) for identity in ({"x": 1, "y": 2}, {"y": 2, "x": 1}))
    assert first.fingerprint == second.fingerprint


def test_another_identity_replaces_the_folder_as_a_whole(stage):
    with stage.writing() as output:
        (output.path / "old.txt").write_text("old")
    write(changed(stage))
    assert changed(stage).done() and not (stage.path / "old.txt").exists()
    assert [path.name for path in stage.path.parent.iterdir()] == ["nli"]


def test_what_a_crash_left_of_another_identity_is_removed(stage):
    changed(stage).temporary.mkdir(parents=True)
    write(stage)
    assert [path.name for path in stage.path.parent.iterdir()] == ["nli"]


def test_no_overwrite_keeps_another_result(stage):
    write(stage)
    before = content(stage.path)
    with pytest.raises(ArtifactError, match=r"holds another result.*--no-overwrite"):
        write(changed(stage), overwrite=False)
    assert content(stage.path) == before


def test_no_overwrite_writes_where_nothing_is(stage):
    write(stage, overwrite=False)
    assert stage.done()


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_that_is_not_ours_is_left_alone(stage, overwrite):
    stage.path.mkdir(parents=True)
    (stage.path / "thesis.tex").write_text("mine")
    with pytest.raises(ArtifactError, match="nlift did not write it"):
        write(stage, overwrite=overwrite)
    assert [path.name for path in stage.path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_corrupt_manifest(stage, text):
    stage.path.mkdir(parents=True)
    (stage.path / "manifest.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json: not a manifest of nlift; remove"):
        stage.done()


def test_a_file_in_place_of_the_stage(stage):
    stage.path.parent.mkdir()
    stage.path.write_text("mine")
    with pytest.raises(ArtifactError, match="nli"):
        write(stage)
    assert stage.path.read_text() == "mine"


def test_a_file_in_place_of_the_run(stage):
    stage.path.parent.write_text("mine")
    with pytest.raises(ArtifactError, match="a file stands where a folder is needed"):
        write(stage)


def test_bad_rows_are_set_aside_with_their_reason(stage):
    with stage.writing() as output:
        output.quarantine({"premise": "żółw"}, "no label")
        output.quarantine(PAIR, "too short")
    lines = [json.loads(line) for line in (stage.path / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"reason": "no label", "row": {"premise": "żółw"}}
    assert lines[1]["reason"] == "too short" and lines[1]["row"]["pair_id"] == "0"
    assert read_manifest(stage.path)["quarantined"] == 2


def test_the_quarantine_of_a_run_that_was_cut_is_not_kept(tmp_path):
    stage = StageFolder("nli", tmp_path / "nli", {})
    with contextlib.suppress(KeyboardInterrupt), stage.writing() as output:
        output.quarantine(PAIR, "too short")
        raise KeyboardInterrupt
    with stage.writing() as output:
        output.write_rows([PAIR], NLIPair)
    assert not (stage.path / "quarantine.jsonl").exists()


def test_no_bad_rows_no_file(stage):
    write(stage)
    assert not (stage.path / "quarantine.jsonl").exists()


class Short(Stage):
    """A stage that nobody knows: the triplets whose anchor is short."""

    name = "short"
    reads = Triplet
    writes = Triplet

    def identity(self, experiment):
        return {"inputs": [self.upstream(experiment).folder(experiment).fingerprint]}

    def run(self, experiment, output):
        rows = read_rows(self.upstream(experiment).path(experiment), Triplet)
        output.rows_in = len(rows)
        output.write_rows([row for row in rows if len(row.anchor) <= 40], Triplet)


@pytest.fixture
def short():
    """The stage at its place before training; afterwards the order is as it was."""
    new, position = Short(), STAGES.index(train.STAGE)
    in_order(*STAGES[:position], new, *STAGES[position:])
    yield new
    in_order(*STAGES)


@pytest.fixture
def english(tmp_path):
    """An experiment of four stages that need no Ray."""
    cloze = {"corpus": "embedded:poquad_pl", "pairs_per_document": 1, "limit": 50}
    raw = {"name": "a", "output_dir": str(tmp_path), "nli": {"path": "embedded", "limit": 300}, "cloze": cloze}
    return Experiment.model_validate({**raw, "translate": None, "score": None})


def test_a_stage_finds_what_is_upstream_by_its_rows(english):
    assert [stage.name for stage in train.STAGE.lineage(english)] == ["nli", "triplets", "cloze"]
    without = english.override({"cloze": None})
    assert [stage.name for stage in train.STAGE.lineage(without)] == ["nli", "triplets"]
    whole = english.override({"translate": {}, "score": {}, "mine": {"encoder": "embedded"}})
    names = [stage.name for stage in train.STAGE.lineage(whole)]
    assert names == ["nli", "translate", "score", "triplets", "mine", "cloze"]
    assert [stage.name for stage in STAGES] == [*names, "train", "tune", "evaluate", "index"]


def test_a_new_stage_is_taken_in_without_a_word(english, short):
    before = train.STAGE.folder(english.override({"name": "b"})).fingerprint
    assert [stage.name for stage in train.STAGE.lineage(english)] == ["nli", "triplets", "cloze", "short"]
    for stage in train.STAGE.lineage(english):
        run_stage(stage, english)
    anchors = [row.anchor for row in read_rows(short.path(english), Triplet)]
    assert anchors
    assert max(map(len, anchors)) <= 40 < max(len(row.anchor) for row in read_rows(english.folder / "cloze", Triplet))
    in_order(*STAGES)
    assert train.STAGE.folder(english.override({"name": "b"})).fingerprint != before
