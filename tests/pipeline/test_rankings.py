"""What a search of the corpus finds for queries made of it: of documents that training may see, and no others."""

import json

import numpy as np
import pytest

from nlift import pipeline
from nlift.config import Experiment
from nlift.data.corpus import load_corpus
from nlift.data.files import read_jsonl, read_rows
from nlift.data.passages import is_left_out, trained_on
from nlift.data.schema import RankedPassages, Triplet
from nlift.errors import DataError
from nlift.evaluation.judged_queries import LEAST_PAIRS, evidence
from nlift.models.encoder import Encoder
from nlift.pipeline import mine, rankings, train, triplets
from nlift.pipeline.stage import DataSize, run_stage
from nlift.pipeline.stage_folder import read_manifest
from nlift.training.objectives import RANKINGS

COUNT, LIMIT, LIST_SIZE = 80, 30, 5
WHO, DOES = ["woman", "man", "dog"], ["sees", "carries", "likes"]


def write_corpus(path, texts):
    path.write_text("".join(json.dumps({"_id": f"d{i:03}", "text": text}) + "\n" for i, text in enumerate(texts)))
    return str(path)


def texts(count=COUNT):
    """Documents of two sentences with a mark of their own in each."""
    return [
        f"The small {WHO[i % 3]} mark{i} {DOES[i // 3 % 3]} a red ball in the park. "
        f"An old man mark{i} wants to find the map near the river {DOES[i % 3]}."
        for i in range(count)
    ]


def ranking_experiment(folder, encoder, corpus, **changes):
    """An experiment that ranks passages of a corpus; its triplets are there, as if a run had made them."""
    settings = {"finds": "rankings", "encoder": str(encoder), "corpus": corpus, "list_size": LIST_SIZE, "limit": LIMIT}
    raw = {"name": "ranked", "output_dir": str(folder / "runs"), "nli": {"path": "embedded"}}
    raw |= {"translate": None, "score": None, "search": {"language": "en"}, "cluster": {"num_cpus": 2}}
    raw |= {"mine": {**settings, "max_length": 32, "num_actors": 1, **changes}}
    return Experiment.model_validate({**raw, "train": {"loss": "search_distillation", "base_model": str(encoder)}})


ROWS = [Triplet("1", "A dog runs.", "An animal moves.", "It sleeps."), Triplet("2", "A cat.", "An animal.", None)]


@pytest.fixture(scope="module")
def ranked(ray_session, bert, tmp_path_factory):
    """The stage `mine` that was run for rankings."""
    folder = tmp_path_factory.mktemp("ranked")
    experiment = ranking_experiment(folder, bert, write_corpus(folder / "corpus.jsonl", texts()))
    with triplets.STAGE.folder(experiment).writing() as output:
        output.write_rows(ROWS, Triplet)
    run_stage(mine.STAGE, experiment)
    return experiment


def test_each_query_has_the_best_passages_with_falling_scores(ranked):
    rows = read_rows(ranked.folder / "mine", RankedPassages, RANKINGS)
    assert len(rows) == len({row.query for row in rows}) == LIMIT
    known = {document.content for document in load_corpus(ranked.root.parent / "corpus.jsonl")}
    for row in rows:
        assert len(row.passages) == len(set(row.passages)) == len(row.scores) == LIST_SIZE
        assert set(row.passages) <= known
        assert row.scores == sorted(row.scores, reverse=True) and 0 <= row.scores[-1] <= row.scores[0] <= 1
    assert sum(row.scores[-1] < row.scores[0] - 0.1 for row in rows) > LIMIT / 3
    marked = [row for row in rows if "mark" in row.query]
    own = [next(word for word in row.query.split() if word.startswith("mark")) in row.passages[0] for row in marked]
    assert len(own) > 10 and all(own)  # words that one document alone has count


def test_documents_that_training_leaves_out_are_in_no_query_and_no_passage(ranked):
    left_out = [document for document in load_corpus(ranked.root.parent / "corpus.jsonl") if is_left_out(document)]
    marks = {word.strip(".") for document in left_out for word in document.text.split() if word.startswith("mark")}
    assert 2 < len(left_out) == len(marks) < COUNT / 4
    for row in read_rows(ranked.folder / "mine", RankedPassages, RANKINGS):
        assert not {document.content for document in left_out} & set(row.passages)
        assert not marks & set(row.query.split())


