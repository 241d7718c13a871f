"""Texts to vectors with Ray Data: a pool of actors, each with an encoder of its own."""

from pathlib import Path

import numpy as np
import torch

from nlift import cluster, progress
from nlift.data import sources
from nlift.data.schema import Batch
from nlift.models.encoder import ComputeType, Encoder, Role

BATCH_TEXTS = 128


class TextEmbedder:
    """Runs on Ray Data: turns `row` and `text` into `row` and `vector`."""

    def __init__(
        self,
        encoder: str,
        revision: str | None,
        role: Role,
        prefix: str | None,
        max_length: int,
        compute_type: ComputeType,
    ) -> None:
        cluster.check_restarts()
        self.encoder = on_gpu(Encoder.load(encoder, revision=revision, compute_type=compute_type))
        if role is not None:
            self.encoder.set_prefixes({role: prefix})
        self.role, self.max_length = role, max_length

    def __call__(self, batch: Batch) -> Batch:
        """The batch's row numbers and the vectors of its texts, float32 [B, D]."""
        vectors = self.encoder.encode(list(batch["text"]), role=self.role, max_length=self.max_length)
        return {"row": batch["row"], "vector": vectors}


def on_gpu(encoder: Encoder) -> Encoder:
    """The encoder on the GPU, where there is one and it does not compute in int8, which is a CPU's."""
    return encoder.to("cuda") if torch.cuda.is_available() and not encoder.int8 else encoder


def embed(
    texts: list[str],
    encoder: str,
    *,
    role: Role,
    max_length: int,
    title: str,
    unit: str,
    revision: str | None = None,
    prefix: str | None = None,
    compute_type: ComputeType = "float32",
    num_actors: int | None = None,
) -> np.ndarray:
    """Unit vectors of texts, float32 [N, D], in their order.

    `prefix` stands before a text with a role, as the encoder has it when None; `title` and `unit` are for the progress
    bar.
    """
    import ray

    source = sources.model_source(encoder, "encoder")
    source = str(Path(source).absolute()) if Path(source).is_dir() else source  # workers run elsewhere
    blocks = max(1, -(-len(texts) // BATCH_TEXTS))
    rows = [{"row": i, "text": text} for i, text in enumerate(texts)]
    embedded = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        TextEmbedder,
        fn_constructor_args=(source, revision, role, prefix, max_length, compute_type),
        batch_size=BATCH_TEXTS,
        **cluster.actor_pool(num_actors, blocks),
    )
    vectors: np.ndarray | None = None
    with progress.bar(title, len(texts), unit) as advance, cluster.user_errors():
        for batch in embedded.iter_batches(batch_size=None):  # arrives in any order: joined by row
            if vectors is None:
                vectors = np.zeros((len(texts), batch["vector"].shape[1]), dtype=np.float32)
            vectors[batch["row"]] = batch["vector"]
            advance(len(batch["row"]))
    assert vectors is not None
    return vectors
