"""Reading NLI pairs from files of every form, bad rows set aside."""

import json
import logging

import pyarrow.parquet as pq
import pytest
from conftest import NLI_ROWS, write_file

from nlift.config import Experiment
from nlift.data import nli_rows
from nlift.data.files import read_rows
from nlift.data.schema import LABELS, NLIPair
from nlift.errors import DataError
from nlift.pipeline import nli, nli_work
from nlift.pipeline.stage_folder import Output
from nlift.settings import NLIConfig


def written(path, tmp_path, **settings):
    """What the stage makes of a file."""
    experiment = Experiment(name="a", output_dir=str(tmp_path), nli={"path": str(path), **settings})
    tmp_path.mkdir(exist_ok=True)
    output = Output(tmp_path)
    nli.STAGE.run(experiment, output)
    return read_rows(tmp_path, NLIPair), output


def set_aside(output):
    """The lines of the quarantine."""
    path = output.path / "quarantine.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_pairs_are_numbered_stripped_and_labelled(tmp_path):
    rows = [{"premise": " a ", "hypothesis": "b\u00a0", "label": label} for label in (0, 1, 2)]
    pairs, output = written(write_file(tmp_path / "x.jsonl", rows), tmp_path)
    assert [(pair.pair_id, pair.label) for pair in pairs] == [(f"{i:08d}", label) for i, label in enumerate(LABELS)]
    assert {(pair.premise, pair.hypothesis) for pair in pairs} == {("a", "b")}
    assert output.rows_in == 3


def test_bad_rows_are_set_aside_and_the_others_keep_their_number(tmp_path):
    good = NLI_ROWS[0]
    bad = [
        {**good, "premise": " "},
        {**good, "hypothesis": None},
        {**good, "label": "-"},
        {**good, "label": -1},
        {**good, "label": None},
        {**good, "label": "perhaps"},
    ]
    pairs, output = written(write_file(tmp_path / "x.jsonl", [*bad, good]), tmp_path)
    assert [pair.pair_id for pair in pairs] == ["00000006"]
    reasons = ["empty premise", "empty hypothesis", *["no gold label"] * 3, "unknown label 'perhaps'"]
    assert [line["reason"] for line in set_aside(output)] == reasons
    assert [line["where"] for line in set_aside(output)] == [f"{tmp_path / 'x.jsonl'}:{i}" for i in range(1, 7)]
    assert set_aside(output)[5]["row"]["premise"] == good["premise"]


def test_a_short_line_is_set_aside(tmp_path):
    (tmp_path / "x.tsv").write_text("premise\thypothesis\tlabel\na\nb\tc\tneutral\n")
    pairs, output = written(tmp_path / "x.tsv", tmp_path)
    assert [pair.premise for pair in pairs] == ["b"] and output.quarantined == 1


@pytest.mark.parametrize("text", ["", "premise\thypothesis\tlabel\n", "premise\thypothesis\tlabel\na\tb\t-\n"])
def test_no_usable_pair(tmp_path, text):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(DataError, match=r"x\.tsv: no usable pair in [01] rows"):
        written(tmp_path / "x.tsv", tmp_path)


def test_the_stage_depends_on_the_content_and_the_settings(tmp_path):
    path = write_file(tmp_path / "x.jsonl", NLI_ROWS)
    experiment = Experiment(name="a", output_dir=str(tmp_path), nli={"path": str(path)})
    first = nli.STAGE.folder(experiment).fingerprint
    assert nli.STAGE.folder(experiment.override({"nli.limit": 1})).fingerprint != first
    assert nli.STAGE.folder(experiment.override({"name": "b", "seed": 7})).fingerprint == first
    write_file(path, NLI_ROWS[:1])
    assert nli.STAGE.folder(experiment).fingerprint != first


def test_a_row_that_is_not_utf8_is_set_aside(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"premise\thypothesis\tlabel\ncaf\xe9\tb\t0\na\tb\t0\n")
    rows, output = written(tmp_path / "x.tsv", tmp_path)
    assert [row.premise for row in rows] == ["a"] and [line["reason"] for line in set_aside(output)] == [
        "not UTF-8 text; convert it to UTF-8"
    ]


