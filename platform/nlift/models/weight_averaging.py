"""Between the base model and the tuned one: the average of their weights (WiSE-FT, arXiv 2109.01903, section 3).

Fine-tuning on one kind of text costs an encoder some of what it knew of others; the average keeps
most of both.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nlift.models.encoder import Encoder

Weights = dict[str, Tensor]


def weights(encoder: Encoder) -> Weights:
    """A copy of the backbone's weights, by name; without the pooler, which a base model may lack."""
    parameters = encoder.backbone.named_parameters()
    return {name: parameter.detach().clone() for name, parameter in parameters if "pooler" not in name}


@torch.no_grad()
def blend(encoder: Encoder, base: Weights, share: float) -> None:
    """Make the encoder's weights `share` base and the rest its own."""
    for name, parameter in encoder.backbone.named_parameters():
        if name in base:
            parameter.lerp_(base[name].to(parameter.device), share)


@contextmanager
def blended(encoder: Encoder, base: Weights, share: float) -> Iterator[None]:
    """Inside, the encoder's weights are `share` base and the rest its own; afterwards its own again, bit for bit."""
    if share == 0:
        yield
        return
    own = weights(encoder)
    blend(encoder, base, share)
    try:
        yield
    finally:
        _set(encoder, own)


@torch.no_grad()
def _set(encoder: Encoder, values: Weights) -> None:
    for name, parameter in encoder.backbone.named_parameters():
        if name in values:
            parameter.copy_(values[name])
