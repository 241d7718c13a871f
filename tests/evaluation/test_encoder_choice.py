"""Which encoder is kept: judged on what nobody reports, each with its figures and how sure they are."""

import hashlib
import json

import numpy as np
import pytest
from scipy import stats

from nlift.data.passages import is_left_out
from nlift.data.schema import Document
from nlift.evaluation.datasets import RetrievalSet, StsSet
from nlift.evaluation.encoder_choice import (
    Candidate,
    RememberingEncoder,
    RetrievalJudge,
    StsJudge,
    WhitenedEncoder,
    choose,
)
from nlift.evaluation.judged_queries import Evidence, evidence
from nlift.evaluation.significance import interval
from nlift.models.whitening import fitted, whitened

DIM = 64
TUNED, QUARTER, BASE = Candidate(0.0), Candidate(0.25), Candidate(1.0)
WHITENED, WHITENED_BASE = Candidate(0.0, 0.25), Candidate(1.0, 0.25)


def direction(text):
    seed = int(hashlib.md5(text.encode()).hexdigest(), 16)
    return np.random.default_rng(seed).normal(size=DIM)


class WordEncoder:
    """Texts to vectors by their words, and a share that says nothing; it remembers what it was asked for."""

    def __init__(self, noise=0.0):
        self.noise, self.calls = noise, []

    def encode(self, texts, *, role=None, max_length=None):
        self.calls.append((list(texts), role, max_length))
        vectors = np.stack([self.vector(text) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def vector(self, text):
        words = sum(direction(word.strip(".")) for word in text.lower().split())
        return words + self.noise * direction(text)


class TopicEncoder(WordEncoder):
    """Knows what a text is about; one of two sentences it takes for the opposite."""

    def vector(self, text):
        topic = next(word for word in text.split() if word.startswith("topic"))
        return direction(topic.strip(".")) * (-1 if text.count(".") == 2 else 1)


@pytest.fixture(scope="module")
def documents():
    """Documents of three sentences on a topic of their own, by descending id."""
    names = [f"topic{i}" for i in range(400)]
    texts = [f"A first sentence about {name}. Words x{name} of {name}. More y{name} {name}." for name in names]
    return [Document(f"d{999 - i}", "", text, "{}") for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def judged(documents):
    """A judge of sixty queries, each with words of a document."""
    names = [f"q{i}" for i in range(60)]
    queries = {name: f"xtopic{i} and ytopic{i}" for i, name in enumerate(names)}
    qrels = {name: {documents[i].doc_id: 1} for i, name in enumerate(names)}
    return RetrievalJudge("places", evidence(documents, RetrievalSet("places", documents, queries, qrels)))


def nothing(name, metric="ndcg@10"):
    """A judge whose values are given."""
    return RetrievalJudge(name, Evidence("nothing", ""), metric)


def of(**values):
    """Values of three queries by judge, of candidates by a short name."""
    names = {"tuned": TUNED, "quarter": QUARTER, "base": BASE, "whitened": WHITENED, "whitened_base": WHITENED_BASE}
    return {names[name]: [np.full(3, value) for value in figures] for name, figures in values.items()}


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (TUNED, "tuned"),
        (BASE, "base"),
        (QUARTER, "25% base"),
        (WHITENED, "tuned, whitened"),
        (Candidate(0.75, 0.25), "75% base, whitened"),
    ],
)
def test_a_candidate_says_what_it_is(candidate, name):
    assert candidate.name == name


def test_each_query_has_the_ndcg_of_dense_search(judged):
    encoder, (part,) = WordEncoder(2.0), judged.evidence.parts
    values = judged.values(encoder, 77)
    similarities = encoder.encode(part.queries) @ encoder.encode(part.texts).T
    ranks = [
        int((row > row[next(iter(relevant))]).sum()) for row, relevant in zip(similarities, part.relevance, strict=True)
    ]
    expected = [1 / np.log2(rank + 2) if rank < 10 else 0.0 for rank in ranks]
    assert values == pytest.approx(expected) and 0 < np.mean(expected) < 1
    assert judged.figure(values) == pytest.approx(np.mean(expected))
    assert [call[1:] for call in encoder.calls[:2]] == [("passage", 77), ("query", 77)]


def test_a_worse_encoder_has_a_lower_figure(judged):
    good, bad = (judged.figure(judged.values(WordEncoder(noise), 64)) for noise in (0.0, 50.0))
    assert good > 0.5 and bad < 0.3


def test_pairs_of_the_corpus_are_a_value_for_each_document(documents):
    """Asked twice, of the whole document and of what is left of it: here only the first is found."""
    judgements = evidence(documents, None, separates=False)
    values = RetrievalJudge("pairs", judgements).values(TopicEncoder(), 64)
    left_out = [document for document in documents if is_left_out(document)]
    assert judgements.source == "corpus" and 20 < len(values) == len(left_out) < len(judgements.parts[0].queries)
    assert values == pytest.approx(0.5)


def test_how_far_a_search_is_above_another_is_students(judged):
    first, second = (judged.values(WordEncoder(noise), 64) for noise in (0.0, 4.0))
    mean, low, high = judged.above(first, second)
    assert mean == pytest.approx(first.mean() - second.mean()) and (low, high) == interval(first - second)
    assert judged.above(second, first)[0] == pytest.approx(-mean)


@pytest.fixture(scope="module")
def pairs():
    """Pairs of sentences that share some words, scored by how many."""
    random = np.random.default_rng(1)
    shared = [int(random.integers(6)) for _ in range(80)]
    texts = [
        (" ".join(f"a{i}w{n}" for n in range(5)), " ".join(f"{'a' if n < count else 'b'}{i}w{n}" for n in range(5)))
        for i, count in enumerate(shared)
    ]
    return StsJudge("pairs", StsSet("pairs", texts, [float(count) for count in shared]))


def test_pairs_are_judged_by_the_correlation_of_cosines(pairs):
    encoder = WordEncoder(1.0)
    values, scores = pairs.values(encoder, 64), pairs.dataset.scores
    by_hand = [np.dot(*encoder.encode(pair)) for pair in pairs.dataset.pairs]
    assert values == pytest.approx(by_hand, abs=1e-6) and values.dtype == np.float64
    assert pairs.metric == "spearman" and pairs.figure(values) == pytest.approx(stats.spearmanr(values, scores)[0])
    assert 0.5 < pairs.figure(values) < 1


def test_how_far_a_correlation_is_above_another_has_an_interval_around_it(pairs):
    good, bad = (pairs.values(WordEncoder(noise), 64) for noise in (0.0, 20.0))
    mean, low, high = pairs.above(good, bad)
    assert mean == pytest.approx(pairs.figure(good) - pairs.figure(bad))
    assert 0 < low < mean < high
    assert pairs.above(good, good) == (0, 0, 0)


def test_no_text_is_encoded_twice():
    inner = WordEncoder()
    encoder = RememberingEncoder(inner)
    first = encoder.encode(["one two", "three", "one two"], role="query", max_length=8)
    second = encoder.encode(["three", "four", "one two"], role="query", max_length=8)
    assert [texts for texts, _, _ in inner.calls] == [["one two", "three"], ["four"]]
    assert np.array_equal(first, WordEncoder().encode(["one two", "three", "one two"]))
    assert np.array_equal(second, WordEncoder().encode(["three", "four", "one two"]))
    encoder.encode(["four", "three"], role="query", max_length=8)
    assert len(inner.calls) == 2


def test_a_text_of_another_role_or_length_is_another_text():
    inner = WordEncoder()
    encoder = RememberingEncoder(inner)
    for role, length in (("query", 8), ("passage", 8), ("query", 9), (None, None), ("query", 8)):
        encoder.encode(["one"], role=role, max_length=length)
    assert [call[1:] for call in inner.calls] == [("query", 8), ("passage", 8), ("query", 9), (None, None)]


def test_a_whitening_follows_the_encoder(documents):
    texts, inner = [document.text for document in documents[:100]], WordEncoder()
    plain = inner.encode(texts)
    whitening = fitted(plain, 0.25)
    assert np.array_equal(WhitenedEncoder(inner, None).encode(texts), plain)
    after = WhitenedEncoder(inner, whitening).encode(texts, role="query", max_length=5)
    assert np.array_equal(after, whitened(plain, whitening)) and not np.allclose(after, plain, atol=0.01)
    assert inner.calls[-1] == (texts, "query", 5)


def test_the_best_by_the_first_set_is_kept():
    verdict = choose([nothing("first")], of(tuned=[0.5], quarter=[0.7], base=[0.6]), 0.01)
    assert verdict.chosen == QUARTER and verdict.held_back == ()
    assert verdict.figure(QUARTER) == pytest.approx(0.7) and verdict.figure(BASE) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        (of(whitened_base=[0.5], base=[0.5], quarter=[0.5], whitened=[0.5], tuned=[0.5]), TUNED),
        (of(base=[0.5], whitened=[0.5], quarter=[0.5]), WHITENED),
        (of(whitened_base=[0.5], base=[0.5], quarter=[0.4]), BASE),
        (of(base=[0.5], quarter=[0.5], tuned=[0.4999]), QUARTER),
    ],
)
def test_of_equally_good_ones_the_nearest_to_the_tuned_weights_is_kept(values, chosen):
    assert choose([nothing("first")], values, 0.01).chosen == chosen


