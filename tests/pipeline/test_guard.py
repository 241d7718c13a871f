"""The guard at the end of training: what it looks at, and that it keeps the best by what nobody reports."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from nlift import progress
from nlift.config import Experiment
from nlift.data.corpus import load_corpus
from nlift.data.passages import digest, is_left_out
from nlift.data.sources import EMBEDDED
from nlift.errors import DataError
from nlift.evaluation.datasets import in_dev, load_set
from nlift.evaluation.encoder_choice import Candidate, RetrievalJudge, StsJudge, choose
from nlift.evaluation.judged_queries import LEAST_DEV
from nlift.models.encoder import Encoder
from nlift.models.whitening import fitted, whitened
from nlift.pipeline import guard
from nlift.report import training_tables

COUNT = 300  # documents, and queries, of which a fifth is dev
WORDS = ["river", "bridge", "garden", "window", "letter", "doctor", "kitchen", "forest"]
RETRIEVAL, STS = {"kind": "retrieval"}, {"kind": "sts"}


def text_of(i):
    """Three sentences of some words that all share and some of a document's own."""
    own = [f"{WORDS[(i + n) % 8]}{i % (7 + n)}{chr(97 + i % 26)}" for n in range(3)]
    return " ".join(f"The {word} number {i} is near the {WORDS[(i * 3 + n) % 8]}." for n, word in enumerate(own))


