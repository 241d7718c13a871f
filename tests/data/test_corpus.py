"""Corpora: read, checked, and read again only where a file has changed."""

import json
import os

import pytest

from nlift.data.corpus import load_corpus
from nlift.data.schema import Document
from nlift.errors import DataError

DOCUMENTS = [{"_id": f"d{i}", "title": f"T{i}", "text": f"text {i}", "year": 1900 + i} for i in range(5)]


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
        ([{"_id": "d7", "text": None}], r"corpus\.jsonl:1: the text is null; expected a text, which may be empty"),
    ],
)
def test_a_corpus_not_in_the_form_promised(corpus, documents, message):
    with pytest.raises(DataError, match=message):
        load_corpus(corpus(documents))


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
