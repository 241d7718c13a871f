"""Tables as people bring them: what is read as it stands, what is set aside, what is refused with its line."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import NLI_ROWS, write_file
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift import progress
from nlift.data.table import class_names, read_table
from nlift.errors import ArtifactError, DataError

PROPERTY = settings(max_examples=200, deadline=None, print_blob=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def values(path, faulty="refuse"):
    """The rows of a table by column."""
    return [row.values for row in read_table(path, faulty)]


def lines(path):
    """Line and fault of each row."""
    return [(row.line, row.fault) for row in read_table(path, faulty="keep")]


@pytest.fixture
def file(tmp_path):
    """Writes text or bytes to a file."""

    def write(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "parquet"])
def test_every_form_gives_the_same_rows(tmp_path, form):
    assert values(write_file(tmp_path / f"pairs.{form}", NLI_ROWS)) == NLI_ROWS


def test_an_upper_case_suffix(tmp_path):
    assert values(write_file(tmp_path / "a.tsv", NLI_ROWS).rename(tmp_path / "A.TSV")) == NLI_ROWS


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_lines_may_end_as_on_windows(tmp_path, form):
    path = write_file(tmp_path / f"pairs.{form}", NLI_ROWS)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert values(path) == NLI_ROWS


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_a_long_text(tmp_path, form):
    rows = [{"_id": "0", "text": "x" * 200_000}]
    assert values(write_file(tmp_path / f"x.{form}", rows)) == rows


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path, form):
    path = write_file(tmp_path / f"x.{form}", NLI_ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert values(path) == NLI_ROWS


@pytest.mark.parametrize(
    ("name", "content", "numbers"),
    [
        ("x.jsonl", '{"a": 1}\n\n{"a": 2}\n \t\n\n', [1, 3]),
        ("x.jsonl", '\n\r\n{"a": 1}\n{"a": 2}', [3, 4]),
        ("x.tsv", "a\n1\n\n\r\n2\n\n", [2, 5]),
        ("x.tsv", "\na\n1\n2", [3, 4]),
        ("x.csv", "a,b\n\n1,2\n\n\n3,4\n\n", [3, 6]),
        ("x.csv", "a,b\n,\n1,2\n  \n , \n3,4\n", [3, 6]),
        ("x.tsv", "a\tb\n\t\n1\t2\n \t \n3\t4\n", [3, 5]),
    ],
)
def test_blank_lines_hold_no_row_and_are_counted(file, name, content, numbers):
    assert lines(file(name, content)) == [(number, None) for number in numbers]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"a": 0}\n\n{oh\n', r"x\.jsonl:3: not JSON; expected one object per line"),
        ("x.jsonl", "[1]\n", r"x\.jsonl:1: found list, expected one JSON object per line"),
        ("x.jsonl", '{"a": 1, "a": 2}\n', r"x\.jsonl:1: the key 'a' stands twice"),
        ("x.jsonl", '{"a": {"b": 1, "b": 1}}\n', r"x\.jsonl:1: the key 'b' stands twice"),
        ("x.jsonl", '{"a": ' + "[" * 100_000 + "\n", r"x\.jsonl:1: not JSON"),
        ("x.jsonl", '{"a": ' + "9" * 5000 + "}\n", r"x\.jsonl:1: not JSON"),
        ("x.jsonl", '{"a": "good"}\n{"a": "\\ud83d"}\n', r"x\.jsonl:2: holds half of a character"),
        ("x.jsonl", '{"\\udc00": "name"}\n', r"x\.jsonl:1: holds half of a character"),
        ("x.jsonl", b'{"a": "caf\xe9"}\n', r"x\.jsonl:1: not UTF-8 text; convert it to UTF-8"),
        ("x.tsv", b"a\nb\ncaf\xe9\n", r"x\.tsv:3: not UTF-8 text; convert it to UTF-8"),
        ("x.csv", b"a\ncaf\xe9\n", r"x\.csv:2: not UTF-8 text; convert it to UTF-8"),
        ("x.tsv", "_id\ttext\n1\tfirst half\tsecond half\n", r"x\.tsv:2: 3 fields, the header has 2"),
        ("x.csv", "_id,text\n1,b\n2,one, two\n", r"x\.csv:3: 3 fields, the header has 2"),
        ("x.csv", '_id,text\n1,a\n2,"open\n3,b\n4,c\n', r"x\.csv:3: a quote that opens in this row is not closed"),
        ("x.csv", '_id,text\n1,"a\n2,"b"\n', r"x\.csv:2: a quote that opens in this row is not closed"),
        ("x.csv", '_id,text\n1,"a" b\n', r"x\.csv:2: a quote that opens in this row is not closed"),
        ("x.tsv", "a\tb\ta\n1\t2\t3\n", r"x\.tsv:1: column 'a' stands twice"),
        ("x.csv", "a,a\n1,2\n", r"x\.csv:1: column 'a' stands twice"),
        ("x.tsv", "a\tb\r1\t2\r", r"x\.tsv: lines end in a carriage return alone"),
        ("x.tsv", "premise\tlabel\nb\tc\n".encode("utf-16"), r"x\.tsv: UTF-16 text.*; convert it to UTF-8"),
        ("x.csv", "a,b\nb,c\n".encode("utf-16-be"), r"x\.csv: holds bytes of zero, as UTF-16"),
        ("x.jsonl", b"\xfe\xff" + '{"a": 1}\n'.encode("utf-16-be"), r"x\.jsonl: UTF-16 text; convert it"),
        ("x.tsv", b"a\tpozna\xb3\nb\tc\n", r"x\.tsv:1: not UTF-8 text"),
        ("x.csv", "a;b\n1,5;c\n", r"x\.csv:2: 2 fields, the header has 1; fields seem to be separated by semicolons"),
        ("x.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"x\.jsonl: a pointer of Git LFS"),
        ("x.csv", "a,b,,\n1,2,,\n1,2,3,\n", r"x\.csv:3: 4 fields, the header has 2"),
        ("x.jsonl", b"\x1f\x8b\x08\x00", r"x\.jsonl: packed by gzip; unpack it"),
        ("x.csv", b"PK\x03\x04\x14\x00", r"x\.csv: a zip archive or an Excel workbook"),
        ("x.doc", "", r"x\.doc: found a \.doc file, expected \.tsv, \.csv, \.jsonl or \.parquet"),
        ("x", "", r"found a nameless file"),
    ],
)
def test_files_not_in_the_form_promised(file, name, content, message):
    with pytest.raises(DataError, match=message) as caught:
        values(file(name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.tsv", b"a\ncaf\xe9\nb\n", [(2, "not UTF-8 text; convert it to UTF-8"), (3, None)]),
        (
            "x.jsonl",
            b'{"a": 1}\n{oh\n{"a": 2}\n',
            [(1, None), (2, "not JSON; expected one object per line"), (3, None)],
        ),
    ],
)
def test_faulty_rows_may_be_kept_for_the_caller_to_set_aside(file, name, content, expected):
    assert lines(file(name, content)) == expected


def test_a_text_over_several_lines_has_the_line_it_begins_in(file):
    path = file("x.csv", 'a,b\r\n1,"two\r\nlines"\r\n2,c\r\n')
    assert values(path) == [{"a": "1", "b": "two\r\nlines"}, {"a": "2", "b": "c"}]
    assert lines(path) == [(2, None), (4, None)]


def test_fields_that_a_row_lacks_are_none_and_empty_ones_too_many_are_nothing(file):
    assert values(file("x.tsv", "a\tb\n1\n2\t3\t\t\n")) == [{"a": "1", "b": None}, {"a": "2", "b": "3"}]


def test_columns_without_a_name_behind_the_others_are_nothing(file):
    assert values(file("x.csv", "a,b,,\n1,2,,\n"))[0]["b"] == "2"


def test_a_null_of_a_database_is_no_value(file):
    assert values(file("x.tsv", "a\tb\n\\N\tc\\N\n")) == [{"a": None, "b": "c\\N"}]


def test_a_carriage_return_inside_a_tsv_text_stays(file):
    assert values(file("x.tsv", "a\tb\none\rtwo\tc\n")) == [{"a": "one\rtwo", "b": "c"}]


def test_separators_of_unicode_end_no_line(file):
    row = {"a": "x\u2028y\x85z\x0bw\x1cv"}
    assert values(file("x.tsv", f"a\n{row['a']}\n")) == [row]
    assert values(file("x.jsonl", json.dumps(row, ensure_ascii=False) + "\n")) == [row]


def test_quotes_of_a_tsv_are_read_as_they_stand_and_said_to_be(file, caplog):
    path = file("x.tsv", 'a\tb\n"He said ""hi"" to me"\t1\n"She said ""no"""\t2\n')
    assert values(path)[0]["a"] == '"He said ""hi"" to me"'
    assert [record.message for record in caplog.records] == [
        f"{path}: fields in doubled quotes, as in CSV: TSV has no quoting, so all is read as it stands; use .csv"
    ]


