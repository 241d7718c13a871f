"""Corpora: read, checked, and read again only where a file has changed."""

import json
import os

import pytest
from conftest import write_file

from nlift.data.corpus import corpus_fingerprint, load_corpus, usable_corpus
from nlift.data.schema import Document
from nlift.errors import DataError

DOCUMENTS = [{"_id": f"d{i}", "title": f"T{i}", "text": f"text {i}", "year": 1900 + i} for i in range(5)]


def nested(depth):
    """A list in a list, so deep."""
    return [nested(depth - 1)] if depth else []


@pytest.fixture
def corpus(tmp_path):
    """Writes documents as the corpus of a BEIR folder, and gives the folder."""

    def write(documents):
        text = "".join(json.dumps(document) + "\n" for document in documents)
        (tmp_path / "corpus.jsonl").write_text(text)
        return tmp_path

    return write


def test_a_corpus_keeps_title_and_metadata(corpus):
    first, second = DOCUMENTS[0], {"id": 5, "text": "t", "metadata": {"lang": "pl"}, "tag": "ż"}
    documents = load_corpus(corpus([first, second]))
    assert (documents[0].title, documents[0].text, documents[0].metadata) == ("T0", "text 0", '{"year": 1900}')
    assert (documents[1].doc_id, documents[1].title) == ("5", "")
    assert json.loads(documents[1].metadata) == {"lang": "pl", "tag": "ż"} and "ż" in documents[1].metadata


def test_a_corpus_without_ids_is_numbered(tmp_path):
    (tmp_path / "c.tsv").write_text("text\na\nb\n")
    documents = load_corpus(tmp_path / "c.tsv")
    assert documents == (Document("0", "", "a", "{}"), Document("1", "", "b", "{}"))


def test_lines_of_a_tsv_are_counted_with_its_header(tmp_path):
    (tmp_path / "c.tsv").write_text("_id\ttext\nx\ta\nx\tb\n")
    with pytest.raises(DataError, match=r"c\.tsv:3: id 'x' stands twice \(first in line 2\)"):
        load_corpus(tmp_path / "c.tsv")


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], r"corpus\.jsonl: the corpus is empty"),
        ([*DOCUMENTS, DOCUMENTS[1]], r"corpus\.jsonl:6: id 'd1' stands twice \(first in line 2\)"),
        ([*DOCUMENTS, {"_id": "d7"}], r"corpus\.jsonl:6: no column 'text'; found _id"),
        ([{"_id": "d7", "text": None}], r"corpus\.jsonl:1: text is null; expected a text, which may be empty"),
    ],
)
def test_a_corpus_not_in_the_form_promised(corpus, documents, message):
    with pytest.raises(DataError, match=message):
        load_corpus(corpus(documents))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": ["one", "two"]}, "text is a list; expected a text"),
        ({"text": {"pl": "jeden"}}, "text is an object; expected a text"),
        ({"text": 0}, "text is the number 0; expected a text"),
        ({"text": float("nan")}, "text is null; expected a text"),
        ({"title": ["a"]}, "title is a list; expected a text"),
        ({"_id": None}, "_id is null; expected an id"),
        ({"_id": ""}, "_id is empty; expected an id"),
        ({"_id": 1.5}, "_id is the number 1.5; expected an id"),
        ({"text": "a\ud83d"}, "holds half of a character"),
        ({"year": 1, "metadata": {"year": 2}}, "'year' is a column and a key of metadata"),
        ({"metadata": "{oh"}, "metadata begins as a JSON object and is none"),
        ({"metadata": '{"u": "\\ud83d"}'}, "metadata holds half of a character"),
        ({"metadata": {"a": nested(600)}}, "metadata is nested too deep"),
    ],
)
def test_a_row_that_is_no_document(corpus, row, message):
    with pytest.raises(DataError, match=rf"corpus\.jsonl:2: {message}"):
        load_corpus(corpus([DOCUMENTS[0], {"_id": "d9", "text": "good", **row}]))


@pytest.mark.parametrize(
    ("title", "kept"), [(float("nan"), ""), (None, ""), (0, "0"), (1984, "1984"), (1984.0, "1984"), ("nan", "nan")]
)
def test_a_title_that_is_missing_or_a_number(corpus, title, kept):
    (document,) = load_corpus(corpus([{"_id": 1, "title": title, "text": "t"}]))
    assert document.title == kept and document.content == f"{kept} t".strip()


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [
        ({"a": float("nan"), "b": [float("inf")]}, {"a": None, "b": [None]}),
        ('{"lang": "pl"}', {"lang": "pl"}),
        ("a note", {"metadata": "a note"}),
        (7, {"metadata": 7}),
        (None, {}),
        (float("nan"), {}),
        ("", {}),
    ],
)
def test_metadata_of_every_kind_is_kept(corpus, metadata, kept):
    (document,) = load_corpus(corpus([{"_id": 1, "text": "t", "metadata": metadata}]))
    assert json.loads(document.metadata) == kept and "NaN" not in document.metadata


def test_other_ids_are_metadata(corpus):
    (document,) = load_corpus(corpus([{"_id": "a", "doc_id": "b", "id": "c", "text": "t"}]))
    assert (document.doc_id, json.loads(document.metadata)) == ("a", {"doc_id": "b", "id": "c"})


