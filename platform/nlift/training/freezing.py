"""Parts of an encoder that training leaves as they are: less is forgotten, and less is computed."""

import torch

from nlift.errors import ModelError
from nlift.models.encoder import Encoder

EMBEDDINGS = "embeddings"


def freeze(encoder: Encoder, wanted: str | int | None) -> None:
    """Leave parts of an encoder as they are.

    Args:
        encoder: Whose parameters.
        wanted: `embeddings`, or how many of the first layers beside them; nothing when None.

    Raises:
        ModelError: There are not so many layers.
    """
    if wanted is None:
        return
    layers = _layers(encoder.backbone)
    count = 0 if wanted == EMBEDDINGS else int(wanted)
    if count >= max(len(layers), 1):
        kind = encoder.backbone.config.model_type
        raise ModelError(f"train.freeze {count}: a {kind} of {len(layers)} layers; expected {len(layers) - 1} at most")
    for module in [*_embeddings(encoder.backbone), *layers[:count]]:
        module.requires_grad_(False)


def _layers(backbone: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers, in order: the longest list of modules that there is."""
    lists = [list(module) for module in backbone.modules() if isinstance(module, torch.nn.ModuleList)]
    return max(lists, key=len, default=[])


def _embeddings(backbone: torch.nn.Module) -> list[torch.nn.Module]:
    """All before the layers: the module that holds the word embeddings, or these alone where it is the whole model."""
    words = backbone.get_input_embeddings()  # type: ignore[operator]
    holder = next(module for module in backbone.modules() if any(child is words for child in module.children()))
    return [words] if holder is backbone else [holder]
