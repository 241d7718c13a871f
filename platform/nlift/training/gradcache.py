"""The gradients of one step: forward passes over texts bucketed by length, the loss, backward.

Where a global batch does not fit in memory, GradCache (Gao et al. 2021, arXiv 2101.06983, section 3) gives the same
gradients in pieces: vectors first, without a graph; then the loss and its gradient in each vector; then each piece
again with its graph, one at a time.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from nlift.models.batching import token_budget
from nlift.models.encoder import Encoder

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


@dataclass(frozen=True)
class LossTerm:
    """One of the losses that a step adds up: what this rank embeds for it, and the loss of that."""

    name: str
    texts: Sequence[str]
    """With their prefixes."""
    max_length: int
    """Tokens of a text that are read."""
    loss: Callable[[Tensor], Tensor]
    """From the texts' vectors, float [N, D], to a float scalar: that of the global batch, the same on every rank."""
    weight: float = 1.0
    """In the sum of all terms."""
    device_texts: int | None = None
    """Texts in memory at a time; all at once when None."""


def add_gradients(
    model: torch.nn.Module,
    embedder: Embedder,
    terms: Sequence[LossTerm],
    *,
    seed: Callable[[int], None],
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> dict[str, Tensor]:
    """The losses of the global batch, of which the terms have this rank's share; gradients go into the parameters.

    Args:
        model: The embedder or its DistributedDataParallel.
        embedder: The embedder itself.
        terms: What is added up, by their weights.
        seed: `seed(i)` seeds the dropout of the i-th piece, so that its second pass is the first one's.
        scale: A GradScaler's.

    Returns:
        Each term's loss by its name, and `loss`, their weighted sum: float scalars without graph.
    """
    inputs: list[Inputs] = []
    orders = []
    for term in terms:
        batches = list(
            embedder.encoder.batches(
                term.texts,
                max_length=term.max_length,
                batch_tokens=token_budget("train", embedder.encoder.device.type),
                batch_rows=term.device_texts,
            )
        )
        inputs += [batch for _, batch in batches]
        orders.append(torch.from_numpy(np.argsort([position for positions, _ in batches for position in positions])))

    def losses_of(vectors: Tensor) -> dict[str, Tensor]:
        shares = vectors.split([len(term.texts) for term in terms])
        losses = {
            term.name: term.loss(share[order.to(share.device)])
            for term, share, order in zip(terms, shares, orders, strict=True)
        }
        return {**losses, "loss": torch.stack([term.weight * losses[term.name] for term in terms]).sum()}

    if all(term.device_texts is None for term in terms) or len(inputs) == 1:
        seed(0)
        losses = losses_of(model(inputs))
        scale(losses["loss"]).backward()
    else:
        losses = _in_pieces(model, embedder, inputs, losses_of, seed, scale)
    return {name: loss.detach() for name, loss in losses.items()}


def _in_pieces(
    model: torch.nn.Module,
    embedder: Embedder,
    pieces: list[Inputs],
    losses_of: Callable[[Tensor], dict[str, Tensor]],
    seed: Callable[[int], None],
    scale: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    outputs = []
    with torch.no_grad():
        for i, piece in enumerate(pieces):
            seed(i)
            outputs.append(embedder([piece]))
    vectors = torch.cat(outputs).requires_grad_()
    losses = losses_of(vectors)
    scale(losses["loss"]).backward()
    assert vectors.grad is not None
    gradients = vectors.grad.split([len(output) for output in outputs])
    for i, (piece, gradient) in enumerate(zip(pieces, gradients, strict=True)):
        # Ranks may have unequally many pieces: gradients meet once, with the last one.
        alone = isinstance(model, DistributedDataParallel) and i + 1 < len(pieces)
        with model.no_sync() if alone else nullcontext():  # type: ignore[operator]
            seed(i)
            model([piece]).backward(gradient)
    return losses