def beir(folder, documents, queries, qrels):
    """A folder in BEIR form."""
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": name, "text": text} for name, text in documents.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"_id": name, "text": text} for name, text in queries.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"{query}\t{document}\t1" for query, document in qrels.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return str(folder)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A retrieval set of 300 documents with a query each."""
    documents = {f"d{i:03}": text_of(i) for i in range(COUNT)}
    queries = {f"q{i}": " ".join(text_of(i).split()[1:4]) for i in range(COUNT)}
    qrels = {f"q{i}": f"d{i:03}" for i in range(COUNT)}
    return beir(tmp_path_factory.mktemp("places") / "set", documents, queries, qrels)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Scored sentence pairs."""
    path = tmp_path_factory.mktemp("pairs") / "sts.tsv"
    lines = [f"{text_of(i)}\t{text_of(i + i % 5)}\t{5 - i % 5}" for i in range(150)]
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *lines]) + "\n")
    return str(path)


@pytest.fixture
def experiment(tmp_path, places, pairs):
    """An experiment with sets to look at, none of which it does."""
    sets = [{"name": "places", "path": places, **RETRIEVAL}, {"name": "pairs", "path": pairs, **STS}]
    raw = {"name": "guarded", "output_dir": str(tmp_path / "runs"), "nli": {"path": "embedded"}}
    return Experiment.model_validate({**raw, "translate": None, "score": None, "evaluate": {"sets": sets}})


@pytest.fixture
def said(caplog):
    """The lines that were said; what was said before is said again."""
    progress.notice.cache_clear()
    caplog.set_level(logging.WARNING, logger="nlift")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "nlift"]


def test_of_a_retrieval_set_the_dev_queries_are_looked_at(experiment, places):
    (judge,) = guard.judges(experiment.override({"train.dev": "places"}))
    whole = load_set(experiment.evaluate.sets[0])
    assert isinstance(judge, RetrievalJudge) and judge.evidence.source == "dev"
    dev = {text for name, text in whole.queries.items() if in_dev(name)}
    (part,) = judge.evidence.parts
    assert set(part.queries) == dev and LEAST_DEV <= len(part.queries) == len(dev) < 100
    assert list(part.texts) == [document.content for document in whole.in_row_order()]
    assert judge.name == f"{len(dev)} dev queries of places" and judge.metric == "ndcg@10"


def test_of_sentence_pairs_the_dev_part_is_looked_at(experiment):
    (judge,) = guard.judges(experiment.override({"train.dev": "pairs"}))
    whole = load_set(experiment.evaluate.sets[1])
    dev = [i for i in range(150) if in_dev(str(i))]
    assert isinstance(judge, StsJudge) and judge.name == f"{len(dev)} dev pairs of pairs"
    assert judge.dataset.pairs == [whole.pairs[i] for i in dev] and len(dev) > 2
    assert judge.dataset.scores == [whole.scores[i] for i in dev]


@pytest.mark.parametrize("section", ["index", "cloze"])
def test_without_a_dev_set_pairs_of_the_corpus_are_looked_at(experiment, places, section):
    (judge,) = guard.judges(experiment.override({section: {"corpus": places}}))
    assert judge.evidence.source == "corpus" and "pairs made of the corpus" in judge.name
    asked = [next(iter(relevant)) for relevant in judge.evidence.parts[0].relevance]
    assert asked and all(is_left_out(judge.evidence.documents[row]) for row in asked)
    assert set(judge.evidence.documents) == set(load_corpus(Path(places)))


def test_the_corpus_of_the_index_counts_before_that_of_cloze(experiment, places, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"_id": str(i), "text": f"Else {text_of(i)}"}) + "\n" for i in range(COUNT)))
    (judge,) = guard.judges(experiment.override({"cloze": {"corpus": places}, "index": {"corpus": str(other)}}))
    assert all(document.text.startswith("Else ") for document in judge.evidence.documents)


def test_nothing_to_look_at(experiment):
    assert guard.judges(experiment) == []


def test_a_corpus_of_too_few_pairs_is_nothing_to_look_at(experiment, tmp_path):
    path = tmp_path / "short.jsonl"
    path.write_text("".join(json.dumps({"_id": str(i), "text": f"short {i}"}) + "\n" for i in range(COUNT)))
    assert guard.judges(experiment.override({"index": {"corpus": str(path)}})) == []


def test_further_sets_follow_the_first(experiment, places, pairs, tmp_path):
    more = experiment.evaluate.model_dump()["sets"] + [{"name": "more", "path": pairs, **STS}]
    changed = experiment.override({"evaluate.sets": more, "train.dev": "pairs", "train.guard": ["more", "places"]})
    first, *further = guard.judges(changed)
    assert "pairs of pairs" in first.name
    assert [judge.name.split(" of ")[1] for judge in further] == ["places", "more"]  # in the order of evaluate.sets


def test_too_few_dev_queries_leave_pairs_of_the_sets_own_text(experiment, tmp_path, places):
    documents = {document.doc_id: document.text for document in load_corpus(Path(places))}
    few = [f"q{i}" for i in range(COUNT) if in_dev(f"q{i}")][: LEAST_DEV - 1]
    path = beir(tmp_path / "few", documents, dict.fromkeys(few, "x"), {name: f"d{int(name[1:]):03}" for name in few})
    sets = [{"name": "few", "path": path, **RETRIEVAL}]
    (judge,) = guard.judges(experiment.override({"evaluate.sets": sets, "train.dev": "few"}))
    assert judge.evidence.source == "corpus" and f"there are {LEAST_DEV - 1} dev queries of few" in judge.name


@pytest.mark.parametrize("most", [200, 20])
def test_of_a_large_set_every_answer_is_kept(experiment, monkeypatch, most):
    monkeypatch.setattr(guard, "MOST_DOCUMENTS", most)
    (judge,) = guard.judges(experiment.override({"train.dev": "places"}))
    whole = load_set(experiment.evaluate.sets[0])
    answers = {f"d{int(name[1:]):03}" for name in whole.queries if in_dev(name)}
    kept = judge.evidence.documents
    assert len(judge.evidence.parts[0].queries) == len(answers)  # none is lost
    assert answers <= {document.doc_id for document in kept} and len(kept) == max(most, len(answers)) < COUNT
    assert kept == [document for document in whole.in_row_order() if document in kept]
    for query, relevant in zip(judge.evidence.parts[0].queries, judge.evidence.parts[0].relevance, strict=True):
        (row,) = relevant
        assert query in kept[row].text
    others = [digest(document) for document in kept if document.doc_id not in answers]
    left = [digest(document) for document in whole.documents if document not in kept]
    assert not others or max(others) < min(left)  # by their text alone


def test_of_a_large_corpus_some_documents_are_taken_by_their_text(experiment, monkeypatch, places, tmp_path):
    turned = tmp_path / "turned.jsonl"
    lines = (Path(places) / "corpus.jsonl").read_text().splitlines()
    turned.write_text("\n".join(reversed(lines)))
    first, second = (experiment.override({"index": {"corpus": path}}) for path in (places, str(turned)))
    assert len(guard.corpus(first)) == COUNT and guard.corpus(experiment) == []
    monkeypatch.setattr(guard, "MOST_DOCUMENTS", 120)
    assert len(guard.corpus(first)) == 120 and guard.corpus(first) == guard.corpus(second)


def few_and_short(folder, kind):
    """A set with nothing in its dev part, and of texts without parts."""
    if kind == "sts":
        folder.mkdir()
        lines = ["sentence1\tsentence2\tscore", *(f"a{i}\tb{i}\t{i}" for i in range(2))]
        (folder / "sts.tsv").write_text("\n".join(lines) + "\n")
        return str(folder / "sts.tsv")
    return beir(folder, {"d1": "One.", "d2": "Two."}, {"q1": "one"}, {"q1": "d1"})


@pytest.mark.parametrize("kind", ["retrieval", "sts"])
def test_a_further_set_with_too_little_to_look_at_is_refused(experiment, tmp_path, kind):
    sets = [*experiment.evaluate.model_dump()["sets"], {"name": "small", "kind": kind}]
    sets[-1]["path"] = few_and_short(tmp_path / "small", kind)
    changed = experiment.override({"evaluate.sets": sets, "train.dev": "places", "train.guard": ["pairs", "small"]})
    with pytest.raises(DataError) as caught:
        guard.check(changed)
    assert "train.guard 'small': too little" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_further_sets_of_enough_are_taken(experiment):
    guard.check(experiment.override({"train.dev": "places", "train.guard": ["pairs"]}))
    guard.check(experiment)


@pytest.mark.parametrize("kind", ["retrieval", "sts"])
def test_where_the_dev_set_has_too_little_further_sets_decide(experiment, tmp_path, kind):
    sets = [*experiment.evaluate.model_dump()["sets"], {"name": "small", "kind": kind}]
    sets[-1]["path"] = few_and_short(tmp_path / "small", kind)
    small = experiment.override({"evaluate.sets": sets, "train.dev": "small"})
    guard.check(small)
    assert guard.judges(small) == []
    (judge,) = guard.judges(small.override({"train.guard": ["places"]}))
    assert judge.name.endswith("dev queries of places")


def test_a_whitening_wants_a_document_for_each_dimension(experiment, bert, tmp_path):
    """Of fewer most directions are unknown; of one the only vector would become 0."""
    width = Encoder.load(bert).dim
    paths = {count: tmp_path / f"{count}.jsonl" for count in (1, width - 1, width)}
    for count, path in paths.items():
        path.write_text("".join(json.dumps({"_id": str(i), "text": text_of(i)}) + "\n" for i in range(count)))
    changes = {"train.base_model": str(bert), "train.base_share": 0, "train.whitening": 0.25}
    for count, path in paths.items():
        whitened_by = experiment.override({**changes, "index": {"corpus": str(path)}})
        if count == width:
            guard.check(whitened_by)
        else:
            with pytest.raises(DataError, match=f"^whitening: a corpus of {count} documents, expected {width} or more"):
                guard.check(whitened_by)


class WordEncoder:
    """Texts to vectors by their words, some of which it does not know."""

    def __init__(self, unknown):
        self.unknown = unknown

    def encode(self, texts, *, role=None, max_length=None):
        vectors = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                if sum(word.encode()) % 10 >= self.unknown:
                    vectors[row, hash_of(word) % 255] += 1
        vectors[:, 255] = 0.01
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hash_of(word):
    value = 0
    for letter in word.strip("."):
        value = value * 31 + ord(letter)
    return value


def verdict_of(experiment):
    """What would be chosen of encoders that know more or fewer words."""
    judges = guard.judges(experiment)
    encoders = {Candidate(0.0): 7, Candidate(0.5): 2, Candidate(1.0): 4}
    values = {
        candidate: [judge.values(WordEncoder(unknown), 64) for judge in judges]
        for candidate, unknown in encoders.items()
    }
    return choose(judges, values, 0.01).as_json()


@pytest.mark.parametrize("part", ["reported", "dev"])
def test_nothing_is_chosen_on_what_is_reported(experiment, tmp_path, places, pairs, part):
    """Other reported queries, judgements and pairs leave the verdict; other dev ones do not."""
    documents = {document.doc_id: document.text for document in load_corpus(Path(places))}
    whole = load_set(experiment.evaluate.sets[0])

    def is_changed(name):
        return in_dev(name) == (part == "dev")

    queries = {name: "bridge number 7" if is_changed(name) else text for name, text in whole.queries.items()}
    qrels = {name: "d001" if is_changed(name) else next(iter(judged)) for name, judged in whole.qrels.items()}
    header, *lines = Path(pairs).read_text().splitlines()
    lines = [f"x\ty\t{i % 3}" if is_changed(str(i)) else line for i, line in enumerate(lines)]
    (tmp_path / "sts.tsv").write_text("\n".join([header, *lines]) + "\n")
    sets = [
        {"name": "places", "path": beir(tmp_path / "changed", documents, queries, qrels), **RETRIEVAL},
        {"name": "pairs", "path": str(tmp_path / "sts.tsv"), **STS},
    ]
    looking = experiment.override({"train.dev": "places", "train.guard": ["pairs"]})
    before, after = verdict_of(looking), verdict_of(looking.override({"evaluate.sets": sets}))
    assert all(len({row["figures"][place] for row in before["candidates"]}) == 3 for place in (0, 1))
    assert (before == after) == (part == "reported")


def files(folder):
    """Content of every file of a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COPIED = [
    {"train.base_share": 0, "train.whitening": None},
    {"train.base_share": 0.5, "train.dev": "places"},  # training itself has averaged
]


