"""The loss of supervised SimCSE (arXiv 2104.08821, section 4, equation 5), exact over any number of ranks.

Shape suffixes: B rows of this rank's batch, D dimensions of a vector. Unmarked are those of the global batch.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

MASKED = float("-inf")


def supervised_simcse_loss(
    anchor_BD: Tensor,
    positive_BD: Tensor,
    negative_BD: Tensor | None = None,
    *,
    temperature: float = 0.05,
    hard_negative_weight: float = 0.0,
    negative_mask_B: Tensor | None = None,
    group_ids_B: Tensor | None = None,
) -> Tensor:
    """The mean over the global batch of -log softmax of each anchor's own positive.

    The candidates of an anchor are all positives and all hard negatives of the global batch, that of every rank under
    torch.distributed; logits are cosine similarities over `temperature`.

    Args:
        anchor_BD: Anchors' vectors, float [B, D], of any length: they are normalised here.
        positive_BD: Their positives' vectors, float [B, D].
        negative_BD: Their hard negatives' vectors, float [B, D]; None where no row has one.
        temperature: Above 0; divides the similarities.
        hard_negative_weight: Log weight on the logit of a row's own hard negative.
        negative_mask_B: bool [B], the rows that have a hard negative; all have one when None.
        group_ids_B: int64 [B]; rows of equal ids are not each other's negatives: neither their positives nor their
            hard negatives count, but a row's own hard negative always does.

    Returns:
        float scalar, the same on every rank. Its gradients are those of the global mean after averaging over ranks, as
        DistributedDataParallel does: exact, and nothing is sent in backward. Ranks must hold equally many rows.

    Raises:
        ValueError: Shapes do not fit together.
    """
    loss = simcse_reference_loss(
        anchor_BD,
        positive_BD,
        negative_BD,
        temperature=temperature,
        hard_negative_weight=hard_negative_weight,
        negative_mask_B=negative_mask_B,
        group_ids_B=group_ids_B,
    )
    return global_gradient(loss)


def global_gradient(loss: Tensor) -> Tensor:
    """A loss over gathered rows, the same on every rank, with the gradient that DistributedDataParallel averages.

    Each rank holds the gradient of the whole loss in its own rows: the sum over ranks is the true gradient, and
    averaging divides it by their number.
    """
    ranks = dist.get_world_size() if _distributed() else 1
    return loss if ranks == 1 else loss.detach() + ranks * (loss - loss.detach())


def simcse_reference_loss(
    anchor_BD: Tensor,
    positive_BD: Tensor,
    negative_BD: Tensor | None = None,
    *,
    temperature: float = 0.05,
    hard_negative_weight: float = 0.0,
    negative_mask_B: Tensor | None = None,
    group_ids_B: Tensor | None = None,
) -> Tensor:
    """The same value with the gradients of the original code of supervised SimCSE.

    That code gathers other ranks' vectors without gradient and lets DistributedDataParallel average what is left: on R
    ranks its gradient is 1/R of the true one, which clipping sees and AdamW hardly does. It knows no groups: there rows
    of equal text are each other's negatives.
    """
    # The similarity matrix [B, 2B] is the one large thing here: it is made once and changed in place.
    _check_shapes(anchor_BD, positive_BD, negative_BD, negative_mask_B, group_ids_B)
    anchor = gathered(normalize(anchor_BD, dim=-1))
    count = len(anchor)
    candidates = [gathered(normalize(side, dim=-1)) for side in (positive_BD, negative_BD) if side is not None]
    logits = (anchor / temperature) @ torch.cat(candidates).T
    if group_ids_B is not None:
        groups = gathered(group_ids_B)
        twins = groups[:, None] == groups[None, :]
        twins.fill_diagonal_(False)
        for start in range(0, logits.shape[1], count):
            logits[:, start : start + count].masked_fill_(twins, MASKED)
    if negative_BD is not None:
        hard = logits[:, count:]
        if negative_mask_B is not None:
            hard.masked_fill_(~gathered(negative_mask_B)[None, :], MASKED)
        hard.diagonal().add_(hard_negative_weight)
    return cross_entropy(logits, torch.arange(count, device=anchor.device))


def _check_shapes(
    anchor_BD: Tensor,
    positive_BD: Tensor,
    negative_BD: Tensor | None,
    mask_B: Tensor | None,
    groups_B: Tensor | None,
) -> None:
    if anchor_BD.shape != positive_BD.shape or (negative_BD is not None and negative_BD.shape != anchor_BD.shape):
        raise ValueError("anchor, positive and negative must have one shape [B, D]")
    for name, column in (("negative_mask_B", mask_B), ("group_ids_B", groups_B)):
        if column is not None and column.shape != anchor_BD.shape[:1]:
            raise ValueError(f"{name} has shape {tuple(column.shape)}, expected {tuple(anchor_BD.shape[:1])}")


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(local: Tensor) -> Tensor:
    """All ranks' rows in the order of ranks; gradients flow to this rank's rows alone."""
    if not _distributed():
        return local
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local.detach().contiguous())
    parts[dist.get_rank()] = local
    return torch.cat(parts)
