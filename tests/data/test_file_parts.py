"""Parts of files: together they are the whole, wherever the cuts fall."""

import json

import pytest
from conftest import NLI_ROWS, write_file

from nlift.data.file_parts import FilePart, parts
from nlift.data.remote import RemoteFile
from nlift.data.table import read_table

ROWS = [{**row, "premise": f"{row['premise']} {i} zażółć"} for i in range(9) for row in NLI_ROWS]


def values(files):
    return [row.values for file in files for row in read_table(file, faulty="keep")]


@pytest.mark.parametrize("form", ["tsv", "jsonl", "parquet", "csv"])
@pytest.mark.parametrize("most_bytes", [1, 7, 64, 500, 1_000_000])
@pytest.mark.parametrize("remote", [False, True])
def test_together_they_are_the_file(tmp_path, form, most_bytes, remote):
    path = write_file(tmp_path / f"x.{form}", ROWS)
    file = RemoteFile(f"file://{path}") if remote else path
    cut = parts(file, most_bytes)
    assert values(cut) == values([path]) and {str(part) for part in cut} == {str(file)}
    if form in ("tsv", "jsonl"):
        assert len(cut) == 1 if most_bytes == 1_000_000 else len(cut) > 1
        parted = [part for part in cut if isinstance(part, FilePart)]
        assert not parted or sum(part.lines() for part in parted) == path.read_text().count("\n")


@pytest.mark.parametrize("most_bytes", range(1, 60))
def test_a_table_with_blank_lines_a_mark_at_its_beginning_and_no_end(tmp_path, most_bytes):
    (tmp_path / "x.tsv").write_bytes("\ufeff\n \t\r\na\tb\r\n\n\n\n1\t2\r\n\n3\t4\n\n\n\n\n\n5\tć".encode())
    cut = parts(tmp_path / "x.tsv", most_bytes)
    assert values(cut) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"a": "5", "b": "ć"}]


def test_parquet_is_cut_between_its_row_groups(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"a": [str(i) for i in range(100)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=10)
    cut = parts(tmp_path / "x.parquet", 1)
    assert [(part.start, part.end) for part in cut] == [(i, i + 1) for i in range(10)]
    assert values(cut) == table.to_pylist()
    assert values(parts(tmp_path / "x.parquet", 250)) == table.to_pylist()


def test_what_is_damaged_is_told_by_its_reader(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no Parquet at all, and longer than a part")
    assert parts(tmp_path / "x.parquet", 5) == [tmp_path / "x.parquet"]


def test_a_line_longer_than_a_part_is_whole(tmp_path):
    lines = [{"a": "x" * 200_000}, {"a": "y"}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cut = parts(tmp_path / "x.jsonl", 1000)
    assert len(cut) == 2 and values(cut) == lines
