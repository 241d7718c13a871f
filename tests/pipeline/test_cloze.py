"""Pairs of a corpus's own text: a sentence and the rest of its document."""

import json

import pytest

from nlift import pipeline
from nlift.config import Experiment
from nlift.data.corpus import load_corpus
from nlift.data.files import read_rows
from nlift.data.passages import is_left_out
from nlift.data.schema import Document, Triplet
from nlift.errors import DataError
from nlift.pipeline import cloze, train, triplets
from nlift.pipeline.cloze import drawn, pairs_of, trained_on
from nlift.pipeline.stage import run_stage
from nlift.pipeline.stage_folder import read_manifest
from nlift.settings import ClozeConfig
from nlift.training.batches import group_ids

CONFIG = ClozeConfig(corpus="embedded:poquad_pl", keep_share=0, min_characters=10)
PARTS = ["Kot", "Koty śpią cały dzień.", "Nie.", "Nocą polują na myszy!", "Rano wracają do domu."]
DOCUMENT = Document("d7", PARTS[0], " ".join(PARTS[1:]), "{}")


def test_every_sentence_of_some_length_and_the_title_meet_the_rest():
    pairs = list(pairs_of(DOCUMENT, CONFIG, seed=1))
    assert [pair.anchor for pair in pairs] == [PARTS[i] for i in (0, 1, 3, 4)]
    for pair in pairs:
        assert pair.positive == " ".join(part for part in PARTS if part != pair.anchor) and pair.negative is None
    assert len({pair.pair_id for pair in pairs}) == 4


def test_a_share_keeps_the_anchor_in_its_document():
    always = CONFIG.model_copy(update={"keep_share": 1})
    assert {pair.positive for pair in pairs_of(DOCUMENT, always, seed=1)} == {" ".join(PARTS)}
    half = CONFIG.model_copy(update={"keep_share": 0.5})
    documents = [Document(str(i), *PARTS[3:], "{}") for i in range(100)]
    kept = [pair.anchor in pair.positive for pair in drawn(documents, half, seed=1)]
    assert len(kept) == 200 and 70 < sum(kept) < 130


def test_some_sentences_are_drawn_by_seed_and_document_alone():
    few = CONFIG.model_copy(update={"pairs_per_document": 2})
    documents = [Document(str(i), *DOCUMENT.content.split(" ", 1), "{}") for i in range(50)]
    pairs = drawn(documents, few, seed=1)
    assert len(pairs) == 100 and pairs == drawn(documents, few, seed=1) != drawn(documents, few, seed=2)
    assert [pair for pair in pairs if pair.pair_id.startswith("cloze-9#")] == list(pairs_of(documents[9], few, seed=1))
    assert {pair.anchor for pair in pairs} == {PARTS[i] for i in (0, 1, 3, 4)}


def test_pairs_of_one_document_are_no_negatives_of_each_other():
    groups = group_ids(
        drawn([DOCUMENT, Document("d7#1", *DOCUMENT.content.upper().split(" ", 1), "{}")], CONFIG, seed=1)
    )
    assert len(groups) == 8 and len(set(groups[:4])) == len(set(groups[4:])) == 1 and groups[0] != groups[4]


def test_the_limit_draws_from_all_documents():
    documents = [Document(str(i), *DOCUMENT.content.split(" ", 1), "{}") for i in range(50)]
    limited = drawn(documents, CONFIG.model_copy(update={"limit": 30}), seed=1)
    everything = drawn(documents, CONFIG, seed=1)
    assert len(limited) == 30 and len({pair.pair_id.partition("#")[0] for pair in limited}) > 15
    assert limited == [pair for pair in everything if pair in limited]


def test_a_tenth_of_the_documents_by_their_text_is_left_out():
    documents = [
        Document(str(i), "", f"Zdanie numer {i}, dosyć długie. Drugie zdanie numer {i}.", "{}") for i in range(500)
    ]
    left_out = {document.doc_id for document in documents if is_left_out(document)}
    assert 30 < len(left_out) < 70
    pairs = drawn(documents, CONFIG, seed=1)
    assert not {pair.pair_id.removeprefix("cloze-").partition("#")[0] for pair in pairs} & left_out
    assert len(pairs) == 2 * (500 - len(left_out))
    twin = Document("another id", *[getattr(documents[0], name) for name in ("title", "text", "metadata")])
    assert is_left_out(twin) == is_left_out(documents[0])
    few = [document for document in documents if document.doc_id in left_out][:3]
    assert trained_on(few) == few  # else there would be none


