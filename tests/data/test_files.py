"""Reading and writing rows: tables of every form, Parquet that is damaged, files that are there whole or not at all."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import NLI_ROWS, write_file

from nlift.data.files import (
    append_jsonl,
    need_columns,
    read_jsonl,
    read_parquet,
    read_rows,
    read_table,
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


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "parquet"])
def test_every_form_gives_the_same_rows(tmp_path, form):
    assert list(read_table(write_file(tmp_path / f"pairs.{form}", NLI_ROWS))) == NLI_ROWS


def test_an_upper_case_suffix(tmp_path):
    assert list(read_table(write_file(tmp_path / "a.tsv", NLI_ROWS).rename(tmp_path / "A.TSV"))) == NLI_ROWS


def test_lines_may_end_as_on_windows(tmp_path):
    path = write_file(tmp_path / "pairs.tsv", NLI_ROWS)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert list(read_table(path)) == NLI_ROWS


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_a_long_text(tmp_path, form):
    rows = [{"_id": "0", "text": "x" * 200_000}]
    assert list(read_table(write_file(tmp_path / f"x.{form}", rows))) == rows


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path, form):
    path = write_file(tmp_path / f"x.{form}", NLI_ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_table(path)) == NLI_ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"a": 0}\n{oh\n', r"x\.jsonl:2: not JSON; expected one object per line"),
        ("x.jsonl", b"[1]\n", r"x\.jsonl:1: found list, expected one JSON object per line"),
        ("x.tsv", b"a\ncaf\xe9\n", r"x\.tsv: not UTF-8 text \(byte 5\); convert it to UTF-8"),
        ("x.doc", b"", r"x\.doc: found a \.doc file, expected \.tsv, \.csv, \.jsonl or \.parquet"),
        ("x", b"", r"found a nameless file"),
    ],
)
def test_files_not_in_the_form_promised(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_table(tmp_path / name))


def test_bytes_that_are_no_utf8_may_be_replaced(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"a\ncaf\xe9\n")
    assert list(read_table(tmp_path / "x.tsv", undecodable="replace")) == [{"a": "caf\ufffd"}]


def test_parquet_that_is_corrupt_inside(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist(NLI_ROWS * 500), path, compression="snappy")
    content = bytearray(path.read_bytes())
    content[8:200] = b"\xff" * 192
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.parquet: not a readable Parquet file"):
        list(read_table(path))


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    need_columns({"a": 1, "b": 2}, ["b", "a"], tmp_path / "x.tsv")
    with pytest.raises(DataError, match=r"x\.tsv:1: no column 'c'; found a, b; expected a, c"):
        need_columns({"a": 1, "b": 2}, ["a", "c"], tmp_path / "x.tsv")


def test_rows_come_back(stage):
    assert read_rows(stage, NLIPair) == [PAIR]
    assert [NLIPair(**row) for row in rows_on_disk(stage, NLIPair).to_table().to_pylist()] == [PAIR]


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