def test_a_quoted_text_over_two_lines_of_a_tsv_is_said_to_be_one(file, caplog):
    path = file("x.tsv", '_id\ttext\n1\t"cut\nhere"\t2\n')
    assert [row["text"] for row in values(path)] == ['"cut', "2"]
    assert "a quoted text over several lines (until 3)" in caplog.text


def test_a_quoted_text_over_three_lines_of_a_tsv_of_one_column_is_said_to_be_one(file, caplog):
    values(file("x.tsv", 'text\n"a\nb\nc"\n'))
    assert "a quoted text over several lines (until 4)" in caplog.text


def test_quotes_that_nobody_doubled_are_nothing_to_speak_of(file, caplog):
    values(file("x.tsv", 'a\tb\n"Hi," he says.\tan "" empty one\n'))
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("x.csv", "premise;label\na;b\n", "; fields seem to be separated by semicolons, expected commas"),
        ("x.tsv", "premise,label\na,b\n", "; fields seem to be separated by commas, expected tabs"),
        ("x.csv", "premise\tlabel\na\tb\n", "; fields seem to be separated by tabs, expected commas"),
    ],
)
def test_a_header_with_other_separators_is_said_to_have_them(file, name, content, hint):
    (row,) = read_table(file(name, content))
    with pytest.raises(DataError, match=rf":1: no column 'label'; found premise.label; expected label{hint}"):
        row.need("label")


