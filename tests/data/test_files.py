"""Reading and writing rows: Parquet that is damaged, files that are there whole or not at all."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlift.data.files import (
    append_jsonl,
    read_json,
    read_jsonl,
    read_parquet,
    read_rows,
    replace_folder,
    rows_on_disk,
    write_json,
    write_jsonl,
)
from nlift.data.schema import NLIPair, Score, to_table
from nlift.errors import ArtifactError, DataError

PAIR = NLIPair("0", "A dog runs.", "An animal moves.", "entailment")


@pytest.fixture
def stage(tmp_path):
    """The folder of a stage that wrote one pair."""
    folder = tmp_path / "nli"
    folder.mkdir()
    pq.write_table(to_table([PAIR], NLIPair), folder / "rows.parquet")
    return folder


def test_rows_come_back(stage):
    assert read_rows(stage, NLIPair) == [PAIR]
    assert [NLIPair(**row) for row in rows_on_disk(stage, NLIPair).to_table().to_pylist()] == [PAIR]


@pytest.mark.parametrize("text", ["", '{"a": ', "\x00"])
def test_json_that_is_damaged_is_named(tmp_path, text):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": [1, "ż"]})
    assert read_json(path) == {"a": [1, "ż"]}
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"metrics\.json: not readable JSON"):
        read_json(path)


@pytest.mark.parametrize("read", [read_rows, rows_on_disk])
def test_rows_of_a_stage_that_did_not_run(tmp_path, read):
    with pytest.raises(ArtifactError, match="missing; run the stage nli first"):
        read(tmp_path / "nli", NLIPair)


@pytest.mark.parametrize("read", [read_rows, rows_on_disk])
def test_rows_of_another_type(stage, read):
    with pytest.raises(DataError, match=r"rows\.parquet: column 'key' is missing"):
        read(stage, Score)


@pytest.mark.parametrize("read", [read_rows, rows_on_disk])
@pytest.mark.parametrize("keep", [0, 3, 200])
def test_a_truncated_parquet_file(stage, keep, read):
    path = stage / "rows.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"rows\.parquet: not a readable Parquet file") as caught:
        read(stage, NLIPair)
    assert "\n" not in str(caught.value)


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


def test_a_line_that_a_kill_cut_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_jsonl(path) == []
    write_jsonl(path, [{"step": 1}, {"step": 2, "text": "ż"}])
    append_jsonl(path, {"step": 3})
    with path.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert read_jsonl(path) == [{"step": 1}, {"step": 2, "text": "ż"}, {"step": 3}]


def test_replace_folder_takes_all_of_the_new_one(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["old", "old/new"]


def test_a_line_separator_in_a_text_ends_no_line(tmp_path):
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"text": "a\u2028b\x85c"})
    assert read_jsonl(path) == [{"text": "a\u2028b\x85c"}]


def test_half_of_a_character_is_written_as_its_escape(tmp_path):
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"text": "\ud83d"})
    write_jsonl(tmp_path / "all.jsonl", [{"text": "\ud83d"}])
    assert read_jsonl(path) == read_jsonl(tmp_path / "all.jsonl") == [{"text": "\ud83d"}]
