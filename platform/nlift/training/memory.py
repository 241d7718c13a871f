"""How many rows a worker has in memory at a time, where nobody says: worked out from total memory, model and length.

Never from what happens to be free: the pieces of a batch have dropout masks of their own, and the same machine must
give the same encoder. It errs on the safe side: what is counted is what a transformer keeps for its backward pass in
float32 (arXiv 2205.05198, section 4.1, without parallelism) and a quarter more, for texts that are all as long as they
may be.
"""

import os
from pathlib import Path

import torch

from nlift.errors import ResourceError
from nlift.models.encoder import Encoder

SHARE = {"cpu": 0.5, "cuda": 0.7}  # of the total; a machine has Ray, the driver and the person's own programs too
FLOAT = 4  # bytes
MARGIN = 1.25  # of what is counted: some activations keep more
COLUMNS = 3  # texts of a row: anchor, positive, hard negative
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container, v2 and v1


def total_bytes(device: torch.device) -> int:
    """Memory of a GPU, or of this machine or container, in bytes, whoever uses it."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [text for path in LIMITS if Path(path).is_file() and (text := Path(path).read_text().strip()).isdigit()]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *map(int, limits)])


def rows_in_memory(
    encoder: Encoder, rows: int, max_length: int, memory: float, checkpointing: bool, columns: int = COLUMNS
) -> int:
    """Rows of a worker that fit in memory at a time: all, or a power of two.

    Args:
        encoder: What is trained, its parameters as they will be trained.
        rows: Rows of a worker in a batch.
        max_length: Tokens of a text.
        memory: What the worker may use, in bytes.
        checkpointing: Whether activations are computed twice.
        columns: Texts of a row.

    Raises:
        ResourceError: Not even one fits.
    """
    left = memory - fixed_bytes(encoder)
    fit = int(max(left, 0) // (columns * max_length * token_bytes(encoder, max_length, checkpointing)))
    if fit < 1:
        raise ResourceError(
            f"train: {encoder.backbone.config.model_type} with texts of {max_length} tokens does not fit in the "
            f"{memory / 2**30:.1f} GiB that a worker may use; lower train.max_length or train.num_workers, set "
            "train.freeze or train.gradient_checkpointing: true, or take a smaller train.base_model"
        )
    return rows if fit >= rows else 1 << (fit.bit_length() - 1)


def texts_beside(rows: int, max_length: int, text_length: int) -> int:
    """Texts of another length that have as many tokens as so many triplets; 1 at least."""
    return max(1, COLUMNS * rows * max_length // text_length)


def fixed_bytes(encoder: Encoder) -> int:
    """Weights, and for those that are trained a gradient and AdamW's two moments."""
    return FLOAT * sum(weight.numel() * (4 if weight.requires_grad else 1) for weight in encoder.parameters())


def token_bytes(encoder: Encoder, max_length: int, checkpointing: bool) -> int:
    """What a backward pass needs of a token.

    Of a layer: its inputs and norms, queries, keys and values, attention, the feed-forward layer before and after its
    activation.
    """
    config = encoder.backbone.config
    hidden, layers = config.hidden_size, getattr(config, "num_hidden_layers", None) or 12
    inners = (getattr(config, name, None) for name in ("intermediate_size", "hidden_dim", "d_inner"))
    inner, heads = next(filter(None, inners), 4 * hidden), getattr(config, "num_attention_heads", 12)
    layer = 9 * hidden + 2 * inner + 3 * heads * max_length
    return int(MARGIN * FLOAT * (layers * hidden + layer if checkpointing else layers * layer))