def test_triplets_stay_as_they_are_and_training_reads_both(ranked):
    assert read_rows(ranked.folder / "mine", Triplet) == ROWS
    manifest = read_manifest(ranked.folder / "mine")
    assert (manifest["rows_in"], manifest["rows_out"], manifest["queries"]) == (2, 2, LIMIT)
    examples = read_jsonl(ranked.folder / "mine" / "examples.jsonl")
    assert len(examples) == 20 and examples[0].keys() == {"query", "passages", "scores"}
    assert train.loop_settings(ranked, ranked.folder / "train").lessons == str(ranked.folder / "mine")
    assert train.STAGE.upstream(ranked) is mine.STAGE


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows(ranked):
    again = rankings.ranked(ranked, ranked.mine)
    before = read_rows(ranked.folder / "mine", RankedPassages, RANKINGS)
    assert [(row.query, row.passages) for row in again] == [(row.query, row.passages) for row in before]
    for row, other in zip(again, before, strict=True):
        assert row.scores == pytest.approx(other.scores, abs=1e-5)


@pytest.mark.parametrize("role", ["query", pytest.param("passage", marks=pytest.mark.slow)])
def test_texts_are_embedded_behind_the_sections_prefix(ranked, role):
    """A hub's e5 has none of its own."""
    encoder, prefix = Encoder.load(ranked.mine.encoder), f"the {role} is a dog: "
    config = ranked.mine.model_copy(update={f"{role}_prefix": prefix})
    asked = ["a man carries a map", "the red ball"]
    expected = encoder.encode([prefix + text for text in asked], max_length=32)
    np.testing.assert_allclose(rankings.vectors_of(asked, config, role), expected, atol=1e-5)
    other = rankings.vectors_of(asked, config, "passage" if role == "query" else "query")
    np.testing.assert_allclose(other, encoder.encode(asked, max_length=32), atol=1e-5)
    assert not np.allclose(other, expected, atol=0.01)


@pytest.mark.parametrize(
    "changes", [{"seed": 2}, {"search.language": "pl"}, {"mine.list_size": 4}, {"mine.limit": 31}], ids=str
)
def test_what_rankings_depend_on_makes_other_ones(ranked, changes):
    assert mine.STAGE.folder(ranked).done() and not mine.STAGE.folder(ranked.override(changes)).done()


def test_negatives_do_not_depend_on_the_search(ranked):
    plain = ranked.override({"mine.finds": "negatives", "train.loss": "simcse"})
    fingerprints = {
        mine.STAGE.folder(plain.override(changes)).fingerprint
        for changes in ({}, {"search.language": "pl"}, {"search.alpha": 0.3})
    }
    assert len(fingerprints) == 1


def test_what_it_would_do_is_said(ranked):
    assert mine.STAGE.work(ranked, DataSize()) == f"rankings from {ranked.mine.corpus}"


def fails(experiment):
    """The line of the DataError, the same from `check` as from `ranked`."""
    lines = set()
    for function in (rankings.check, rankings.ranked):
        with pytest.raises(DataError) as caught:
            function(experiment, experiment.mine)
        lines.add(str(caught.value))
    (line,) = lines
    assert len(line.splitlines()) == 1
    return line


def test_fewer_documents_than_a_list_has(bert, tmp_path):
    path = write_corpus(tmp_path / "few.jsonl", texts(40))
    seen = len(trained_on(load_corpus(tmp_path / "few.jsonl")))
    assert seen < 40
    enough = ranking_experiment(tmp_path, bert, path, list_size=seen)
    rankings.check(enough, enough.mine)
    line = fails(ranking_experiment(tmp_path, bert, path, list_size=seen + 1))
    assert line.startswith(f"mine: {path} has {seen} distinct documents to rank, fewer than mine.list_size {seen + 1}")


def test_documents_of_equal_text_are_one(bert, tmp_path):
    path = write_corpus(tmp_path / "twice.jsonl", texts(40) * 3)
    seen = len(trained_on(load_corpus(tmp_path / "twice.jsonl"))) // 3
    assert f"has {seen} distinct documents" in fails(ranking_experiment(tmp_path, bert, path, list_size=40))


def test_a_corpus_of_which_no_query_can_be_made(bert, tmp_path):
    """Of a document that is a single sentence nothing would be left to find."""
    single = [f"The small dog mark{i} likes a red ball in the park and the map" for i in range(40)]
    path = write_corpus(tmp_path / "single.jsonl", single)
    line = fails(ranking_experiment(tmp_path, bert, path))
    assert line.startswith("mine: no query can be made of ") and f"documents of {path}" in line


def test_what_cannot_be_ranked_is_found_before_work_starts(bert, tmp_path):
    path = write_corpus(tmp_path / "few.jsonl", texts(4))
    with pytest.raises(DataError, match=r"mine: .*few\.jsonl has \d distinct documents"):
        pipeline.preflight(ranking_experiment(tmp_path, bert, path))


def test_the_weights_of_the_search_are_chosen_on_pairs_of_the_corpus(bert, tmp_path):
    path = write_corpus(tmp_path / "corpus.jsonl", texts(400))
    assert len(evidence(load_corpus(tmp_path / "corpus.jsonl"), None).parts[0].queries) >= LEAST_PAIRS
    assert evidence(rankings._documents(ranking_experiment(tmp_path, bert, path).mine), None).source == "corpus"