@pytest.mark.parametrize("changes", COPIED, ids=str)
def test_where_nothing_is_left_open_files_are_copied_as_they_are(experiment, bert, tmp_path, said, changes):
    stale = tmp_path / "stage" / "encoder" / "stale.txt"
    stale.parent.mkdir(parents=True)
    stale.write_text("of a run that was cut")
    changed = experiment.override(
        {"index": {"corpus": "embedded:poquad_pl"}, "train.base_model": "no/model", **changes}
    )
    assert guard.keep_best(changed, bert, tmp_path / "stage") is None
    assert files(tmp_path / "stage") == {f"encoder/{name}": content for name, content in files(bert).items()}
    assert said() == []


def test_nothing_to_compare_on_is_said_and_files_are_copied(experiment, bert, tmp_path, said):
    assert guard.keep_best(experiment, bert, tmp_path / "stage") is None
    assert files(tmp_path / "stage" / "encoder") == files(bert) and not (tmp_path / "stage" / guard.FILE).exists()
    assert said() == [guard.NOTHING] and len(guard.NOTHING.splitlines()) == 1


def test_a_further_set_counts_whatever_the_whitening(experiment, places):
    """Of every setting there is the base itself, to which a candidate may lose no more than the margin."""
    config = experiment.override({"index": {"corpus": places}, "train.whitening": 0.25}).train
    candidates = [candidate for share in guard.SHARES for candidate in guard._candidates(config, share, ["a text"])]
    assert Candidate(1.0) in candidates


