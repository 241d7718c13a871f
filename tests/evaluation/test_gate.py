"""A version beside the current one: figures, and when it is refused."""

import json

import numpy as np
import pytest

from nlift.data.schema import Document
from nlift.evaluation.gate import Comparison, Judged, compare


class Answers:
    """A bundle that has certain documents and finds a query's own one at a place."""

    class Corpus:
        ids = tuple(f"d{i}" for i in range(100))

        def __init__(self, changed=()):
            self.changed = changed

        def __getitem__(self, row):
            return Document(f"d{row}", "", f"text {row}{' changed' if row in self.changed else ''}", "{}")

    class Hit:
        def __init__(self, doc_id):
            self.doc_id = doc_id

    def __init__(self, version, place, changed=()):
        self.version, self.place, self.documents = version, place, self.Corpus(changed)

    def search(self, queries, top_k):
        answers = []
        for query in queries:
            place = self.place(int(query))
            others = [f"x{i}" for i in range(top_k)]
            answers.append([self.Hit(name) for name in [*others[:place], f"d{query}", *others[place:]][:top_k]])
        return answers


JUDGED = Judged.of_records([{"query": str(i), "relevant": {f"d{i}": 1}} for i in range(100)])


def compared(new, old, judged=JUDGED, margin=0.01):
    return compare(Answers("new", new), Answers("old", old), judged, margin)


def test_the_figures():
    comparison = compared(lambda i: 0, lambda i: 1 if i < 50 else 0)
    second = 1 / np.log2(3)
    assert comparison.new == 1 and comparison.old == pytest.approx(0.5 + 0.5 * second)
    assert comparison.low < comparison.difference < comparison.high and not comparison.refused
    assert (comparison.queries, comparison.source) == (100, "dev queries")
    assert "NDCG@10 of 100 dev queries: new 1.000, old 0.815, +0.185 [+" in str(comparison)
    assert json.loads(json.dumps(comparison.as_json()))["difference"] == pytest.approx(0.1845, abs=1e-4)


@pytest.mark.parametrize(
    ("new", "refused"),
    [
        (lambda i: 0, False),
        (lambda i: 1 if i < 2 else 0, False),  # .0074 worse, and that may be chance
        (lambda i: 1 if i < 3 else 0, True),  # .0111
        (lambda i: 10 if i == 0 else 0, False),  # .01, the margin itself
        (lambda i: 1, True),
    ],
)
def test_worse_beyond_the_margin_is_refused(new, refused):
    assert compared(new, lambda i: 0).refused is refused


def test_surely_worse_is_refused_within_the_margin():
    comparison = compared(lambda i: 1 if i < 8 else 0, lambda i: 0, margin=0.5)
    assert -0.5 < comparison.difference < 0 and comparison.high < 0 and comparison.refused
    assert not compared(lambda i: 1 if i < 3 else 0, lambda i: 0, margin=0.5).refused


def test_queries_of_documents_that_one_lacks_do_not_count():
    records = [{"query": str(i), "relevant": {f"d{i}": 1, "x": 0}} for i in range(90, 130)]
    assert compared(lambda i: 0, lambda i: 0, Judged.of_records(records)) is None
    records = [{"query": str(i), "relevant": {f"d{i}": 1, "x": 0}} for i in range(80, 130)]
    assert compared(lambda i: 0, lambda i: 0, Judged.of_records(records)).queries == 20


def test_queries_of_documents_that_changed_do_not_count():
    new, old = Answers("new", lambda i: 0, changed=range(60)), Answers("old", lambda i: 0)
    assert compare(new, old, JUDGED).queries == 40


def test_pairs_of_one_document_count_as_one():
    records = [{"query": str(i % 30), "relevant": {f"d{i % 30}": 1}, "rest": "x"} for i in range(60)]
    judged = Judged.of_records(records)
    assert judged.source == "pairs made of the corpus" and judged.by_document
    assert judged.ndcg(Answers("a", lambda i: 1 if i == 0 else 0)).shape == (30,)


def test_a_gate_without_queries():
    assert compared(lambda i: 0, lambda i: 0, Judged.of_records([])) is None


def test_one_line():
    assert len(str(Comparison("a", "b", "dev queries", 3, 0.5, 0.5, -np.inf, np.inf, 0.01)).splitlines()) == 1