def test_bytes_are_no_metadata(tmp_path):
    write_file(tmp_path / "c.parquet", [{"text": "a", "image": b"\x89PNG"}])
    with pytest.raises(DataError, match=r"c\.parquet:1: holds bytes; expected values that JSON has"):
        load_corpus(tmp_path / "c.parquet")


def test_ids_stand_in_all_rows_or_in_none(corpus):
    with pytest.raises(DataError, match=r"corpus\.jsonl:2: no id, unlike the first row"):
        load_corpus(corpus([DOCUMENTS[0], {"text": "b"}]))
    with pytest.raises(DataError, match=r"corpus\.jsonl:2: an id, unlike the first row"):
        load_corpus(corpus([{"text": "b"}, DOCUMENTS[0]]))


def test_blank_lines_hold_no_document(corpus):
    folder = corpus(DOCUMENTS)
    path = folder / "corpus.jsonl"
    path.write_text(path.read_text().replace("\n", "\n\n  \n"))
    assert len(load_corpus(folder)) == len(DOCUMENTS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", '_id,text\n1,a\n2,"b\n3,c\n4,d\n5,e\n', r"c\.csv:3: a quote that opens in this row is not closed"),
        ("c.tsv", "_id\ttext\n1\tfirst half\tsecond half\n", r"c\.tsv:2: 3 fields, the header has 2"),
        ("c.tsv", "_id\ttext\n1\n", r"c\.tsv:2: text is null"),
    ],
)
def test_no_row_and_no_text_is_lost_in_silence(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_corpus(tmp_path / name)


def test_a_folder_without_a_corpus(tmp_path):
    with pytest.raises(DataError, match=r"corpus\.jsonl: missing; expected a BEIR folder"):
        load_corpus(tmp_path)


def test_a_file_that_stays_is_read_once(corpus):
    folder = corpus(DOCUMENTS)
    documents = load_corpus(folder)
    assert load_corpus(folder) is documents
    assert load_corpus(folder / "corpus.jsonl") is documents


def test_a_file_of_another_size_is_read_again(corpus):
    assert len(load_corpus(corpus(DOCUMENTS))) == 5
    assert [document.doc_id for document in load_corpus(corpus(DOCUMENTS[2:4]))] == ["d2", "d3"]


def test_a_file_of_the_same_size_is_read_again_when_it_was_written_later(corpus):
    folder = corpus(DOCUMENTS[:1])
    path = folder / "corpus.jsonl"
    assert load_corpus(folder)[0].text == "text 0"
    written_ns = path.stat().st_mtime_ns
    path.write_text(path.read_text().replace("text 0", "text 9"))
    os.utime(path, ns=(written_ns, written_ns + 1_000_000))
    assert load_corpus(folder)[0].text == "text 9"


def test_a_mistake_is_not_remembered(corpus):
    folder = corpus([{"_id": "d0", "txt": "a"}])
    for _ in range(2):
        with pytest.raises(DataError, match="no column 'text'"):
            load_corpus(folder)


def test_usable_rows_are_taken_and_others_said(tmp_path, caplog):
    lines = [json.dumps(row) for row in ({"_id": "a", "text": "x"}, {"_id": "b"}, {"_id": "a", "text": "y"})]
    (tmp_path / "corpus.jsonl").write_text("\n".join([*lines, "{", json.dumps({"_id": "c", "text": "z"})]) + "\n")
    documents = usable_corpus(str(tmp_path / "corpus.jsonl"))
    assert [(document.doc_id, document.text) for document in documents] == [("a", "x"), ("c", "z")]
    (record,) = [record for record in caplog.records if record.name == "nlift"]
    assert "3 rows are set aside" in record.getMessage()
    assert usable_corpus(str(tmp_path / "corpus.jsonl")) is documents


def test_a_corpus_without_a_usable_row(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a"}\n{"_id": "b", "text": null}\n')
    with pytest.raises(DataError, match=r"no column 'text'"):  # of the first row: the file has no texts
        usable_corpus(str(tmp_path / "corpus.jsonl"))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": 7}\n{"_id": "b", "text": null}\n')
    with pytest.raises(DataError, match="no usable document in 2 rows; most often: text is"):
        usable_corpus(str(tmp_path / "corpus.jsonl"))
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(DataError, match="is empty"):
        usable_corpus(str(tmp_path / "corpus.jsonl"))


def test_files_of_a_glob_are_one_corpus(tmp_path):
    for i in range(2):
        (tmp_path / f"part-{i}.jsonl").write_text(f'{{"text": "text {i}"}}\n')
    documents = usable_corpus(str(tmp_path / "part-*.jsonl"))
    assert [(document.doc_id, document.text) for document in documents] == [("0", "text 0"), ("1", "text 1")]
    before = corpus_fingerprint(str(tmp_path / "part-*.jsonl"))
    (tmp_path / "part-1.jsonl").write_text('{"text": "another text"}\n')
    assert corpus_fingerprint(str(tmp_path / "part-*.jsonl")) != before
    with pytest.raises(DataError, match="the glob matches no file"):
        usable_corpus(str(tmp_path / "none-*.jsonl"))