def test_one_that_loses_too_much_on_a_further_set_is_held_back():
    judges = [nothing("first"), nothing("second"), nothing("third")]
    values = of(
        tuned=[0.9, 0.4, 0.9],  # loses 0.35 of the second set
        whitened=[0.85, 0.9, 0.125],  # loses 0.375 of the third
        quarter=[0.7, 0.5, 0.25],  # loses no more than the margin of either
        base=[0.6, 0.75, 0.5],
    )
    verdict = choose(judges, values, 0.25)
    assert verdict.held_back == (TUNED, WHITENED) and verdict.chosen == QUARTER
    assert choose(judges, values, 0.5).chosen == TUNED and choose(judges, values, 0.0).chosen == BASE


def test_the_base_is_never_held_back():
    """However bad it is, and whatever the margin; its whitened form may be."""
    judges = [nothing("first"), nothing("second")]
    verdict = choose(judges, of(base=[0.1, 0.2], whitened_base=[0.3, 0.1], tuned=[0.9, 0.1]), 0.0)
    assert verdict.chosen == BASE and set(verdict.held_back) == {WHITENED_BASE, TUNED}


def test_what_is_best_on_a_further_set_alone_is_not_kept():
    judges = [nothing("first"), nothing("second")]
    assert choose(judges, of(tuned=[0.5, 0.9], base=[0.6, 0.2]), 0.01).chosen == BASE


