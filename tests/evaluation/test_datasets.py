"""Evaluation sets and corpora: read, checked, split."""

import hashlib
import json

import pytest

from nlift.errors import DataError
from nlift.evaluation.datasets import in_dev, load_beir, load_set
from nlift.settings import EvaluationSet

DOCUMENTS = [{"_id": f"d{i}", "title": f"T{i}", "text": f"text {i}", "year": 1900 + i} for i in range(5)]
QUERIES = [{"_id": f"q{i}", "text": f"query {i}"} for i in range(4)]
QRELS = ["query-id\tcorpus-id\tscore", "q0\td0\t2", "q0\td1\t0", "q1\td1\t1", "q2\td4\t1"]


@pytest.fixture
def beir(tmp_path):
    """A BEIR folder; its files are replaced by name."""

    def make(corpus=DOCUMENTS, queries=QUERIES, qrels=QRELS):
        folder = tmp_path / "beir"
        (folder / "qrels").mkdir(parents=True)
        for name, rows in (("corpus", corpus), ("queries", queries)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")
        return folder

    return make


def test_a_beir_folder(beir):
    loaded = load_set(EvaluationSet(name="places", kind="retrieval", path=str(beir())))
    assert loaded.name == "places" and [document.doc_id for document in loaded.documents] == [f"d{i}" for i in range(5)]
    assert loaded.queries == {"q0": "query 0", "q1": "query 1", "q2": "query 2"}  # the judged ones
    assert loaded.qrels == {"q0": {"d0": 2, "d1": 0}, "q1": {"d1": 1}, "q2": {"d4": 1}}


def test_ids_may_be_numbers(beir):
    folder = beir([{"_id": 7, "text": "a"}], [{"_id": 1, "text": "b"}], [QRELS[0], "1\t7\t1"])
    assert load_beir("a", folder).qrels == {"1": {"7": 1}}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"qrels": [*QRELS, "q9\td0\t1"]}, r"test\.tsv:6: query 'q9' is not in queries\.jsonl"),
        ({"qrels": [*QRELS, "q0\td9\t1"]}, r"test\.tsv:6: document 'd9' is not in corpus\.jsonl"),
        ({"qrels": [*QRELS, "q0\td2\thigh"]}, r"test\.tsv:6: score 'high' is no whole number"),
        ({"qrels": [*QRELS, "q0\td2"]}, r"test\.tsv:6: score None is no whole number"),
        ({"qrels": ["q0 0 d0 1"]}, r"test\.tsv: no relevant document; expected query-id"),
        ({"qrels": ["q0 0 d0 1", "q1 0 d1 1"]}, r"test\.tsv:1: no column 'query-id'"),
        ({"queries": [{"_id": "q0", "text": "a"}, {"id": "q1", "text": "b"}]}, r"queries\.jsonl:2: no field '_id'"),
        ({"corpus": []}, r"corpus\.jsonl: the corpus is empty"),
        ({"corpus": [*DOCUMENTS, DOCUMENTS[1]]}, r"corpus\.jsonl:6: id 'd1' stands twice \(first in line 2\)"),
        ({"corpus": [*DOCUMENTS, {"_id": "d7"}]}, r"corpus\.jsonl:6: no column 'text'; found _id"),
    ],
)
def test_a_folder_not_in_the_form_promised(beir, parts, message):
    with pytest.raises(DataError, match=message):
        load_beir("a", beir(**parts))


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file(beir, name):
    folder = beir()
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: missing; expected corpus.jsonl, queries.jsonl, qrels/test.tsv"):
        load_beir("a", folder)


def sts(tmp_path, *rows):
    (tmp_path / "sts.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n")
    return load_set(EvaluationSet(name="sts", kind="sts", path=str(tmp_path / "sts.tsv")))


def test_sentence_pairs(tmp_path):
    loaded = sts(tmp_path, 'a "b\tc\t2.5', "d\te\t0")
    assert loaded.pairs == [('a "b', "c"), ("d", "e")] and loaded.scores == [2.5, 0.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a\tb\t1", "a\tb\tmuch"], r"sts\.tsv:3: score 'much' is no number"),
        (["a\tb"], r"sts\.tsv:2: score None is no number"),
        (["a\tb\t1", "a\tb\tnan"], r"sts\.tsv:3: score 'nan' is no number"),
        (["a\tb\t1"], "found 1 pairs, expected two at least"),
    ],
)
def test_sentence_pairs_not_in_the_form_promised(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        sts(tmp_path, *rows)


def test_a_fifth_of_ids_is_dev():
    names = [f"q{i}" for i in range(2000)]
    dev = [name for name in names if in_dev(name)]
    assert dev == [name for name in names if int(hashlib.sha1(name.encode()).hexdigest(), 16) % 100 < 20]
    assert 0.17 < len(dev) / len(names) < 0.23


def test_dev_and_test_share_no_query_and_leave_none_out(beir):
    queries = [{"_id": f"q{i}", "text": f"query {i}"} for i in range(50)]
    whole = load_beir("a", beir(queries=queries, qrels=[QRELS[0], *(f"q{i}\td{i % 5}\t1" for i in range(50))]))
    dev, test = whole.part(dev=True), whole.part(dev=False)
    assert 0 < len(dev.queries) < len(test.queries)
    assert dev.queries | test.queries == whole.queries and not set(dev.queries) & set(test.queries)
    assert set(dev.qrels) == set(dev.queries) == {name for name in whole.queries if in_dev(name)}
    assert dev.documents == test.documents == whole.documents


def test_sentence_pairs_are_split_by_their_number(tmp_path):
    whole = sts(tmp_path, *(f"a{i}\tb{i}\t{i}" for i in range(50)))
    dev, test = whole.part(dev=True), whole.part(dev=False)
    assert dev.scores == [float(i) for i in range(50) if in_dev(str(i))]
    assert sorted([*dev.scores, *test.scores]) == whole.scores
    assert all(first == f"a{score:.0f}" for (first, _), score in zip(dev.pairs, dev.scores, strict=True))
