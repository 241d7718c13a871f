"""Evaluation sets and corpora: read, checked, split."""

import hashlib
import json

import numpy as np
import pytest
from conftest import write_file

from nlift.errors import DataError
from nlift.evaluation.datasets import check_parts, in_dev, load_beir, load_set
from nlift.evaluation.evaluator import measure_bm25, measure_vectors
from nlift.search.document_vectors import DocumentVectors
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
        ({"qrels": [*QRELS, "q0\td2\t0.5"]}, r"test\.tsv:6: score '0\.5' is no whole number"),
        (
            {"qrels": [*QRELS, "q1\td1\t0"]},
            r"test\.tsv:6: 'q1' and 'd1' are judged twice, differently \(first in line 4",
        ),
        ({"qrels": [*QRELS, "q1\td1\t1\t0"]}, r"test\.tsv:6: 4 fields, the header has 3"),
        (
            {"qrels": [QRELS[0], "q0\tx\t1", "q1\ty\t1"]},
            r"test\.tsv: no relevant document, as 'x', is in corpus\.jsonl",
        ),
        ({"qrels": [QRELS[0], "q7\td0\t1"]}, r"test\.tsv: none of the judged queries, as 'q7', is in queries\.jsonl"),
        ({"qrels": [QRELS[0], "q1\td1\t0"]}, r"test\.tsv: no relevant document; expected"),
        (
            {"corpus": [*DOCUMENTS, {"_id": "New York", "text": "a"}, {"_id": "New%20York", "text": "b"}]},
            r"corpus\.jsonl: ids 'New York' and 'New%20York' would be the same in a TREC run",
        ),
        (
            {"queries": [*QUERIES, {"_id": "q1", "text": "x"}]},
            r"queries\.jsonl:5: query 'q1' stands twice, .* in line 2\)",
        ),
        ({"queries": [{"_id": "q0", "text": None}]}, r"queries\.jsonl:1: text is null; expected a text"),
        ({"queries": [{"_id": "q0", "text": float("nan")}]}, r"queries\.jsonl:1: text is null; expected a text"),
        ({"queries": [{"_id": "q0", "text": ["a"]}]}, r"queries\.jsonl:1: text is a list; expected a text"),
        ({"queries": [{"_id": None, "text": "a"}]}, r"queries\.jsonl:1: _id is null; expected an id"),
        ({"qrels": [*QRELS, "q0\td2\thigh"]}, r"test\.tsv:6: score 'high' is no whole number"),
        ({"qrels": [*QRELS, "q0\td2"]}, r"test\.tsv:6: score None is no whole number"),
        ({"qrels": ["q0 0 d0 1"]}, r"test\.tsv: no relevant document; expected query-id"),
        ({"qrels": ["q0 0 d0 1", "q1 0 d1 1"]}, r"test\.tsv:1: no column 'query-id'"),
        ({"queries": [{"_id": "q0", "text": "a"}, {"id": "q1", "text": "b"}]}, r"queries\.jsonl:2: no column '_id'"),
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