def test_a_file_without_a_usable_row_says_why(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"premise\thypothesis\tlabel\ncaf\xe9\tb\t0\n")
    with pytest.raises(DataError, match="no usable pair in 1 rows; most often: not UTF-8 text"):
        written(tmp_path / "x.tsv", tmp_path)


def test_other_labels_are_left_out_and_counted(tmp_path):
    (tmp_path / "x.tsv").write_text("premise\thypothesis\tlabel\na\tb\t0\na\tc\t1\na\td\tcontradiction\n")
    rows, output = written(tmp_path / "x.tsv", tmp_path, labels=["entailment", "contradiction"])
    assert [row.hypothesis for row in rows] == ["b", "d"] and not output.quarantined


@pytest.mark.parametrize("labels", [("ENTAILMENT", "CONTRADICTION", "NEUTRAL"), ("E", "C", "N")])
def test_labels_of_other_names_are_said_with_the_setting_that_helps(tmp_path, labels):
    rows = [{"premise": "a", "hypothesis": "b", "label": label} for label in labels]
    path = write_file(tmp_path / "x.jsonl", rows)
    with pytest.raises(DataError, match=rf"no usable pair in 3 rows: labels are {labels[0]} \(1\), .*nli.label_names"):
        written(path, tmp_path)
    names = dict(zip(labels, ("entailment", "contradiction", "neutral"), strict=True))
    pairs, output = written(path, tmp_path / "again", label_names=names)
    assert [pair.label for pair in pairs] == ["entailment", "contradiction", "neutral"] and not output.quarantined


def test_what_was_read_is_counted_by_label_and_reason(tmp_path):
    labels = ["entailment", "contradictory", "contradictory", 2, "-"]
    rows = [{"premise": "a", "hypothesis": "b", "label": label} for label in labels]
    _, output = written(write_file(tmp_path / "x.jsonl", rows), tmp_path)
    assert output.notes["labels"] == {"entailment": 1, "contradictory": 2, "contradiction": 1, "-": 1}
    assert output.notes["set_aside"] == {"unknown label 'contradictory'": 2, "no gold label": 1}


def test_a_row_that_cannot_be_written_as_it_is_stops_nothing(tmp_path):
    good = '{"premise": "a", "hypothesis": "b", "label": 0}'
    (tmp_path / "x.jsonl").write_text(good.replace("a", "half \\ud83d", 1) + "\n" + good + "\n{oh\n")
    pairs, output = written(tmp_path / "x.jsonl", tmp_path)
    assert [pair.pair_id for pair in pairs] == ["00000001"]
    assert [line["reason"].split(" (")[0] for line in set_aside(output)] == [
        "holds half of a character",
        "not JSON; expected one object per line",
    ]


BAD_ROWS = [
    {"premise": " ", "hypothesis": "b", "label": "0"},
    {"premise": "a", "hypothesis": "b", "label": "?"},
]
MIXED = [*({**row, "label": str(row["label"])} for row in NLI_ROWS), *BAD_ROWS] * 40


def content(folder):
    """All that the stage wrote, byte for byte of the quarantine."""
    return read_rows(folder, NLIPair), (folder / "quarantine.jsonl").read_text()


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize("limit", [None, 77])
def test_workers_read_pieces_as_this_process_reads_the_whole(tmp_path, monkeypatch, ray_session, form, limit):
    paths = [write_file(tmp_path / f"{name}.{form}", MIXED) for name in "ab"]
    if form == "parquet":
        pq.write_table(pq.read_table(paths[0]), paths[0], row_group_size=7)
    elif form != "csv":
        paths[0].write_text(paths[0].read_text().replace("\n", "\n\n\n"))  # lines are not rows
    _, whole = written(tmp_path / f"*.{form}", tmp_path / "whole", limit=limit)
    monkeypatch.setattr(nli_rows, "PIECE_BYTES", 500)
    monkeypatch.setattr(nli_work, "FEW_ROWS", 0)
    monkeypatch.setattr(nli_work, "FEW_BYTES", 0)
    pieces = nli_rows.pieces(NLIConfig(path=str(tmp_path / f"*.{form}")))
    assert len(pieces) == 2 if form == "csv" else len(pieces) > 4
    _, cut = written(tmp_path / f"*.{form}", tmp_path / "cut", limit=limit)
    assert content(cut.path) == content(whole.path)
    assert (cut.rows_in, cut.rows_out, cut.notes) == (whole.rows_in, whole.rows_out, whole.notes)
    assert cut.rows_in == (limit or 2 * len(MIXED))