def test_documents_of_one_part_have_no_pair():
    assert not list(pairs_of(Document("1", "", "A single sentence, long enough.", "{}"), CONFIG, 1))
    assert not list(pairs_of(Document("1", "Title", "", "{}"), CONFIG, 1))
    assert not list(pairs_of(Document("1", "", "Short. Tiny.", "{}"), CONFIG, 1))


def write_triplets(experiment):
    """The triplets that a run would have made, without one."""
    rows = [Triplet("1", "A dog runs.", "An animal moves.", "It sleeps."), Triplet("2", "A cat.", "An animal.", None)]
    with triplets.STAGE.folder(experiment).writing() as output:
        output.write_rows(rows, Triplet)
    return rows


@pytest.fixture
def experiment(tmp_path):
    """An experiment on a corpus of two documents, one of them too short; its triplets are there."""
    lines = [{"_id": "d7", "title": PARTS[0], "text": " ".join(PARTS[1:])}, {"_id": "d8", "text": "Nic."}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    cloze = {"corpus": str(tmp_path / "corpus.jsonl"), "min_characters": 10}
    raw = {"name": "cloze", "output_dir": str(tmp_path / "runs"), "nli": {"path": "embedded"}, "cloze": cloze}
    return Experiment.model_validate({**raw, "translate": None, "score": None})


def run(experiment):
    return run_stage(cloze.STAGE, experiment)


def test_the_stage_puts_pairs_beside_triplets_and_training_reads_them(experiment):
    rows = write_triplets(experiment)
    run(experiment)
    assert train.STAGE.upstream(experiment) is cloze.STAGE
    written = read_rows(experiment.folder / "cloze", Triplet)
    pairs = drawn(load_corpus(experiment.folder.parents[1] / "corpus.jsonl"), experiment.cloze, experiment.seed)
    assert written == [*rows, *pairs] and len(pairs) == 4
    manifest = read_manifest(experiment.folder / "cloze")
    assert (manifest["rows_in"], manifest["rows_out"]) == (2, 6)
    assert (manifest["triplets"], manifest["pairs"], manifest["documents_without"]) == (2, 4, 1)
    assert len((experiment.folder / "cloze" / "examples.jsonl").read_text().splitlines()) == 4
    assert run(experiment).seconds == 0


def test_pairs_alone(experiment):
    alone = experiment.override({"cloze.triplets": False})
    write_triplets(alone)
    run(alone)
    assert all(row.pair_id.startswith("cloze-d7#") for row in read_rows(alone.folder / "cloze", Triplet))


def test_another_seed_or_a_corpus_that_changed_makes_other_pairs(experiment):
    write_triplets(experiment)
    run(experiment)
    assert cloze.STAGE.folder(experiment).done()
    assert not cloze.STAGE.folder(experiment.override({"seed": 2})).done()
    with (experiment.folder.parents[1] / "corpus.jsonl").open("a") as stream:
        stream.write('\n{"_id": "d9", "text": "Zupełnie inny dokument. Ma dwa zdania."}')
    assert not cloze.STAGE.folder(experiment).done()


def test_a_corpus_without_any_pair_is_one_line_and_writes_nothing(experiment):
    write_triplets(experiment)
    with pytest.raises(
        DataError, match=r"cloze: none of 2 documents of .*corpus.jsonl has two parts, .*min_characters 500"
    ):
        run(experiment.override({"cloze.min_characters": 500, "cloze.corpus": _untitled(experiment)}))
    assert not (experiment.folder / "cloze").exists()


def _untitled(experiment):
    path = experiment.folder.parents[1] / "untitled" / "corpus.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(json.dumps({"_id": str(i), "text": " ".join(PARTS)}) for i in range(2)))
    return str(path)


def test_a_corpus_in_the_wrong_form_is_found_before_work_starts(experiment):
    path = experiment.folder.parents[1] / "corpus.jsonl"
    path.write_text('{"_id": "1", "txt": "x"}\n')
    with pytest.raises(DataError, match=r"corpus.jsonl:1: no column 'text'"):
        pipeline.preflight(experiment)
