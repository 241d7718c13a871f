"""The loss against a reference of a few lines, and on several processes against one."""

import pytest
import torch
import torch.distributed as dist
from conftest import on_ranks

from nlift.training.loss import supervised_simcse_loss

GLOBAL_ROWS, WIDTH = 8, 6
GROUPS = torch.tensor([0, 1, 2, 0, 3, 1, 4, 5])
MASK = torch.tensor([True, False, True, True, False, True, True, False])
CASES = {
    "pairs": {"negatives": False},
    "triplets": {},
    "temperature": {"temperature": 0.5},
    "weight": {"hard_negative_weight": 1.5},
    "mask": {"negative_mask_B": MASK},
    "groups": {"group_ids_B": GROUPS},
    "pairs in groups": {"negatives": False, "group_ids_B": GROUPS},
    "all": {"temperature": 0.1, "hard_negative_weight": -0.7, "negative_mask_B": MASK, "group_ids_B": GROUPS},
}


def unit(vector):
    return vector / vector.pow(2).sum().sqrt()


def reference(
    anchors, positives, negatives, temperature=0.05, hard_negative_weight=0.0, negative_mask_B=None, group_ids_B=None
):
    """Equation 5 of arXiv 2104.08821, one logit after another."""
    rows, losses = range(len(anchors)), []
    for i in rows:
        others = [j for j in rows if j == i or group_ids_B is None or group_ids_B[i] != group_ids_B[j]]
        logits = {("positive", j): unit(anchors[i]) @ unit(positives[j]) / temperature for j in others}
        for j in others if negatives is not None else ():
            if negative_mask_B is None or negative_mask_B[j]:
                weight = hard_negative_weight if i == j else 0.0
                logits["negative", j] = unit(anchors[i]) @ unit(negatives[j]) / temperature + weight
        total = sum(logit.exp() for logit in logits.values())
        losses.append(total.log() - logits["positive", i])
    return sum(losses) / len(losses)


def embedder():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, WIDTH)).double()


def loss_and_gradients(loss_function, case, rank=0, ranks=1):
    """The loss of a model on this rank's rows of the global batch, and its gradients."""
    torch.manual_seed(7)
    sides = [torch.randn(GLOBAL_ROWS, WIDTH, dtype=torch.float64)[rank::ranks] for _ in range(3)]
    settings = dict(CASES[case])
    count = 3 if settings.pop("negatives", True) else 2
    settings = {
        name: value[rank::ranks] if isinstance(value, torch.Tensor) else value for name, value in settings.items()
    }
    model = embedder()
    vectors = [model(side) for side in sides[:count]] + [None] * (3 - count)
    loss = loss_function(*vectors, **settings)
    loss.backward()
    return loss.detach(), [weights.grad for weights in model.parameters()]


def on_rank(rank, ranks):
    """All cases on one rank; gradients averaged over ranks as DistributedDataParallel does."""
    results = {}
    for case in CASES:
        loss, gradients = loss_and_gradients(supervised_simcse_loss, case, rank, ranks)
        for gradient in gradients:
            dist.all_reduce(gradient)
        results[case] = loss, [gradient / ranks for gradient in gradients]
    return results


@pytest.fixture(scope="module", params=[2, 4])
def by_rank(request, tmp_path_factory):
    """What every rank of 2, then 4 processes found."""
    return on_ranks(on_rank, request.param, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("case", CASES)
def test_one_process_equals_the_reference(case):
    torch.testing.assert_close(
        loss_and_gradients(supervised_simcse_loss, case), loss_and_gradients(reference, case), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("case", CASES)
def test_several_processes_equal_one(case, by_rank):
    whole = loss_and_gradients(supervised_simcse_loss, case)
    for results in by_rank:
        torch.testing.assert_close(results[case], whole, rtol=1e-5, atol=1e-12)


def test_rows_without_a_negative_may_hold_anything_in_its_place():
    anchor, positive, negative = torch.randn(3, 8, 6)
    blank = negative.masked_fill(~MASK[:, None], 0.0).requires_grad_()
    loss = supervised_simcse_loss(anchor, positive, blank, negative_mask_B=MASK)
    loss.backward()
    torch.testing.assert_close(loss, supervised_simcse_loss(anchor, positive, negative, negative_mask_B=MASK))
    assert blank.grad.isfinite().all()


def test_no_negative_at_all_equals_the_loss_of_pairs():
    anchor, positive, negative = torch.randn(3, 8, 6)
    loss = supervised_simcse_loss(anchor, positive, negative, negative_mask_B=torch.zeros(8, dtype=torch.bool))
    torch.testing.assert_close(loss, supervised_simcse_loss(anchor, positive))


def test_vectors_of_another_shape_are_refused():
    full, short = torch.randn(4, 3), torch.randn(3, 3)
    with pytest.raises(ValueError, match="one shape"):
        supervised_simcse_loss(full, short)
    with pytest.raises(ValueError, match="one shape"):
        supervised_simcse_loss(full, full, short)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_mask_of_another_length_is_refused(rows):
    with pytest.raises(ValueError):
        supervised_simcse_loss(*torch.randn(3, 4, 3), negative_mask_B=torch.ones(rows, dtype=torch.bool))


@pytest.mark.parametrize("rows", [1, 3])
def test_group_ids_of_another_length_are_refused(rows):
    with pytest.raises(ValueError):
        supervised_simcse_loss(*torch.randn(3, 4, 3), group_ids_B=torch.zeros(rows, dtype=torch.int64))