def test_files_that_are_small_together_are_read_by_this_process(tmp_path):
    for number in range(20):
        write_file(tmp_path / f"{number}.tsv", MIXED)
    config = NLIConfig(path=str(tmp_path / "*.tsv"))
    assert not nli_work.is_much(config) and len(nli_rows.pieces(config)) == 20


def test_a_notice_names_the_line_of_a_large_file_too(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(nli_rows, "PIECE_BYTES", 50)
    monkeypatch.setattr(logging.getLogger("nlift"), "propagate", True)
    begin = "premise\thypothesis\tlabel\n" + "a\tb\t0\n" * 20
    (tmp_path / "x.tsv").write_text(f'{begin}c\td\t"0\n0"\td\t1\n')
    written(tmp_path / "x.tsv", tmp_path)
    assert "a quoted text over several lines (until 23)" in caplog.text


@pytest.fixture
def data_set(tmp_path):
    """A data set of the library `datasets`, in three files."""
    (tmp_path / "set").mkdir()
    for number in range(3):
        write_file(tmp_path / "set" / f"train-{number}.jsonl", MIXED[: 20 + number])
    return tmp_path / "set"


def test_a_data_set_is_read_by_workers_shard_by_shard(tmp_path, monkeypatch, ray_session, data_set):
    config = NLIConfig(dataset=str(data_set))
    assert nli_rows.pieces(config) == [nli_rows.Shard(i, 3) for i in range(3)]
    outputs = []
    for name, few in (("here", 10**9), ("workers", 0)):
        monkeypatch.setattr(nli_work, "FEW_ROWS", few)
        experiment = Experiment(name="a", output_dir=str(tmp_path), nli={"dataset": str(data_set), "limit": 10**6})
        (tmp_path / name).mkdir()
        outputs.append(Output(tmp_path / name))
        nli.STAGE.run(experiment, outputs[-1])
    assert content(tmp_path / "workers") == content(tmp_path / "here")
    assert outputs[0].notes == outputs[1].notes and outputs[1].rows_in == 63


def test_a_mistake_that_a_worker_meets_is_said_as_it_is(tmp_path, monkeypatch, ray_session):
    monkeypatch.setattr(nli_rows, "PIECE_BYTES", 100)
    monkeypatch.setattr(nli_work, "FEW_BYTES", 0)
    (tmp_path / "x.tsv").write_text("premise\tlabel\n" + "a\t0\n" * 1000)
    with pytest.raises(DataError, match=r"x\.tsv:1: no column 'hypothesis'; found premise, label") as error:
        written(tmp_path / "x.tsv", tmp_path)
    assert "\n" not in str(error.value)


def test_a_file_of_a_uri_is_read_in_parts_by_any_machine(tmp_path, monkeypatch, ray_session):
    path = write_file(tmp_path / "x.jsonl", MIXED)
    monkeypatch.setattr(nli_rows, "PIECE_BYTES", 2000)
    monkeypatch.setattr(nli_work, "FEW_BYTES", 0)
    assert len(nli_rows.pieces(NLIConfig(path=f"file://{path}"))) > 4
    pairs, output = written(f"file://{path}", tmp_path / "out")
    assert pairs == written(path, tmp_path / "here")[0] and output.rows_in == len(MIXED)
    assert set_aside(output)[0]["where"] == f"file://{path}:{len(NLI_ROWS) + 1}"