def test_a_judged_document_that_the_corpus_lacks_counts_as_never_found(beir, caplog):
    queries = [{"_id": f"q{i}", "text": f"T{i} text"} for i in range(3)]
    loaded = load_beir("arguana", beir(queries=queries, qrels=[*QRELS, "q1\td9\t1"]))
    assert loaded.qrels["q1"] == {"d1": 1, "d9": 1}
    assert caplog.records[0].message.endswith(
        "test.tsv: 1 judgements are of what corpus.jsonl lacks, as 'd9' in line 6; they count as never found"
    )
    measured = measure_bm25("bm25", loaded)
    assert measured.groups["retrieval"]["recall@100"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    vectors = np.eye(5, 3, dtype=np.float32)
    assert "alignment" in measure_vectors("x", loaded, vectors[:3], DocumentVectors(vectors)).groups["geometry"]


def test_a_judged_query_that_is_not_there_is_left_out(beir, caplog):
    assert load_beir("nfcorpus", beir(qrels=[*QRELS, "q9\td0\t1"])).qrels.keys() == {"q0", "q1", "q2"}
    assert "lacks, as 'q9' in line 6; they are left out" in caplog.text


def test_scores_may_be_written_as_pandas_writes_them(beir):
    assert load_beir("a", beir(qrels=[QRELS[0], "q0\td0\t2.0", "q1\td1\t1.0", "q1\td2\t-1"])).qrels == {
        "q0": {"d0": 2},
        "q1": {"d1": 1, "d2": -1},
    }


def test_what_stands_twice_with_the_same_value_is_no_mistake(beir):
    loaded = load_beir("a", beir(queries=[*QUERIES, QUERIES[1]], qrels=[*QRELS, QRELS[3]]))
    assert loaded.qrels["q1"] == {"d1": 1} and loaded.queries["q1"] == "query 1"


OWN = [{"_id": f"d{i}", "title": "", "text": f"argument about cats {i}"} for i in range(4)]
OWN_QUERIES = [{"_id": f"d{i}", "text": f"Argument about  cats {i}"} for i in range(4)]
OWN_QRELS = [QRELS[0], "d0\td1\t1", "d2\td3\t1"]


@pytest.mark.parametrize(("wanted", "left_out"), [(None, {"d0", "d2"}), (True, {"d0", "d2"}), (False, set())])
def test_queries_that_are_documents_are_left_out_of_their_own_ranking(beir, caplog, wanted, left_out):
    loaded = load_beir("arguana", beir(OWN, OWN_QUERIES, OWN_QRELS), wanted)
    assert loaded.own_documents == left_out == loaded.part(dev=False).own_documents
    assert ("2 queries are documents too" in caplog.text) == bool(left_out)
    run = measure_bm25("bm25", loaded).run
    assert [len(run[query]) for query in ("d0", "d2")] == [4 - bool(left_out)] * 2
    assert all((query in dict(run[query])) == (query not in left_out) for query in run)


def test_ids_that_queries_and_documents_share_by_chance_are_said_and_no_more(beir, caplog):
    queries = [{"_id": f"d{i}", "text": f"another text {i}"} for i in range(4)]
    folder = beir(OWN, queries, OWN_QRELS)
    assert not load_beir("a", folder).own_documents
    assert "2 queries have the id of a document with another text" in caplog.text
    assert load_beir("a", folder, True).own_documents == {"d0", "d2"}


def test_a_query_judged_to_be_its_own_answer_stays(beir):
    assert load_beir("a", beir(OWN, OWN_QUERIES, [*OWN_QRELS, "d2\td2\t1"])).own_documents == {"d0"}


@pytest.mark.parametrize(
    ("count", "message"), [(1, "1 queries in its (dev|test) part|0 queries in its"), (3, "0 queries in its dev")]
)
def test_a_set_too_small_to_be_split(beir, count, message):
    folder = beir(
        queries=[{"_id": f"q{i}", "text": "a"} for i in range(count)],
        qrels=[QRELS[0], *(f"q{i}\td0\t1" for i in range(count))],
    )
    with pytest.raises(DataError, match=message):
        check_parts(load_beir("a", folder))


def sts(tmp_path, *rows, more="", **settings):
    (tmp_path / "sts.tsv").write_text("\n".join([f"sentence1\tsentence2\tscore{more}", *rows]) + "\n")
    return load_set(EvaluationSet(name="sts", kind="sts", path=str(tmp_path / "sts.tsv"), **settings))


def test_sentence_pairs(tmp_path):
    loaded = sts(tmp_path, 'a "b\tc\t2.5', "d\te\t0")
    assert loaded.pairs == [('a "b', "c"), ("d", "e")] and loaded.scores == [2.5, 0.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a\tb\t1", "a\tb\tmuch"], r"sts\.tsv:3: score 'much' is no number"),
        (["a\tb"], r"sts\.tsv:2: score None is no number"),
        (["a\tb\t1", "a\tb\tnan"], r"sts\.tsv:3: score 'nan' is no number"),
        (["a\tb\t1", "a\tb\t3,5"], r"sts\.tsv:3: score '3,5' is no number"),
        (["a\tb\tc\t1"], r"sts\.tsv:2: 4 fields, the header has 3"),
        (["a\tb\t1"], "found 1 pairs, expected two at least"),
        (["a\tb\t-1", "c\td\t-1"], r"sts\.tsv: all 2 scores are -1; expected scores that differ"),
    ],
)
def test_sentence_pairs_not_in_the_form_promised(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        sts(tmp_path, *rows)


def test_a_score_that_is_not_on_the_scale_is_refused(tmp_path):
    rows = ("a\tb\t0", "c\td\t5", "e\tf\t-1")
    assert sts(tmp_path, *rows).scores == [0, 5, -1]
    with pytest.raises(DataError, match=r"sts\.tsv:4: score -1 is not on the set's scale, 0 to 5"):
        sts(tmp_path, *rows, scale=(0, 5))


def test_empty_sentences_count_and_are_said(tmp_path, caplog):
    assert len(sts(tmp_path, "a\tb\t1", "c\t\t2", " \td\t3").pairs) == 3
    assert "sts.tsv: 2 pairs have an empty sentence, as that in line 3; they count too" in caplog.text


def test_subsets_of_sentence_pairs(tmp_path):
    rows = [f"a{i}\tb\t{i}\t{'news' if i % 3 else ''}\t{'x' if i % 2 else 'y'}" for i in range(40)]
    assert sts(tmp_path, *rows, more="\tyear\tfile").subsets == ()
    assert sts(tmp_path, *rows, more="\tgenre\tfile").subsets == ()  # one subset is no subset
    whole = sts(tmp_path, *rows, more="\tdataset\tgenre")
    assert whole.subsets == ["x" if i % 2 else "y" for i in range(40)]  # genre comes before dataset
    own = sts(tmp_path, *rows, more="\tfile\tpart", columns={"subset": "part"})
    assert own.subsets == whole.subsets
    dev = whole.part(dev=True)
    assert dev.subsets == ["x" if score % 2 else "y" for score in dev.scores] and len(dev.subsets) == len(dev.pairs)


def test_scores_may_be_classes(tmp_path):
    import datasets

    features = datasets.Features(
        {name: datasets.Value("string") for name in ("sentence1", "sentence2")}
        | {"score": datasets.ClassLabel(names=["5", "4", "3"])}
    )
    columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [0, 2]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(tmp_path / "sts.parquet"))
    assert load_set(EvaluationSet(name="s", kind="sts", path=str(tmp_path / "sts.parquet"))).scores == [5.0, 3.0]


@pytest.mark.parametrize(
    ("kind", "columns", "pair"),
    [
        ("translation", ("src", "mt", "ref"), ("s", "r")),
        ("translation", ("src", "tgt"), ("s", "t")),
        ("translation", ("source", "target", "mt"), ("s", "t")),
        ("quality", ("src", "mt", "ref", "score"), ("s", "m")),
        ("quality", ("source", "target", "score"), ("s", "t")),
    ],
)
def test_columns_of_data_sets_of_translations(tmp_path, kind, columns, pair):
    row = {name: "5" if name == "score" else name[0] for name in columns}
    write_file(tmp_path / "a.tsv", [row, row])
    assert load_set(EvaluationSet(name="s", kind=kind, path=str(tmp_path / "a.tsv"))).pairs[0] == pair


def test_two_columns_for_one_are_refused(tmp_path):
    write_file(tmp_path / "a.tsv", [{"src": "a", "tgt": "b", "ref": "c"}])
    with pytest.raises(DataError, match=r"a\.tsv:2: target stands twice, as ref too"):
        load_set(EvaluationSet(name="s", kind="translation", path=str(tmp_path / "a.tsv")))


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
