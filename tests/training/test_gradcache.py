"""The gradients of a step: one process and several, at once and in pieces, in full and half precision."""

import pytest
import torch
from conftest import on_ranks
from torch.nn.parallel import DistributedDataParallel

from nlift.data.schema import Triplet
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.batches import group_ids
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.loss import supervised_simcse_loss
from nlift.training.simcse import simcse_term

WHO = ("a woman", "an old man", "the small dog")
WHAT = ("sees a red ball", "likes the map near the river", "wants to find a ball in the park", "carries the map")
ROWS = [Triplet(str(i), f"{WHO[i % 3]} {WHAT[i % 4]}", f"{WHO[i % 3]} " * (1 + i % 4), WHAT[i % 4]) for i in range(12)]
ROWS = [Triplet(r.pair_id, r.anchor, r.positive, r.negative if int(r.pair_id) % 3 else None) for r in ROWS]
SIZES = [None, 1, 2, 5]


def loss_and_gradients(folder, size, rank=0, ranks=1, **settings):
    """Loss and gradients of a step in float64, without dropout, of this rank's rows."""
    encoder = Encoder.load(folder).double().eval()
    embedder = Embedder(encoder)
    model = DistributedDataParallel(embedder) if ranks > 1 else embedder
    config = TrainConfig(hard_negative_weight=0.3, **settings)
    mine, groups = ROWS[rank::ranks], group_ids(ROWS)[rank::ranks]
    term = simcse_term(mine, groups, config, encoder, hard=True, device_rows=size)
    loss = add_gradients(model, embedder, [term], seed=torch.manual_seed)["loss"]
    return loss, [parameter.grad for parameter in encoder.parameters()]


def on_rank(rank, ranks, bert):
    by_size = {size: loss_and_gradients(bert, size, rank, ranks) for size in SIZES}
    return {**by_size, "reference": loss_and_gradients(bert, None, rank, ranks, loss="simcse_reference")}


@pytest.fixture(scope="module", params=[2, 4])
def by_rank(request, bert, tmp_path_factory):
    """What every rank of 2, then 4 processes found."""
    return on_ranks(on_rank, request.param, tmp_path_factory.mktemp("ranks"), bert)


@pytest.mark.parametrize("size", SIZES[1:])
def test_pieces_equal_the_whole(bert, size):
    torch.testing.assert_close(loss_and_gradients(bert, size), loss_and_gradients(bert, None), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_several_processes_equal_one(bert, by_rank, size):
    whole = loss_and_gradients(bert, None)
    for results in by_rank:
        torch.testing.assert_close(results[size], whole, rtol=1e-5, atol=1e-10)


def test_the_reference_has_its_share_of_the_gradient(bert, by_rank):
    loss, gradients = loss_and_gradients(bert, None, loss="simcse_reference")
    for reference_loss, reference in (results["reference"] for results in by_rank):
        torch.testing.assert_close(reference_loss, loss, rtol=1e-9, atol=0)
        torch.testing.assert_close(
            [gradient * len(by_rank) for gradient in reference], gradients, rtol=1e-5, atol=1e-10
        )


def test_the_loss_is_that_of_vectors_of_each_column(bert):
    encoder = Encoder.load(bert)
    columns = [
        torch.tensor(encoder.encode([getattr(row, side) or "" for row in ROWS]))
        for side in ("anchor", "positive", "negative")
    ]
    mask = torch.tensor([row.negative is not None for row in ROWS])
    groups = torch.tensor(group_ids(ROWS))
    expected = supervised_simcse_loss(*columns, hard_negative_weight=0.3, negative_mask_B=mask, group_ids_B=groups)
    assert loss_and_gradients(bert, None)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_second_pass_has_the_dropout_of_the_first(bert):
    """Pieces with their graphs kept all at once, under the same seeds, are what pieces in turn must equal."""
    encoder = Encoder.load(bert).double().train()
    embedder, config = Embedder(encoder), TrainConfig()
    pieces = []

    class Recorder(torch.nn.Module):
        def forward(self, batches):
            pieces.append(batches[0])
            return embedder(batches)

    term = simcse_term(ROWS, group_ids(ROWS), config, encoder, hard=True, device_rows=2)
    loss_value = add_gradients(Recorder(), embedder, [term], seed=torch.manual_seed)["loss"]
    gradients = [parameter.grad.clone() for parameter in encoder.parameters()]
    encoder.zero_grad()
    assert len(pieces) > 3

    class AllAtOnce(torch.nn.Module):
        def forward(self, batches):
            vectors = []
            for i, piece in enumerate(batches):
                torch.manual_seed(i)
                vectors.append(embedder([piece]))
            return torch.cat(vectors)

    cut = encoder.batches  # 12 anchors, 12 positives and 8 negatives over 12 rows: two triplets are five texts
    encoder.batches = lambda texts, **settings: cut(texts, **{**settings, "batch_rows": 5})
    whole = simcse_term(ROWS, group_ids(ROWS), config, encoder, hard=True)
    expected = add_gradients(AllAtOnce(), embedder, [whole], seed=torch.manual_seed)["loss"]
    torch.testing.assert_close(loss_value, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradients, [parameter.grad for parameter in encoder.parameters()], rtol=1e-8, atol=1e-12)


def test_checkpointed_activations_change_no_gradient(bert):
    """In training mode, with dropout: what is computed twice is the same twice."""

    def run(checkpointing):
        encoder = Encoder.load(bert).train()
        if checkpointing:
            encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})
        term = simcse_term(ROWS, group_ids(ROWS), TrainConfig(), encoder, hard=True)
        loss = add_gradients(embedder := Embedder(encoder), embedder, [term], seed=torch.manual_seed)["loss"]
        return loss, [parameter.grad for parameter in encoder.parameters()]

    torch.testing.assert_close(run(True), run(False), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16])
def test_half_precision_comes_close_and_vectors_are_float32(bert, lower):
    encoder = Encoder.load(bert).eval()
    embedder = Embedder(encoder, lower)
    term = simcse_term(ROWS, group_ids(ROWS), TrainConfig(hard_negative_weight=0.3), encoder, hard=True)
    loss = add_gradients(embedder, embedder, [term], seed=torch.manual_seed)["loss"]
    exact = loss_and_gradients(bert, None)[0].item()
    assert loss.dtype == torch.float32 and loss.item() != pytest.approx(exact, rel=1e-7)
    assert loss.item() == pytest.approx(exact, rel=0.1)
