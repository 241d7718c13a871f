"""Runs and their files: what trec_eval reads is what was ranked."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.data.schema import Document
from nlift.errors import DataError
from nlift.evaluation import metrics
from nlift.evaluation.datasets import RetrievalSet
from nlift.evaluation.evaluator import measure_vectors
from nlift.evaluation.trec import Run, escaped, first_hits, read_run, write_qrels, write_run
from nlift.search.document_vectors import DocumentVectors
from nlift.search.ranking import ranking_of

MEASURES = {"ndcg@10": "ndcg_cut_10", "recall@10": "recall_10", "recall@100": "recall_100", "map": "map"}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
C_NAMES = NAMES.filter(lambda name: "\0" not in name)  # pytrec_eval's end at a NUL
SCORES = st.floats(-2, 2, width=32).map(lambda score: round(score, 1))  # ties are frequent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trec")


def test_a_run_is_made_of_rows():
    ranking = ranking_of(
        [(np.array([2, 0]), np.array([0.5, 0.25], np.float32)), (np.array([1]), np.ones(1, np.float32))], 2
    )
    run = Run(["q1", "q2"], ["c", "b", "a"], ranking)
    assert dict(run) == {"q1": [("a", 0.5), ("c", 0.25)], "q2": [("b", 1.0)]} and len(run) == 2
    assert dict(Run(["b", "q2"], ["c", "b", "a"], ranking, frozenset({"q2"}), depth=1))["b"] == [("a", 0.5)]
    assert Run(["c", "b"], ["c", "b", "a"], ranking, frozenset({"c", "b"}))["c"] == [("a", 0.5)]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("d1", "d1"),
        ("https://pl.wikipedia.org/wiki/%C5%81%C3%B3d%C5%BA", "https://pl.wikipedia.org/wiki/%C5%81%C3%B3d%C5%BA"),
        ("New York", "New%20York"),
        ("100 %", "100%20%25"),
        ("a\tb\nc", "a%09b%0Ac"),
        ("a\u00a0b", "a%C2%A0b"),
        ("Łódź", "Łódź"),
    ],
)
def test_an_id_is_one_field(name, field):
    assert escaped(name) == field and len(field.split()) == 1


@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    run=st.dictionaries(NAMES, st.dictionaries(NAMES, SCORES, min_size=1, max_size=8), min_size=1, max_size=4),
    qrels=st.dictionaries(
        NAMES, st.dictionaries(NAMES, st.integers(-1, 3), min_size=1, max_size=5), min_size=1, max_size=4
    ),
)
def test_files_say_what_was_ranked_and_judged(folder, run, qrels):
    ranked = {query: sorted(hits.items(), key=lambda hit: -hit[1]) for query, hits in run.items()}
    write_run(folder / "run", ranked, "my model")
    write_qrels(folder / "qrels", qrels)
    fields = [line.split(" ") for line in (folder / "run").read_text(encoding="utf-8").split("\n")[:-1]]
    assert all(len(line) == 6 and line[5] == "my%20model" for line in fields)
    read: dict = {}
    for query, _, doc_id, rank, score, _ in fields:
        read.setdefault(query, []).append((doc_id, float(score)))
        assert int(rank) == len(read[query])
    assert read == {escaped(q): [(escaped(d), pytest.approx(s)) for d, s in hits] for q, hits in ranked.items()}
    judged = [line.split(" ") for line in (folder / "qrels").read_text(encoding="utf-8").split("\n")[:-1]]
    expected = [[escaped(q), "0", escaped(d), str(grade)] for q, docs in qrels.items() for d, grade in docs.items()]
    assert judged == expected


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.data())
def test_numbers_are_those_of_trec_eval(data):
    """Any ids, ties, judgements of unknown documents, grades below 0; queries that are their own document apart."""
    doc_ids = data.draw(st.lists(C_NAMES, min_size=2, max_size=12, unique=True))
    queries = data.draw(st.lists(C_NAMES, min_size=1, max_size=3, unique=True))
    judgements = st.dictionaries(
        st.one_of(st.sampled_from(doc_ids), C_NAMES), st.integers(-1, 3), min_size=1, max_size=6
    )
    qrels = {query: data.draw(judgements) for query in queries}
    vectors = np.array(data.draw(st.lists(SCORES, min_size=len(doc_ids), max_size=len(doc_ids))), np.float32)[:, None]
    documents = [Document(doc_id, "", "text", "{}") for doc_id in doc_ids]
    dataset = RetrievalSet("any", documents, dict.fromkeys(queries, "text"), qrels)
    measured = measure_vectors("x", dataset, np.ones((len(queries), 1), np.float32), DocumentVectors(vectors))
    relevant = {query: judged for query, judged in qrels.items() if max(judged.values()) > 0}
    assert measured.groups["retrieval"]["queries"] == len(relevant)
    if not relevant:
        return
    peer = pytrec_eval.RelevanceEvaluator(relevant, set(MEASURES.values())).evaluate(
        {query: {doc_id: float(score) for doc_id, score in measured.run[query]} for query in relevant}
    )
    for name, theirs in MEASURES.items():
        assert measured.groups["retrieval"][name] == pytest.approx(np.mean([row[theirs] for row in peer.values()]))


def test_recall_counts_what_the_corpus_lacks():
    assert metrics.ranking_metrics({"q": ["a"]}, {"q": {"a": 1, "gone": 1}})["q"]["recall@10"] == 0.5


def test_a_run_that_is_read_is_ranked_as_trec_eval_ranks_it(folder):
    path = folder / "ties.trec"
    path.write_text("q1 Q0 b 1 2 other\nq1 Q0 a 9 2.0 other\nq1 Q0 c 3 3e0 other\nq2 Q0 New%20York 1 -1 other\n")
    tag, run = read_run(path, ["q1", "q2"], ["a", "b", "c", "New York"])
    assert tag == "other" and run == {"q1": [("c", 3.0), ("b", 2.0), ("a", 2.0)], "q2": [("New York", -1.0)]}


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, SCORES, min_size=1), min_size=1))
@settings(deadline=None, max_examples=50)
def test_what_is_written_is_read_again(folder, scored):
    run = {query: sorted(sorted(hits.items(), reverse=True), key=lambda hit: -hit[1]) for query, hits in scored.items()}
    doc_ids = {doc_id for hits in scored.values() for doc_id in hits}
    if len({escaped(name) for name in doc_ids}) == len(doc_ids) and len({escaped(q) for q in run}) == len(run):
        write_run(folder / "again.trec", run, "tag")
        assert read_run(folder / "again.trec", list(run), doc_ids) == ("tag", run)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("q Q0 a 1 2\n", ":1: 5 columns; expected six"),
        ("q Q0 a 1 2 t\nq Q0 b 2 nan t\n", ":2: score 'nan'; expected a finite number"),
        ("q Q0 a 1 high t\n", ":1: score 'high'"),
        ("q Q0 a 1 2 t\nq Q0 a 2 1 t\n", ":2: document 'a' stands twice for query 'q'"),
        ("x Q0 a 1 2 t\nq Q0 x 1 2 t\n", "no line has a query and a document of the set"),
        ("", "no line has a query"),
    ],
)
def test_a_run_that_cannot_be_judged_is_told_with_its_line(folder, lines, message):
    path = folder / "bad.trec"
    path.write_text(lines)
    with pytest.raises(DataError, match=r"bad\.trec") as error:
        read_run(path, ["q"], ["a", "b"])
    assert message in str(error.value)


def test_strangers_in_a_run_are_counted_aloud(folder, caplog):
    path = folder / "strange.trec"
    path.write_text("q Q0 a 1 2 t\nq Q0 x 2 1 t\nq Q0 y 3 0 t\nz Q0 a 1 1 t\n")
    assert read_run(path, ["q"], ["a"]) == ("t", {"q": [("a", 2.0)]})
    said = caplog.text
    assert "2 lines are of documents that the set lacks, as ('q', 'x') in line 2" in said
    assert "1 lines are of queries" in said


def test_a_run_that_is_not_there_or_no_text(folder):
    with pytest.raises(DataError, match="cannot be read"):
        read_run(folder / "none.trec", ["q"], ["a"])
    (folder / "binary.trec").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_run(folder / "binary.trec", ["q"], ["a"])


def test_the_first_hits_of_some_queries(tmp_path):
    hits = {f"q{i}": [(f"d {i}", 1.0), ("q1", 0.5), ("other", 0.25)] for i in range(20)}
    write_run(tmp_path / "run", {**hits, "q none": [], "new york": [("a", 1.0)]}, "tag")
    wanted = ["q0", "q1", "q19", "q2", "q none", "absent", "new york", "q"]
    expected = {"q0": "d%200", "q1": "d%201", "q19": "d%2019", "q2": "d%202", "new york": "a"}
    assert first_hits(tmp_path / "run", wanted) == expected
    assert list(first_hits(tmp_path / "run", ["q5", "q0"])) == ["q5", "q0"]  # in any order


def test_a_run_without_hits_has_no_first_ones(tmp_path):
    write_run(tmp_path / "run", {"q": []}, "tag")
    assert first_hits(tmp_path / "run", ["q"]) == {}