@pytest.mark.parametrize("name", ["nowhere.tsv", "nowhere.parquet", "folder.csv"])
def test_what_cannot_be_opened(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"no such file|cannot be read: Is a directory"):
        values(tmp_path / name)


def test_parquet_that_is_corrupt_inside(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist(NLI_ROWS * 500), path, compression="snappy")
    content = bytearray(path.read_bytes())
    content[8:200] = b"\xff" * 192
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.parquet: not a readable Parquet file"):
        values(path)


def test_parquet_with_a_column_twice(tmp_path):
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="column 'text' stands twice"):
        values(tmp_path / "x.parquet")


def test_parquet_with_text_that_is_not_utf8(tmp_path):
    text = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": text}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds text that is not UTF-8"):
        values(tmp_path / "x.parquet")


def test_names_of_classes(tmp_path):
    import datasets

    feature = datasets.ClassLabel(names=["entailment", "contradiction", "neutral"])
    features = datasets.Features({"premise": datasets.Value("string"), "label": feature})
    rows = datasets.Dataset.from_dict({"premise": ["a"], "label": [1]}, features=features)
    rows.to_parquet(str(tmp_path / "x.parquet"))
    assert class_names(tmp_path / "x.parquet") == {"label": ["entailment", "contradiction", "neutral"]}
    assert values(tmp_path / "x.parquet") == [{"premise": "a", "label": "contradiction"}]
    assert class_names(write_file(tmp_path / "plain.parquet", NLI_ROWS)) == {}
    assert class_names(tmp_path / "x.tsv") == {}


def test_a_notice_is_said_once(caplog):
    for _ in range(3):
        progress.notice("said once")
    assert [record.message for record in caplog.records] == ["said once"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@PROPERTY
@given(texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_any_text_survives_in_csv_jsonl_and_parquet(scratch, texts):
    rows = [{"a": first, "b": second} for first, second in texts]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, ["a", "b"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    (scratch / "x.csv").write_text(stream.getvalue(), encoding="utf-8", newline="")
    (scratch / "x.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    pq.write_table(pa.Table.from_pylist(rows), scratch / "x.parquet")
    for name in ("x.jsonl", "x.parquet"):
        assert values(scratch / name) == rows
    assert values(scratch / "x.csv") == [row for row in rows if row["a"].strip() or row["b"].strip()]


@PROPERTY
@given(texts=st.lists(TEXTS, min_size=2, max_size=4))
def test_a_text_in_tsv_survives_or_its_row_is_told_apart(scratch, texts):
    """A tab in a text, or a line end, which TSV cannot hold, gives a faulty or a short row."""
    (scratch / "x.tsv").write_bytes(("a\tb\n" + "".join(f"{text}\tend\n" for text in texts)).encode())
    rows = read_table(scratch / "x.tsv", faulty="keep")
    whole = [row.values["a"] for row in rows if row.values["b"] == "end" and not row.fault]
    last_lines = [text.rpartition("\n")[2] for text in texts]
    assert whole == [line for line in last_lines if "\t" not in line]


@PROPERTY
@given(content=st.binary(max_size=60), name=st.sampled_from(["x.tsv", "x.csv", "x.jsonl", "x.parquet"]))
def test_any_bytes_are_rows_or_one_line(scratch, content, name):
    (scratch / name).write_bytes(content)
    message = ""
    try:
        values(scratch / name)
    except (DataError, ArtifactError) as error:
        message = str(error)
    assert "\n" not in message and (not message or message.startswith(str(scratch / name)))
