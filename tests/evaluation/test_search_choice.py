"""How a corpus is to be searched, chosen on queries that nobody reports."""

import hashlib
import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from nlift.data.passages import is_left_out
from nlift.data.schema import Document
from nlift.errors import ConfigError
from nlift.evaluation.corpus_pairs import corpus_pairs
from nlift.evaluation.datasets import RetrievalSet, in_dev
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.evaluator import measure_retrieval
from nlift.evaluation.judged_queries import LEAST_DEV, evidence
from nlift.evaluation.search_choice import ALPHAS_A
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.document_vectors import DocumentVectors
from nlift.search.ranking import NO_ROW
from nlift.search.searchers import BM25Searcher, DenseSearcher, searchers
from nlift.search.vector_index import ExactIndex
from nlift.settings import SearchConfig

NOUNS = [
    "cat",
    "dog",
    "horse",
    "house",
    "street",
    "river",
    "mountain",
    "garden",
    "window",
    "bridge",
    "forest",
    "letter",
    "doctor",
    "teacher",
    "kitchen",
]
DIM = 256


class HashEncoder:
    """Texts to vectors by letters: `noise` is the share of each vector that says nothing."""

    def __init__(self, noise=0.0):
        self.noise = noise

    def encode(self, texts, *, role=None, max_length=None):
        vectors = np.zeros((len(texts), DIM), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                for size in (3, 4):
                    for start in range(max(len(word) - size + 1, 1)):
                        vectors[row, bucket(word[start : start + size])] += 1
            vectors[row] /= max(np.linalg.norm(vectors[row]), 1e-9)
            random = np.random.default_rng(bucket(text, 2**32)).normal(size=DIM)
            vectors[row] += self.noise * random / np.linalg.norm(random)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def bucket(text, size=DIM):
    return int(hashlib.md5(text.encode()).hexdigest(), 16) % size


def name(random):
    return "".join(random.choice(list("bdfgklmnprst"), 2)) + "a" + "".join(random.choice(list("bdfgklmnprst"), 3))


def sentence(random, topic):
    return f"The {' '.join(random.choice(NOUNS, 3))} of {' and '.join(random.choice(topic, 2))}."


@pytest.fixture(scope="module")
def dataset():
    """Documents of three sentences on a topic each, and queries that have some of their words."""
    random = np.random.default_rng(1)
    topics = [[name(random) for _ in range(3)] for _ in range(400)]
    documents = [
        Document(f"d{i:03}", "", " ".join(sentence(random, topic) for _ in range(3)), "{}")
        for i, topic in enumerate(topics)
    ]
    documents.sort(key=lambda document: document.doc_id, reverse=True)
    queries, qrels = {}, {}
    for i in range(400):
        document = documents[random.integers(400)]
        words = [word for word in document.text.rstrip(".").split() if word.islower()]
        queries[f"q{i}"] = " ".join([*random.choice(words, 2), random.choice(words)[:4]])
        qrels[f"q{i}"] = {document.doc_id: 1}
    return RetrievalSet("set", documents, queries, qrels)


def choice_of(dataset, encoder, config=None, dev=True):
    deployment = Deployment(config or SearchConfig(language="en"), None, dataset.part(dev=True) if dev else None)
    vectors = ExactIndex(encoder.encode([document.content for document in dataset.documents]))
    return deployment.choice(dataset.documents, vectors, encoder, 256)


def ndcg(dataset, encoder, settings):
    """NDCG@10 by mode of what the searchers return for a set's queries."""
    texts = [document.content for document in dataset.documents]
    index, words = ExactIndex(encoder.encode(texts)), BM25Index.build(texts, settings.analyzer)
    judged = evidence(dataset.documents, dataset).parts[0]
    by_mode = searchers(DenseSearcher(index, encoder.encode), BM25Searcher(words), settings)
    return {mode: judged.ndcg(searcher.search(judged.queries, 10)).mean() for mode, searcher in by_mode.items()}


def test_the_weight_is_the_best_one_on_the_dev_part(dataset):
    encoder, dev = HashEncoder(0.5), dataset.part(dev=True)
    choice = choice_of(dataset, encoder)
    assert choice.evidence.source == "dev" and choice.queries == len(dev.queries) >= LEAST_DEV
    by_alpha = [ndcg(dev, encoder, replace(choice.settings, alpha=alpha))["hybrid"] for alpha in ALPHAS_A.tolist()]
    figures = ndcg(dev, encoder, choice.settings)
    assert figures["hybrid"] == pytest.approx(max(by_alpha), abs=1e-9)
    assert choice.ndcg == pytest.approx(figures, abs=1e-4)
    assert choice.settings.mode == "hybrid" and 0 < choice.settings.alpha < 1
    better = max(("dense", "lexical"), key=figures.get)
    assert choice.gain["above"] == better
    assert choice.gain["mean"] == pytest.approx(figures["hybrid"] - figures[better], abs=1e-4)
    assert choice.gain["low"] < choice.gain["mean"] < choice.gain["high"]


def test_a_worse_encoder_gets_less_weight(dataset):
    good, bad = (choice_of(dataset, HashEncoder(noise)).settings.alpha for noise in (0.2, 3.0))
    assert bad < good


def test_an_encoder_that_knows_nothing_does_no_harm(dataset):
    encoder = HashEncoder(1000.0)
    for dev in (True, False):
        settings = choice_of(dataset, encoder, dev=dev).settings
        figures = ndcg(dataset.part(dev=False), encoder, settings)
        assert figures["dense"] < 0.1 and figures[settings.mode] > figures["lexical"] - 0.02


def test_without_queries_pairs_of_the_corpus_decide(dataset):
    encoder = HashEncoder(0.5)
    choice = choice_of(dataset, encoder, dev=False)
    assert choice.evidence.source == "corpus" and "pairs made of the corpus" in choice.evidence.reason
    figures = ndcg(dataset, encoder, choice.settings)
    assert figures["hybrid"] > max(figures["dense"], figures["lexical"]) - 0.01
    records = choice.evidence.records()
    assert len(records) == choice.queries == len(choice.evidence.parts[0].queries)
    for record in records:
        (doc_id,) = record["relevant"]
        text = next(document.text for document in dataset.documents if document.doc_id == doc_id)
        assert record["query"] in text and record["query"] not in record["rest"]


@pytest.mark.parametrize("part", ["queries", "judgements"])
def test_nothing_is_chosen_on_what_is_reported(dataset, part):
    reported = [name for name in dataset.queries if not in_dev(name)]
    if part == "queries":
        changed = replace(dataset, queries={**dataset.queries, **dict.fromkeys(reported, "place1 number7")})
    else:
        changed = replace(dataset, qrels={**dataset.qrels, **{name: {"d001": 1} for name in reported}})
    results = []
    for whole in (dataset, changed):
        deployment = Deployment(SearchConfig(language="en"), None, whole.part(dev=True))
        alone, hybrid = measure_retrieval("x", HashEncoder(0.5), whole.part(dev=False), 256, "hybrid", deployment)
        results.append((hybrid.deployed, alone.groups["retrieval"]["ndcg@10"]))
    (before, first), (after, second) = results
    assert first != second and before.pop("reported") != after.pop("reported")
    assert before == after


def test_what_is_reported_is_what_the_chosen_search_gives(dataset):
    encoder, test = HashEncoder(0.5), dataset.part(dev=False)
    deployment = Deployment(SearchConfig(language="en"), None, dataset.part(dev=True))
    alone, hybrid = measure_retrieval("x", encoder, test, 256, "hybrid", deployment)
    figures = ndcg(test, encoder, choice_of(dataset, encoder).settings)
    assert hybrid.deployed["reported"]["ndcg@10"] == pytest.approx(figures, abs=1e-4)
    assert hybrid.groups["retrieval"]["ndcg@10"] == pytest.approx(figures["hybrid"])
    assert alone.groups["retrieval"]["ndcg@10"] == pytest.approx(figures["dense"])


def test_too_small_a_dev_part_is_said_and_pairs_are_taken(dataset):
    few = [*[name for name in dataset.queries if in_dev(name)][: LEAST_DEV - 1], "q0"]
    small = replace(
        dataset,
        queries={name: dataset.queries[name] for name in few},
        qrels={name: dataset.qrels[name] for name in few},
    )
    count = len(small.part(dev=True).queries)
    choice = choice_of(small, HashEncoder(0.5))
    assert choice.evidence.source == "corpus"
    assert f"there are {count} dev queries of set over these documents, below {LEAST_DEV}" in choice.evidence.reason
    alone = choice_of(dataset, HashEncoder(0.5), dev=False)
    assert (choice.settings, choice.ndcg) == (alone.settings, alone.ndcg)


def test_dev_queries_of_other_documents_do_not_count(dataset):
    changed = [replace(document, text=document.text + " More.") for document in dataset.documents[:200]]
    known = evidence([*changed, *dataset.documents[200:]], dataset.part(dev=True))
    same = {document.doc_id for document in dataset.documents[200:]}
    dev = dataset.part(dev=True)
    expected = {dev.queries[name] for name, judged in dev.qrels.items() if set(judged) <= same}
    counted = set(known.parts[0].queries) if known.source == "dev" else expected
    assert counted == expected and len(expected) < len(dev.queries)


def short_documents(count):
    random = np.random.default_rng(2)
    return [Document(f"d{9999 - i}", "", " ".join(random.choice(NOUNS, 2)) + str(i), "{}") for i in range(count)]


def test_short_documents_are_decided_by_how_clearly_the_encoder_tells_them_apart():
    dataset = RetrievalSet("short", short_documents(300), {}, {})
    choices = [choice_of(dataset, HashEncoder(noise), dev=False) for noise in (0.1, 2.0)]
    assert {choice.evidence.source for choice in choices} == {"separation"}
    assert "tells the documents apart" in choices[0].evidence.reason
    assert choices[0].settings.alpha > choices[1].settings.alpha
    assert all(choice.settings.mode == "hybrid" and choice.ndcg == {} for choice in choices)


def test_pairs_that_nobody_can_find_say_nothing():
    random = np.random.default_rng(3)
    words = [f"w{i}" for i in range(100_000)]  # no word stands twice: a sentence says nothing of the next
    documents = [
        Document(f"d{i:04}", "", " ".join(f"{' '.join(random.choice(words, 5)).capitalize()}." for _ in range(2)), "{}")
        for i in range(600, 0, -1)
    ]
    choice = choice_of(RetrievalSet("random", documents, {}, {}), HashEncoder(5.0), dev=False)
    assert choice.evidence.source == "separation" and "neither leg finds" in choice.evidence.reason


@pytest.mark.parametrize("count", [1, 5])
def test_a_corpus_of_a_few_documents_has_nothing_to_choose_on(count):
    choice = choice_of(RetrievalSet("few", short_documents(count), {}, {}), HashEncoder(), dev=False)
    assert (choice.evidence.source, choice.settings.alpha, choice.settings.mode) == ("nothing", 0.5, "hybrid")


def test_settings_are_taken_as_they_are(dataset):
    config = SearchConfig(language="en", analyzer="none", alpha=0.3, mode="lexical")
    choice = choice_of(dataset, HashEncoder(), config)
    assert choice.evidence.source == "settings" and not choice.evidence.parts
    settings = choice.settings
    assert (settings.analyzer.name, settings.alpha, settings.mode) == ("none", 0.3, "lexical")
    assert choice_of(dataset, HashEncoder(), config.model_copy(update={"mode": "auto"})).settings.alpha == 0.3
    rrf = choice_of(dataset, HashEncoder(0.5), SearchConfig(language="en", fusion="rrf"))
    assert rrf.settings.fusion == "rrf" and rrf.ndcg["hybrid"] > 0


def test_one_leg_answers_where_it_is_surely_better(dataset):
    fixed, useless = SearchConfig(language="en", alpha=0.9), HashEncoder(1000.0)
    assert choice_of(dataset, useless, fixed).settings.mode == "lexical"
    assert choice_of(dataset, useless, fixed.model_copy(update={"mode": "hybrid"})).settings.mode == "hybrid"


def test_the_analyzer_is_the_usual_one_unless_another_is_surely_better():
    random = np.random.default_rng(4)
    endings = ["ation", "ations", "ate", "ated"]  # one stem in English
    queries, qrels, documents = {}, {}, []
    for i in range(400):
        name = f"{''.join(random.choice(list('bdfgklmnprst'), 5))}{endings[i % 4]}"
        documents.append(Document(f"d{999 - i}", "", f"{name} and more", "{}"))
        queries[f"q{i}"], qrels[f"q{i}"] = name, {f"d{999 - i}": 1}
    exact = RetrievalSet("exact", documents, queries, qrels)
    deployment = Deployment(SearchConfig(language="en"), None, exact)
    assert deployment.analyzer(documents).name == "stem"
    roots = [f"{''.join(random.choice(list('bdfgklmnprst'), 5))}" for _ in range(100)]
    documents = [Document(f"d{999 - i}", "", f"{roots[i // 4]}{endings[i % 4]}", "{}") for i in range(400)]
    queries = {f"q{i}": documents[i].text for i in range(400)}
    forms = RetrievalSet("forms", documents, queries, {f"q{i}": {documents[i].doc_id: 1} for i in range(400)})
    assert Deployment(SearchConfig(language="en"), None, forms).analyzer(documents).name == "none"
    assert Deployment(SearchConfig(language="en", analyzer="stem"), None, forms).analyzer(documents).name == "stem"


def test_an_unknown_language_is_refused(dataset):
    for config in (SearchConfig(language="polish"), SearchConfig(language="uk", analyzer="stem")):
        with pytest.raises(ConfigError, match=r"unknown language 'polish'|the analyzer stem has no uk"):
            Deployment(config).check(dataset.documents)
    assert Deployment(SearchConfig()).language(dataset.documents) == "en"


def test_a_large_corpus_is_sampled(dataset):
    vectors = ExactIndex(HashEncoder().encode([document.content for document in dataset.documents]))
    judgements = evidence(
        dataset.documents, None, vectors, lambda texts: DocumentVectors(HashEncoder().encode(texts)), most=250
    )
    assert judgements.source == "corpus" and len(judgements.documents) == 250 == len(judgements.parts[0].texts)
    turned = [document.doc_id for document in judgements.documents]
    assert turned == [document.doc_id for document in dataset.documents if document in judgements.documents]
    again = evidence(dataset.documents[::-1], None, most=250)
    assert set(again.documents) == set(judgements.documents)  # those whose hash is least, whatever their order
    ids = {document.doc_id for document in dataset.documents}
    for record in judgements.records():
        assert set(record["relevant"]) <= ids


def test_of_a_dev_part_nothing_is_left_out_whatever_the_most(dataset):
    dev = dataset.part(dev=True)
    judgements = evidence(dataset.documents, dev, most=50)
    assert judgements.source == "dev" and len(judgements.parts[0].texts) == len(dataset.documents)
    few = replace(dev, queries={}, qrels={})
    assert evidence(dataset.documents, few, most=50).source == "nothing"  # of 50 documents too few are left out
    assert len(evidence(dataset.documents, few, most=250).documents) == 250


def test_a_pair_that_is_asked_twice_counts_once(dataset):
    judgements = choice_of(dataset, HashEncoder(0.5), dev=False).evidence
    pairs = judgements.parts[0]
    documents = {next(iter(judged)) for judged in pairs.relevance}
    values = np.array([float(next(iter(judged))) for judged in pairs.relevance])
    rounds = np.concatenate([[float(next(iter(judged))) for judged in part.relevance] for part in judgements.parts[1:]])
    assert np.array_equal(values, rounds)  # the same pairs in the same order
    assert sorted(judgements.by_document(np.concatenate([values, values + 1]))) == [
        row + 0.5 for row in sorted(documents)
    ]


def test_intact_pairs_are_asked_once_over_the_corpus_as_it_is(dataset):
    judgements = evidence(dataset.documents, None)
    (part,) = judgements.intact().parts
    assert part is judgements.parts[0] and list(part.texts) == [row.content for row in judgements.documents]
    rows = [next(iter(judged)) for judged in part.relevance]
    expected = [row / 2 for row in sorted(set(rows))]
    assert list(judgements.intact().by_document(np.array(rows) / 2)) == expected
    assert all(part.queries[i] in part.texts[row] for i, row in enumerate(rows))


def test_dev_queries_are_intact_anyway(dataset):
    judgements = evidence(dataset.documents, dataset.part(dev=True))
    assert judgements.source == "dev" and judgements.intact() is judgements


def test_of_equal_texts_one_makes_pairs(dataset):
    twice = [*dataset.documents, *(replace(document, doc_id=f"a{document.doc_id}") for document in dataset.documents)]
    once, doubled = evidence(dataset.documents, None), evidence(twice, None)
    assert [part.queries for part in doubled.parts] == [part.queries for part in once.parts]
    assert doubled.documents == once.documents


def test_a_book_makes_no_more_pairs_than_others():
    book = " ".join(f"Sentence number {i} of a very long book." for i in range(3000))
    documents = [Document(str(i), f"Book {i}", book, "{}") for i in range(60)]
    tracemalloc.start()
    pairs = corpus_pairs(documents)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < len(pairs) <= 4 * sum(map(is_left_out, documents)) and peak < 20 * 60 * len(book)


def test_own_documents_are_measured_as_they_are_chosen(dataset):
    documents = dataset.documents
    names = [document.doc_id for document in documents]
    queries = {document.doc_id: " ".join(document.text.split()[:9]) for document in documents}
    qrels = {name: {other: 1} for name, other in zip(names, [*names[1:], names[0]], strict=True)}
    whole = RetrievalSet("own", documents, queries, qrels, frozenset(names))
    deployment = Deployment(SearchConfig(language="en"), None, whole)
    _, hybrid = measure_retrieval("x", HashEncoder(0.5), whole, 256, "hybrid", deployment)
    assert hybrid.deployed["reported"]["ndcg@10"] == pytest.approx(hybrid.deployed["ndcg@10"], abs=1e-4)
    assert all(query not in dict(hits) for query, hits in hybrid.run.items())


def test_a_choice_as_json_says_all(dataset):
    row = choice_of(dataset, HashEncoder(0.5)).as_json()
    assert row["language"] == "en" and row["analyzer"] == "stem" and "PyStemmer" in row["analyzer_version"]
    assert {"mode", "alpha", "fusion", "depth", "chosen_on", "reason", "queries", "ndcg@10", "gain"} <= row.keys()


def test_a_query_that_is_a_document_does_not_find_itself(dataset):
    documents = dataset.documents
    queries = {document.doc_id: document.text for document in documents}
    qrels = {document.doc_id: {other.doc_id: 1} for document, other in itertools.pairwise(documents)}
    queries = {name: queries[name] for name in qrels}
    own = RetrievalSet("own", documents, queries, qrels, frozenset(queries))
    part = evidence(documents, own).parts[0]
    searcher = BM25Searcher(BM25Index.build(part.texts, Analyzer()))
    ranking = searcher.search(part.queries, 5, allowed=part.allowed)
    texts = [[documents[row].text for row in rows if row != NO_ROW] for rows in ranking.rows_QK]
    assert all(hits and query not in hits for query, hits in zip(part.queries, texts, strict=True))
    free = searcher.search(part.queries, 5)
    assert all(documents[rows[0]].text == query for query, rows in zip(part.queries, free.rows_QK, strict=True))
