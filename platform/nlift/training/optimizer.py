"""The optimizer's parts: learning rate by step, and what weight decay applies to."""

from typing import Any

import torch

from nlift.models.backbone import word_embeddings
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig


def optimizer_of(encoder: Encoder, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over what is trained."""
    return torch.optim.AdamW(parameter_groups(encoder, config), lr=config.learning_rate)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, steps: int) -> float:
    """Let the optimizer have the learning rates of a step; returns that of all but the word embeddings."""
    share = rate(step, steps, config.warmup_share)
    for group in optimizer.param_groups:
        group["lr"] = share * group["peak"]
    return share * config.learning_rate


def rate(step: int, steps: int, warmup_share: float) -> float:
    """Linear warm-up, then linear decay; 0 to 1."""
    warmup = max(1, round(warmup_share * steps))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup + 1), 1.0)


def parameter_groups(encoder: Encoder, config: TrainConfig) -> list[dict[str, Any]]:
    """Weight decay on matrices, none on biases and norms; `peak` is each group's learning rate at its height."""
    table = word_embeddings(encoder.backbone)
    words = [] if table is None else [parameter for parameter in table.parameters() if parameter.requires_grad]
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    rest = [parameter for parameter in trained if all(parameter is not word for word in words)]
    decay, peak = config.weight_decay, config.learning_rate
    groups = [
        {"params": words, "weight_decay": decay, "peak": config.embedding_learning_rate or peak},
        {"params": [parameter for parameter in rest if parameter.ndim > 1], "weight_decay": decay, "peak": peak},
        {"params": [parameter for parameter in rest if parameter.ndim <= 1], "weight_decay": 0.0, "peak": peak},
    ]
    return [group for group in groups if group["params"]]
