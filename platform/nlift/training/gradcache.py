"""The gradients of one step: forward passes over texts bucketed by length, the loss, backward.

Where a global batch does not fit in memory, GradCache (Gao et al. 2021, arXiv 2101.06983, section 3) gives the same
gradients in pieces: vectors first, without a graph; then the loss and its gradient in each vector; then each piece
again with its graph, one at a time.
"""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from nlift.data.schema import Triplet
from nlift.models.batching import token_budget
from nlift.models.encoder import HALF, Encoder
from nlift.settings import TrainConfig
from nlift.training.loss import simcse_reference_loss, supervised_simcse_loss

Inputs = dict[str, Tensor]


class Embedder(torch.nn.Module):
    """Several forward passes in one call, so that DistributedDataParallel sees one."""

    def __init__(self, encoder: Encoder, lower: torch.dtype | None = None) -> None:
        super().__init__()
        self.encoder, self.lower = encoder, lower

    def forward(self, batches: list[Inputs]) -> Tensor:
        """Vectors, float [N, D], in the order of the batches; computed in `lower` precision where that is given."""
        with torch.autocast(self.encoder.device.type, dtype=self.lower, enabled=self.lower is not None):
            vectors = torch.cat([self.encoder(inputs) for inputs in batches])
        return vectors if self.lower is None else vectors.float()


def half_type(compute_type: str, device: torch.device) -> torch.dtype | None:
    """What autocast computes in; None is float32. `auto` takes bfloat16 on GPUs that have it, else float16."""
    if compute_type != "auto":
        return HALF.get(compute_type)
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def add_gradients(
    model: torch.nn.Module,
    embedder: Embedder,
    rows: list[Triplet],
    groups: list[int],
    config: TrainConfig,
    *,
    hard: bool,
    seed: Callable[[int], None],
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> Tensor:
    """The loss of the global batch, of which `rows` are this rank's; its gradients go into the parameters.

    `model` is the embedder or its DistributedDataParallel; `hard` says whether any row of the
    global batch has a hard negative. `seed(i)` seeds the dropout of the i-th piece, so that its
    second pass is the first one's; `scale` is a GradScaler's. Returns a float scalar without graph.
    """
    texts, with_negative = texts_of(rows, embedder.encoder)
    columns = len(texts) / len(rows)
    device_rows = None if config.device_batch_size is None else max(1, round(config.device_batch_size * columns))
    batches = list(
        embedder.encoder.batches(
            texts,
            max_length=config.max_length,
            batch_tokens=token_budget("train", embedder.encoder.device.type),
            batch_rows=device_rows,
        )
    )
    order = torch.from_numpy(np.argsort([position for positions, _ in batches for position in positions]))
    inputs = [batch for _, batch in batches]

    def loss_of(vectors: Tensor) -> Tensor:
        return batch_loss(vectors[order.to(vectors.device)], len(rows), with_negative, groups, config, hard)

    if device_rows is None or len(batches) == 1:
        seed(0)
        loss = loss_of(model(inputs))
        scale(loss).backward()
        return loss.detach()
    return _in_pieces(model, embedder, inputs, loss_of, seed, scale)


def _in_pieces(
    model: torch.nn.Module,
    embedder: Embedder,
    pieces: list[Inputs],
    loss_of: Callable[[Tensor], Tensor],
    seed: Callable[[int], None],
    scale: Callable[[Tensor], Tensor],
) -> Tensor:
    outputs = []
    with torch.no_grad():
        for i, piece in enumerate(pieces):
            seed(i)
            outputs.append(embedder([piece]))
    vectors = torch.cat(outputs).requires_grad_()
    loss = loss_of(vectors)
    scale(loss).backward()
    assert vectors.grad is not None
    gradients = vectors.grad.split([len(output) for output in outputs])
    for i, (piece, gradient) in enumerate(zip(pieces, gradients, strict=True)):
        # Ranks may have unequally many pieces: gradients meet once, with the last one.
        alone = isinstance(model, DistributedDataParallel) and i + 1 < len(pieces)
        with model.no_sync() if alone else nullcontext():  # type: ignore[operator]
            seed(i)
            model([piece]).backward(gradient)
    return loss.detach()


def texts_of(rows: list[Triplet], encoder: Encoder) -> tuple[list[str], list[int]]:
    """All anchors, all positives, then the hard negatives there are, with prefixes; and whose these are."""
    query, passage = encoder.prefixes["query"], encoder.prefixes["passage"]
    with_negative = [i for i, row in enumerate(rows) if row.negative is not None]
    texts = [query + row.anchor for row in rows] + [passage + row.positive for row in rows]
    return texts + [passage + str(rows[i].negative) for i in with_negative], with_negative


def batch_loss(
    vectors: Tensor, count: int, with_negative: list[int], groups: list[int], config: TrainConfig, hard: bool
) -> Tensor:
    """The loss from the vectors of `texts_of`, [N, D], of `count` rows."""
    anchor, positive, hard_negatives = vectors.split([count, count, len(with_negative)])
    negative, mask = None, None
    if hard:
        owners = torch.tensor(with_negative, dtype=torch.int64, device=vectors.device)
        negative = torch.zeros_like(anchor).index_copy(0, owners, hard_negatives)
        mask = torch.zeros(count, dtype=torch.bool, device=vectors.device).index_fill(0, owners, True)
    exact = config.loss == "simcse"
    return (supervised_simcse_loss if exact else simcse_reference_loss)(
        anchor,
        positive,
        negative,
        temperature=config.temperature,
        hard_negative_weight=config.hard_negative_weight,
        negative_mask_B=mask,
        group_ids_B=torch.tensor(groups, device=vectors.device) if exact else None,
    )
