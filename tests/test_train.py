"""The parts of training that need no Ray: order, schedule, gradients of one step."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from nlift.config import TrainConfig
from nlift.encoder import Encoder
from nlift.errors import DataError
from nlift.loss import supervised_simcse_loss
from nlift.schema import Triplet
from nlift.train import TripletEmbedder, batch_loss, batch_of_step, group_ids, parameter_groups, rate, total_steps

ROWS = [Triplet(str(i), f"kotwica numer {i}", f"dobre zdanie {i} " + "i " * (i % 7), f"złe {i}") for i in range(20)]


def test_an_epoch_sees_every_triplet_once():
    seen = [row.pair_id for step in range(5) for row in batch_of_step(ROWS, step, 4, seed=3)]
    assert sorted(seen) == sorted(row.pair_id for row in ROWS)


def test_epochs_and_seeds_differ_and_steps_repeat():
    first, second = batch_of_step(ROWS, 0, 4, seed=3), batch_of_step(ROWS, 5, 4, seed=3)
    assert first != second and first != batch_of_step(ROWS, 0, 4, seed=4)
    assert first == batch_of_step(ROWS, 0, 4, seed=3)


def test_the_rate_rises_then_falls():
    values = [rate(step, 100, 0.1) for step in range(100)]
    assert values[0] == pytest.approx(0.1) and max(values) == 1.0 and 0 < values[-1] < 0.02
    assert np.argmax(values) == 9
    assert all(a <= b for a, b in pairwise(values[:10]))
    assert all(a >= b for a, b in pairwise(values[10:]))


def test_fewer_triplets_than_a_batch():
    with pytest.raises(DataError, match=r"3 triplets are fewer than train.global_batch_size 4"):
        total_steps(3, TrainConfig(global_batch_size=4))


def test_steps_of_a_fraction_of_an_epoch():
    assert total_steps(100, TrainConfig(global_batch_size=10, epochs=1.5)) == 15


def test_rows_that_share_a_text_share_a_group():
    texts = [("a", "b"), ("a", "c"), ("x", "c"), ("y", "z")]
    rows = [Triplet(str(i), anchor, positive, None) for i, (anchor, positive) in enumerate(texts)]
    first, second, third, fourth = group_ids(rows)
    assert first == second == third != fourth


def test_decay_on_matrices_alone():
    encoder = Encoder.load("embedded")
    decayed, plain = parameter_groups(encoder, 0.01)
    assert all(one.ndim > 1 for one in decayed["params"]) and all(one.ndim == 1 for one in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(encoder.parameters()))


def test_bucketed_embedding_keeps_the_order_and_the_loss():
    encoder = Encoder.load("embedded").eval()
    texts = [text for row in ROWS for text in (row.anchor, row.positive)]
    alone = torch.cat([encoder(inputs) for text in texts for _, inputs in encoder.batches([text])])
    together = TripletEmbedder(encoder)(list(encoder.batches(texts, batch_tokens=64)))
    assert torch.allclose(alone, together, atol=1e-5)

    config = TrainConfig(global_batch_size=20)
    columns = [[getattr(row, name) for row in ROWS] for name in ("anchor", "positive", "negative")]
    expected = supervised_simcse_loss(*(torch.tensor(encoder.encode(column)) for column in columns))
    found = batch_loss(TripletEmbedder(encoder), encoder, ROWS, config, group_ids(ROWS))
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