@pytest.fixture(scope="module")
def poquad(tmp_path_factory):
    """Sixty Polish dev questions, and their documents with some more."""
    source = EMBEDDED / "data" / "poquad_pl"
    queries = [json.loads(line) for line in (source / "queries.jsonl").read_text().splitlines()]
    judged = dict(line.split("\t")[:2] for line in (source / "qrels" / "test.tsv").read_text().splitlines()[1:])
    dev = [query for query in queries if in_dev(query["_id"])][::10][:60]
    test = next(query for query in queries if not in_dev(query["_id"]))
    wanted = {query["_id"]: query["text"] for query in [*dev, test]}
    documents = [json.loads(line) for line in (source / "corpus.jsonl").read_text().splitlines()]
    answers = {judged[name] for name in wanted}
    texts = {row["_id"]: row["text"] for i, row in enumerate(documents) if row["_id"] in answers or i % 20 == 0}
    return beir(tmp_path_factory.mktemp("poquad") / "set", texts, wanted, {name: judged[name] for name in wanted})


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """The embedded encoder with much random noise in its weights."""
    torch.manual_seed(1)
    encoder = Encoder.load("embedded")
    with torch.no_grad():
        for weights in encoder.backbone.parameters():
            weights.add_(4 * weights.std(correction=0) * torch.randn_like(weights))
    folder = tmp_path_factory.mktemp("noisy") / "encoder"
    encoder.save(folder)
    return folder


