"""Learning rate by step, weight decay, and the word embeddings' own learning rate."""

from itertools import pairwise

import numpy as np
import pytest

from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.optimizer import optimizer_of, parameter_groups, rate, set_learning_rate


def test_the_rate_rises_then_falls():
    values = [rate(step, 100, 0.1) for step in range(100)]
    assert values[0] == pytest.approx(0.1) and max(values) == 1.0 and 0 < values[-1] < 0.02
    assert np.argmax(values) == 9
    assert all(a <= b for a, b in pairwise(values[:10]))
    assert all(a >= b for a, b in pairwise(values[10:]))


def test_decay_on_matrices_alone():
    encoder = Encoder.load("embedded")
    words, decayed, plain = parameter_groups(encoder, TrainConfig(weight_decay=0.01))
    assert words["params"] == list(encoder.backbone.get_input_embeddings().parameters())
    assert all(parameter.ndim > 1 for parameter in decayed["params"]) and all(
        parameter.ndim == 1 for parameter in plain["params"]
    )
    assert [group["weight_decay"] for group in (words, decayed, plain)] == [0.01, 0.01, 0.0]
    assert 1 + len(decayed["params"]) + len(plain["params"]) == len(list(encoder.parameters()))


def test_the_learning_rate_is_set_for_the_step_that_comes(bert):
    config = TrainConfig(learning_rate=0.5, warmup_share=0.1)
    optimizer = optimizer_of(Encoder.load(bert), config)
    assert set_learning_rate(optimizer, config, 4, 100) == pytest.approx(0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.25)] * 3


def test_word_embeddings_may_have_a_learning_rate_of_their_own(bert):
    config = TrainConfig(learning_rate=0.5, embedding_learning_rate=2.0, warmup_share=0.1)
    optimizer = optimizer_of(Encoder.load(bert), config)
    assert set_learning_rate(optimizer, config, 4, 100) == pytest.approx(0.25)
    words, *others = optimizer.param_groups
    assert words["lr"] == pytest.approx(1.0) and [group["lr"] for group in others] == [pytest.approx(0.25)] * 2
