"""Controls: what moves an encoder's vectors without training."""

import numpy as np
import pytest

from nlift.data.schema import Document
from nlift.evaluation import geometry
from nlift.evaluation.controls import moved, randomise
from nlift.evaluation.datasets import RetrievalSet, StsSet
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.models.encoder import Encoder


@pytest.fixture
def retrieval(sentences):
    documents = [Document(f"d{i}", "", text, "{}") for i, text in enumerate(sentences)]
    return RetrievalSet("s", documents, {"q": sentences[0]}, {"q": {"d1": 1}})


def test_a_centred_encoder_has_no_mean(bert, retrieval, sentences):
    base = Encoder.load(bert)
    centred = moved("centred", base, retrieval, 32)
    raw = base.encode(sentences, role="passage", max_length=32)
    vectors = centred.encode(sentences, role="passage", max_length=32)
    wanted = raw - raw.mean(0)
    assert vectors == pytest.approx(wanted / np.linalg.norm(wanted, axis=1, keepdims=True), abs=1e-4)
    assert geometry.anisotropy(vectors) < 0.1 < geometry.anisotropy(raw)


def test_a_whitened_encoder_uses_more_directions(bert, retrieval, sentences):
    base = Encoder.load(bert)
    ranks = [
        geometry.effective_rank(encoder.encode(sentences))
        for encoder in (base, moved("centred", base, retrieval, 32), moved("whitened", base, retrieval, 32))
    ]
    assert ranks == sorted(ranks) and ranks[0] < ranks[2]


def test_pairs_and_classes_are_fitted_to_too(bert, sentences):
    base = Encoder.load(bert)
    sts = StsSet("s", list(zip(sentences[:24], sentences[24:], strict=True)), [1.0] * 24)
    classes = LabelledSet("s", sentences, ["a", "b"] * 24)
    pairs = LabelledSet("s", sts.pairs, ["a", "b"] * 12)
    vectors = [moved("centred", base, dataset, 32).encode(sentences) for dataset in (sts, classes, pairs)]
    assert np.allclose(vectors[0], vectors[1], atol=1e-5) and np.allclose(vectors[0], vectors[2], atol=1e-5)


def test_random_weights_are_the_same_every_time_and_not_the_model_s(bert, sentences):
    encoders = [Encoder.load(bert) for _ in range(3)]
    before = encoders[0].encode(sentences)
    for encoder in encoders[1:]:
        randomise(encoder)
    first, second = (encoder.encode(sentences) for encoder in encoders[1:])
    assert (first == second).all() and np.abs(first - before).max() > 0.01