@pytest.fixture
def watched(experiment, poquad):
    """The experiment on the Polish questions."""
    sets = [{"name": "poquad", "path": poquad, **RETRIEVAL}]
    return experiment.override({"evaluate.sets": sets, "train.dev": "poquad", "cluster.num_cpus": 2})


def test_a_base_model_that_is_better_is_kept(ray_session, watched, noisy, tmp_path, sentences):
    verdict = guard.keep_best(watched.override({"train.whitening": None}), noisy, tmp_path)
    assert verdict["chosen"] == "base" and json.loads((tmp_path / guard.FILE).read_text()) == verdict
    assert [row["name"] for row in verdict["candidates"]] == ["tuned", "25% base", "50% base", "75% base", "base"]
    figures = {row["name"]: row["figures"][0] for row in verdict["candidates"]}
    assert figures["base"] == max(figures.values()) > figures["tuned"] + 0.1
    assert verdict["above"]["tuned"][0]["low"] > 0 and verdict["sets"][0]["queries"] == 60
    kept, base = Encoder.load(tmp_path / "encoder"), Encoder.load("embedded")
    np.testing.assert_allclose(kept.encode(sentences), base.encode(sentences), atol=1e-6)
    assert not np.allclose(Encoder.load(noisy).encode(sentences), base.encode(sentences), atol=0.1)
    assert kept.max_length == watched.inference_length
    table = training_tables.guard_table(verdict)
    assert [row.cells[0] for row in table.rows if row.strong] == ["base"]


def test_a_tuned_encoder_that_is_better_is_kept_with_the_whitening_of_the_corpus(
    ray_session, watched, noisy, tmp_path, sentences
):
    trained, corpus = tmp_path / "trained", tmp_path / "corpus.jsonl"
    documents = (EMBEDDED / "data" / "poquad_pl" / "corpus.jsonl").read_text().splitlines()
    corpus.write_text("\n".join(documents[:200]))  # more than a vector has dimensions
    shutil.copytree(EMBEDDED / "encoder", trained)
    changes = {
        "train.base_model": str(noisy),
        "train.whitening": 0.25,
        "index": {"corpus": str(corpus), "max_length": 48},
    }
    verdict = guard.keep_best(watched.override(changes), trained, tmp_path)
    assert (verdict["chosen"], verdict["base_share"], verdict["whitening"]) == ("tuned, whitened", 0.0, 0.25)
    plain = Encoder.load(trained)
    texts = [document.content for document in load_corpus(corpus)]
    whitening = fitted(plain.encode(texts, role="passage", max_length=48), 0.25)
    expected = whitened(plain.encode(sentences), whitening)
    vectors = Encoder.load(tmp_path / "encoder").encode(sentences)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    assert not np.allclose(vectors, plain.encode(sentences), atol=0.01)
    others = SentenceTransformer(str(tmp_path / "encoder"), device="cpu").encode(list(sentences))
    np.testing.assert_allclose(others, vectors, atol=1e-5)


def test_the_corpus_matters_only_where_it_is_looked_at(experiment, places):
    def identity(**changes):
        return guard.identity(experiment.override({"index": {"corpus": places}, **changes}))["corpus"]

    assert identity(**{"train.dev": None}) is not None
    assert identity(**{"train.dev": "places"}) is None
    assert identity(**{"train.dev": "places", "train.whitening": 0.25}) is not None
    assert identity(**{"train.dev": None, "train.base_share": 0}) is None