def test_the_verdict_as_json_says_all(judged, pairs):
    judges, encoders = [judged, pairs], {TUNED: 3.0, QUARTER: 0.0, BASE: 4.0, WHITENED: 30.0}
    values = {
        candidate: [judge.values(WordEncoder(noise), 64) for judge in judges] for candidate, noise in encoders.items()
    }
    verdict = choose(judges, values, 0.05)
    content = json.loads(json.dumps(verdict.as_json(), allow_nan=False))
    assert (content["chosen"], content["base_share"], content["whitening"]) == ("25% base", 0.25, None)
    assert content["sets"] == [
        {"name": "places", "metric": "ndcg@10", "queries": 60},
        {"name": "pairs", "metric": "spearman", "queries": 80},
    ]
    rows = {row["name"]: row for row in content["candidates"]}
    assert list(rows) == ["tuned", "25% base", "base", "tuned, whitened"]
    assert rows["tuned, whitened"] == {
        "name": "tuned, whitened",
        "base_share": 0.0,
        "whitening": 0.25,
        "figures": [round(verdict.figure(WHITENED, place), 4) for place in (0, 1)],
        "held_back": True,
    }
    assert [row["held_back"] for row in rows.values()] == [False, False, False, True]
    assert list(content["above"]) == ["tuned", "base"]
    for other, candidate in (("tuned", TUNED), ("base", BASE)):
        for place, row in enumerate(content["above"][other]):
            expected = judges[place].above(values[QUARTER][place], values[candidate][place])
            assert tuple(row.values()) == pytest.approx(expected, abs=1e-4) and list(row) == ["mean", "low", "high"]
            assert row["low"] < row["mean"] < row["high"]


def test_the_chosen_one_is_no_further_above_itself(judged):
    values = {candidate: [judged.values(WordEncoder(noise), 64)] for candidate, noise in ((TUNED, 1.0), (BASE, 9.0))}
    content = choose([judged], values, 0.01).as_json()
    assert content["chosen"] == "tuned" and content["above"]["tuned"] == [{"mean": 0, "low": 0, "high": 0}]
    assert content["above"]["base"][0]["low"] > 0


def test_the_order_of_candidates_changes_nothing():
    values = of(tuned=[0.5, 0.5], quarter=[0.7, 0.5], whitened=[0.7, 0.5], base=[0.7, 0.6])
    verdicts = [
        choose([nothing("a"), nothing("b")], dict(rows), 0.2) for rows in (values.items(), [*values.items()][::-1])
    ]
    assert [verdict.chosen for verdict in verdicts] == [WHITENED, WHITENED]
