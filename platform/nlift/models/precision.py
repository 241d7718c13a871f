"""The precision that autocast computes in, by setting and device."""

import torch

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def half_type(compute_type: str, device: torch.device, *, trains: bool = False) -> torch.dtype | None:
    """The half precision that is meant, or None for float32.

    `auto` is a half on a GPU alone: float16, whose numbers have more digits, or where weights are trained bfloat16,
    whose gradients do not overflow, if the GPU has it. A CPU takes float32 for float16, in which it is many times
    slower, and bfloat16 where that is asked for.

    Args:
        compute_type: auto, float32, float16, bfloat16 or int8, as the settings have it.
        device: Where it is computed.
        trains: Whether gradients are computed too.
    """
    if device.type == "cuda" and compute_type == "auto":
        return torch.bfloat16 if trains and torch.cuda.is_bf16_supported() else torch.float16
    if device.type != "cuda" and compute_type == "float16":
        return None
    return HALVES.get(compute_type)
