"""Mined hard negatives: near the anchor, but not near enough to be a positive."""

import json

import numpy as np
import pytest

from nlift import pipeline
from nlift.data.files import read_rows
from nlift.data.schema import Triplet
from nlift.errors import DataError, ModelError
from nlift.models.encoder import Encoder
from nlift.pipeline import train
from nlift.pipeline.mine import STAGE, MinedNegative, choose, merge, normalised
from nlift.pipeline.stage_folder import read_manifest
from nlift.pipeline.train import before_training
from nlift.settings import MineConfig

ROW = Triplet("1", "A dog runs.", "An animal moves.", None)
CONFIG = MineConfig(encoder="embedded", margin=0.1, num_negatives=2)


def names(experiment):
    """The stages before training."""
    return [stage.name for stage in before_training(experiment)]


def test_likely_positives_are_left_out_and_the_nearest_others_taken():
    candidates = [("a", 0.95), ("b", 0.71), ("c", 0.7), ("d", 0.4), ("e", 0.3)]
    assert choose(ROW, set(), 0.8, candidates, CONFIG) == [("c", 0.7), ("d", 0.4)]
    assert choose(ROW, set(), 0.35, candidates, CONFIG) == []


def test_the_anchor_its_positives_and_repeats_are_never_taken():
    candidates = [
        ("a DOG  runs.", 0.5),
        ("an animal moves.", 0.5),
        ("It moves.", 0.5),
        ("A cat.", 0.4),
        ("a  cat.", 0.4),
        ("Rain.", 0.3),
    ]
    chosen = choose(ROW, {normalised("It  moves.")}, 0.9, candidates, CONFIG)
    assert [text for text, _ in chosen] == ["A cat.", "Rain."]


def test_rows_keep_what_they_had_where_nothing_is_found():
    rows = [ROW, Triplet("2", "x", "y", "z"), Triplet("3", "u", "v", "w")]
    mined = [MinedNegative(0, "p", 0.5, 0.8), MinedNegative(0, "q", 0.4, 0.8), MinedNegative(2, "r", 0.3, 0.7)]
    assert [(row.pair_id, row.negative) for row in merge(rows, mined)] == [
        ("1", "p"),
        ("1#2", "q"),
        ("2", "z"),
        ("3", "r"),
    ]


@pytest.fixture(scope="module")
def mined(ray_session, tiny_run):
    """Training data of the tiny run with negatives from its documents in the place of contradictions."""
    corpus = next(dataset.path for dataset in tiny_run.evaluate.sets if dataset.name == "tiny")
    mine = {
        "encoder": "embedded",
        "corpus": corpus,
        "margin": 0.02,
        "num_negatives": 2,
        "replace": True,
        "max_length": 64,
    }
    experiment = tiny_run.override({"name": "mined", "mine": mine})
    pipeline.run(experiment, names(experiment))
    return experiment


def test_negatives_come_from_the_corpus_and_keep_the_margin(mined):
    rows = read_rows(mined.folder / "mine", Triplet)
    with open(f"{mined.mine.corpus}/corpus.jsonl") as stream:
        documents = [json.loads(line) for line in stream]
    texts = {f"{document.get('title', '')} {document['text']}".strip() for document in documents}
    before = {row.pair_id: row for row in read_rows(mined.folder / "triplets", Triplet)}
    encoder = Encoder.load("embedded")
    changed = [row for row in rows if row.negative in texts]
    assert changed and {row.pair_id.split("#")[0] for row in rows} == before.keys()
    for row in changed:
        anchor = encoder.encode([row.anchor], role="query", max_length=64)[0]
        positive, negative = encoder.encode([row.positive, row.negative], role="passage", max_length=64)
        assert anchor @ negative <= anchor @ positive - 0.02 + 1e-5
    for row in rows:
        if row not in changed:
            assert row == before[row.pair_id]
    notes = read_manifest(mined.folder / "mine")
    assert notes["mined"] == len({row.pair_id.split("#")[0] for row in changed})
    assert notes["mean_similarity"]["mined"] < notes["mean_similarity"]["positive"] - 0.02
    assert len((mined.folder / "mine" / "examples.jsonl").read_text().splitlines()) == min(20, len(changed))


def test_training_reads_what_was_mined_and_nothing_is_mined_twice(mined):
    assert train.STAGE.upstream(mined) is STAGE
    assert all(result.seconds == 0 for result in pipeline.run(mined, names(mined)))


def test_rows_with_a_contradiction_keep_it_unless_told_otherwise(mined):
    kept = mined.override({"name": "kept", "mine.replace": False, "mine.corpus": None})
    pipeline.run(kept, names(kept))
    before = {row.pair_id: row for row in read_rows(kept.folder / "triplets", Triplet)}
    after = {row.pair_id: row for row in read_rows(kept.folder / "mine", Triplet)}
    assert all(after[name].negative == row.negative for name, row in before.items() if row.negative)


@pytest.mark.slow
def test_nothing_passes_and_no_row_has_a_negative(mined):
    changes = {"name": "none", "triplets.require_negative": False, "nli.labels": ["entailment"], "mine.margin": 2}
    experiment = mined.override(changes)
    with pytest.raises(DataError, match=r"mine: no candidate passes for any of \d+ triplets"):
        pipeline.run(experiment, names(experiment))


def test_an_encoder_or_a_corpus_that_is_none_is_found_before_work_starts(tiny_run, tmp_path):
    with pytest.raises(ModelError):
        pipeline.preflight(tiny_run.override({"name": "wrong", "mine": {"encoder": str(tmp_path)}}))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "txt": "x"}\n')
    with pytest.raises(DataError, match="text"):
        pipeline.preflight(
            tiny_run.override({"name": "wrong", "mine": {"encoder": "embedded", "corpus": str(tmp_path)}})
        )


def test_vectors_do_not_depend_on_the_batch(ray_session):
    """What the margin is computed from is what the encoder gives alone."""
    from nlift.models.embed import embed

    texts = [f"zdanie numer {i}" for i in range(5)]
    vectors = embed(texts, "embedded", role="passage", max_length=32, title="test", unit="texts")
    np.testing.assert_allclose(
        vectors, Encoder.load("embedded").encode(texts, role="passage", max_length=32), atol=1e-5
    )
