"""Our figures beside those of sentence-transformers, mteb and scikit-learn, of one saved encoder on the same data."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from nlift.data.schema import Document
from nlift.data.sources import EMBEDDED
from nlift.data.table import read_table
from nlift.evaluation.datasets import load_beir, load_set
from nlift.evaluation.evaluator import measure_retrieval, measure_sts, measure_vectors
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.evaluation.probes import FOLDS, SEED, STRENGTHS, probe
from nlift.models.encoder import Encoder
from nlift.search.document_vectors import DocumentVectors
from nlift.settings import EvaluationSet

LENGTH = 32  # tokens, of all of them
ALIKE = 1e-5  # mteb rounds to five digits
pytestmark = pytest.mark.filterwarnings("ignore")  # of what the peers themselves call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The embedded encoder as nlift saves it, with a prefix before queries and another before documents."""
    folder = tmp_path_factory.mktemp("encoder")
    encoder = Encoder.load(EMBEDDED / "encoder", prefixes={"query": "pytanie: ", "passage": "tekst: "})
    encoder.max_length = LENGTH
    encoder.save(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return Encoder.load(folder)


@pytest.fixture
def peer(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def places():
    """300 documents and the 80 first queries of the embedded paragraphs."""
    whole = load_beir("poquad_pl", EMBEDDED / "data" / "poquad_pl")
    documents = list(whole.documents)[:300]
    there = {document.doc_id for document in documents}
    queries = [query for query, judged in whole.qrels.items() if judged.keys() <= there][:80]
    return replace(
        whole,
        documents=documents,
        queries={query: whole.queries[query] for query in queries},
        qrels={query: whole.qrels[query] for query in queries},
    )


def graded(dataset):
    """The same with two further judgements of each query, from -1 to 3."""
    ids, chance = [document.doc_id for document in dataset.documents], np.random.default_rng(0)
    qrels = {}
    for query, judged in dataset.qrels.items():
        drawn = zip(chance.choice(ids, 2), chance.integers(-1, 4, 2).tolist(), strict=True)
        qrels[query] = {**dict(drawn), **judged}
    return replace(dataset, qrels=qrels)


def in_sentence_transformers(peer, dataset):
    """NDCG@10, Recall, MRR@10 and MAP by sentence-transformers, which knows relevant and not relevant alone."""
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    relevant = {
        query: {doc_id for doc_id, relevance in judged.items() if relevance > 0}
        for query, judged in dataset.qrels.items()
    }
    documents = {document.doc_id: document.content for document in dataset.documents}
    evaluate = InformationRetrievalEvaluator(
        dataset.queries, documents, relevant, precision_recall_at_k=[10, 100], map_at_k=[1000]
    )
    figures = evaluate(peer)
    names = {"ndcg@10": "ndcg@10", "mrr@10": "mrr@10", "map": "map@1000"}
    names |= {"recall@10": "recall@10", "recall@100": "recall@100"}
    return {name: float(figures[f"cosine_{theirs}"]) for name, theirs in names.items()}


def in_mteb(peer, task, batch_size=32):
    import mteb

    results = mteb.evaluate(peer, task, cache=None, show_progress_bar=False, encode_kwargs={"batch_size": batch_size})
    return results.task_results[0].scores["test"][0]


def described(kind, score):
    """Metadata of a task whose data is at hand."""
    import mteb

    return mteb.TaskMetadata(
        name=f"Local{kind}",
        description="Data at hand.",
        dataset={"path": "none", "revision": "1"},
        type=kind,
        category="t2t",
        eval_splits=["test"],
        eval_langs=["pol-Latn"],
        main_score=score,
    )


def retrieval_in_mteb(peer, dataset, batch_size=32):
    """The same by mteb, which asks trec_eval."""
    import mteb
    from datasets import Dataset

    rows = [{"id": row.doc_id, "title": row.title, "text": row.text} for row in dataset.documents]
    queries = [{"id": query, "text": text} for query, text in dataset.queries.items()]

    class Local(mteb.abstasks.AbsTaskRetrieval):
        metadata = described("Retrieval", "ndcg_at_10")
        ignore_identical_ids = bool(dataset.own_documents)

        def load_data(self, **_):
            part = {"corpus": Dataset.from_list(rows), "queries": Dataset.from_list(queries), "top_ranked": None}
            self.dataset = {"default": {"test": {**part, "relevant_docs": dict(dataset.qrels)}}}
            self.data_loaded = True

    figures = in_mteb(peer, Local(), batch_size)
    names = {"ndcg@10": "ndcg_at_10", "mrr@10": "mrr_at_10", "map": "map_at_1000"}
    names |= {"recall@10": "recall_at_10", "recall@100": "recall_at_100"}
    return {name: figures[theirs] for name, theirs in names.items()}


def ours(encoder, dataset):
    retrieval = measure_retrieval("base", encoder, dataset, LENGTH)[0].groups["retrieval"]
    return {name: retrieval[name] for name in ("ndcg@10", "mrr@10", "map", "recall@10", "recall@100")}


def test_retrieval_is_that_of_sentence_transformers_and_of_mteb(encoder, peer, places):
    figures = ours(encoder, places)
    assert 0.1 < figures["ndcg@10"] < 0.9
    assert in_sentence_transformers(peer, places) == pytest.approx(figures, abs=1e-6)
    assert retrieval_in_mteb(peer, places) == pytest.approx(figures, abs=ALIKE)


def test_graded_and_negative_judgements_are_those_of_mteb(encoder, peer, places):
    dataset = graded(places)
    assert {grade for judged in dataset.qrels.values() for grade in judged.values()} == {-1, 0, 1, 2, 3}
    figures = ours(encoder, dataset)
    assert retrieval_in_mteb(peer, dataset) == pytest.approx(figures, abs=ALIKE)
    binary = in_sentence_transformers(peer, dataset)  # grades are all the same to it, which NDCG alone looks at
    assert binary.pop("ndcg@10") != pytest.approx(figures.pop("ndcg@10"), abs=1e-3)
    assert binary == pytest.approx(figures, abs=1e-6)


def test_a_query_without_a_relevant_document_is_zero_in_mteb_and_left_out_here(encoder, peer, places):
    asked = list(places.qrels)
    qrels = {**places.qrels, **{query: dict.fromkeys(places.qrels[query], -1) for query in asked[:20]}}
    dataset = replace(places, qrels=qrels)
    figures = ours(encoder, dataset)
    assert in_sentence_transformers(peer, dataset) == pytest.approx(figures, abs=1e-6)
    share = {name: value * 60 / 80 for name, value in figures.items()}
    assert retrieval_in_mteb(peer, dataset) == pytest.approx(share, abs=ALIKE)


def test_of_equal_documents_the_higher_id_comes_first_as_in_mteb(encoder, peer, places):
    """sentence-transformers takes them as its heap has them."""
    documents = list(places.documents)[:96]
    twins = [Document(f"z{document.doc_id}", document.title, document.text, "{}") for document in documents]
    there = {document.doc_id for document in documents}
    qrels = {query: judged for query, judged in places.qrels.items() if judged.keys() <= there}
    queries = {query: places.queries[query] for query in qrels}
    dataset = replace(places, documents=[*documents, *twins], queries=queries, qrels=qrels)
    once = encoder.encode([document.content for document in documents], role="passage", max_length=LENGTH)
    asked = encoder.encode(list(queries.values()), role="query", max_length=LENGTH)
    figures = measure_vectors("base", dataset, asked, DocumentVectors(np.concatenate([once, once]))).groups["retrieval"]
    # one text at a time: beside longer ones a text's vector may differ in the last bit from its twin's
    theirs = retrieval_in_mteb(peer, dataset, batch_size=1)
    assert theirs == pytest.approx({name: figures[name] for name in theirs}, abs=ALIKE)
    assert 0 < figures["mrr@10"] <= 0.5  # a twin that nobody judged stands before each answer


def test_queries_that_are_documents_do_not_find_themselves_as_in_mteb(encoder, peer, places):
    asked = {document.doc_id: document.content for document in list(places.documents)[:40]}
    qrels = {first: {second: 1} for first, second in itertools.pairwise(asked)}
    queries = {query: asked[query] for query in qrels}
    dataset = replace(places, queries=queries, qrels=qrels, own_documents=frozenset(queries))
    figures = ours(encoder, dataset)
    assert retrieval_in_mteb(peer, dataset) == pytest.approx(figures, abs=ALIKE)
    # sentence-transformers leaves them in
    kept = replace(dataset, own_documents=frozenset())
    assert in_sentence_transformers(peer, dataset) == pytest.approx(ours(encoder, kept), abs=1e-6)


def test_similarity_is_that_of_sentence_transformers_and_of_mteb(encoder, peer):
    import mteb
    from datasets import Dataset
    from sentence_transformers.evaluation import EmbeddingSimilarityEvaluator

    dataset = load_set(EvaluationSet(name="stsb_pl", kind="sts", path="embedded:stsb_pl", scale=(0, 5)))
    figures = measure_sts("base", encoder, dataset).groups["sts"]
    first, second = zip(*dataset.pairs, strict=True)
    theirs = EmbeddingSimilarityEvaluator(first, second, dataset.scores, main_similarity="cosine")(peer)

    class Local(mteb.abstasks.AbsTaskSTS):
        metadata = described("STS", "cosine_spearman")
        min_score, max_score = 0, 5

        def load_data(self, **_):
            columns = {"sentence1": first, "sentence2": second, "score": dataset.scores}
            self.dataset = {"test": Dataset.from_dict(columns)}
            self.data_loaded = True

    scores = in_mteb(peer, Local())
    assert 0.4 < figures["spearman"] < 0.9
    for name in ("spearman", "pearson"):
        assert theirs[f"{name}_cosine"] == pytest.approx(figures[name], abs=1e-5)
        assert scores[f"cosine_{name}"] == pytest.approx(figures[name], abs=1e-5)


def test_a_probe_is_logistic_regression_over_the_peer_s_vectors(encoder, peer):
    """Pairs of NLI by |u - v| and u * v, standardised, the regularisation of the best mean over folds."""
    rows = list(itertools.islice(read_table(EMBEDDED / "data" / "snli.tsv"), 420))
    texts, labels = [(row.text("premise"), row.text("hypothesis")) for row in rows], [row.text("label") for row in rows]
    dataset = LabelledSet("snli", texts[300:], labels[300:], LabelledSet("snli", texts[:300], labels[:300]))
    result = probe(encoder, dataset)
    first, second = (peer.encode([pair[side] for pair in texts]) for side in (0, 1))
    features, known = np.concatenate([np.abs(first - second), first * second], axis=1), np.array(labels)

    def fitted(learned, strength):
        scaler = StandardScaler().fit(features[learned])
        model = LogisticRegression(C=strength, max_iter=300).fit(scaler.transform(features[learned]), known[learned])
        return lambda asked: model.predict(scaler.transform(features[asked]))

    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(features[:300], known[:300]))
    means = [
        np.mean([(fitted(learned, strength)(asked) == known[asked]).mean() for learned, asked in folds])
        for strength in STRENGTHS
    ]
    predicted = fitted(np.arange(300), STRENGTHS[int(np.argmax(means))])(np.arange(300, 420))
    assert result.metrics()["accuracy"] == pytest.approx((predicted == known[300:]).mean(), abs=1e-9)
    assert list(result.predicted) == predicted.tolist()
