"""Parts of an encoder that training leaves as they are: less is forgotten, and less is computed."""

import torch

from nlift.errors import ModelError
from nlift.models.backbone import word_embeddings
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
    kind = encoder.backbone.config.model_type
    if count and count >= len(layers):
        raise ModelError(
            f"train.freeze {count}: the model, of kind {kind}, has {len(layers)} layers; expected embeddings, or fewer "
            "layers than it has"
        )
    words = word_embeddings(encoder.backbone)
    if words is None:
        raise ModelError(f"train.freeze: a model of kind {kind} has no table of word embeddings; expected null")
    for module in [*_embeddings(encoder.backbone, words), *(part for layer in layers[:count] for part in layer)]:
        module.requires_grad_(False)


def _layers(backbone: torch.nn.Module) -> list[tuple[torch.nn.Module, ...]]:
    """The parts of each layer, in order: of the longest lists of modules, as XLM has several side by side."""
    lists = [list(module) for module in backbone.modules() if isinstance(module, torch.nn.ModuleList)]
    most = max(map(len, lists), default=0)
    return list(zip(*(modules for modules in lists if len(modules) == most), strict=True)) if most else []


def _embeddings(backbone: torch.nn.Module, words: torch.nn.Module) -> list[torch.nn.Module]:
    """All before the layers: the module that holds the word embeddings; where that is the whole model, by name."""
    holder = next(module for module in backbone.modules() if any(child is words for child in module.children()))
    if holder is not backbone:
        return [holder]
    return [words, *(child for name, child in backbone.named_children() if "emb" in name)]
