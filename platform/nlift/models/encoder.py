"""A sentence encoder: backbone, pooling, optional head, prefixes; one form on disk for all tools.

A saved encoder is a Hugging Face model folder that is a sentence-transformers model as well:
`AutoModel` loads its backbone, `SentenceTransformer` gives the same vectors as `Encoder.encode`.

Suffixes say the shape of an array: N texts, B rows of a batch, T tokens, D dimensions of a vector.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from nlift.data import sources
from nlift.errors import ModelError, first_line
from nlift.models import encoder_format
from nlift.models.batching import padded, side_by_side, token_batches, token_budget
from nlift.models.encoder_format import DenseHead, EncoderFormat
from nlift.models.int8 import Int8Backbone

Ids = list[int]
Role = Literal["query", "passage"] | None
ComputeType = Literal["auto", "float32", "float16", "bfloat16", "int8"]
HALF = {"auto": torch.float16, "float16": torch.float16, "bfloat16": torch.bfloat16}  # on a GPU
WITH_POOLER = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet")  # take add_pooling_layer
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text")
TEXTS_AT_ONCE = 20_000  # tokenised together; bounds memory, long enough to sort by length


class Encoder(torch.nn.Module):
    """Texts to unit vectors; `forward` gives the raw vectors that training works on.

    Attributes:
        backbone: The transformer.
        tokenizer: Its tokenizer.
        pooling: `mean` over the tokens, or `cls`, the first token.
        mlp_head: Whether the backbone's pooler, a linear layer and tanh, follows the pooling.
        prefixes: What stands before a text, by role (`query`, `passage`).
        max_length: Tokens of a text that are read, at most what the backbone has positions for.
        compute_type: What `encode` computes in.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pooling: str = "mean",
        mlp_head: bool = False,
        prefixes: dict[str, str] | None = None,
        max_length: int | None = None,
        compute_type: ComputeType = "float32",
        int8: Int8Backbone | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.tokenizer = backbone, tokenizer
        self.compute_type, self.int8 = compute_type, int8
        self.pooling, self.mlp_head = pooling, mlp_head
        self.prefixes = {"query": "", "passage": "", **(prefixes or {})}
        positions = _usable_positions(backbone)
        self.max_length = min(max_length or positions, positions)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        pooling: str | None = None,
        mlp_head: bool | None = None,
        prefixes: dict[str, str] | None = None,
        compute_type: ComputeType = "float32",
    ) -> "Encoder":
        """The encoder of a folder, a hub name, or `embedded`, on the CPU, ready to encode.

        Args:
            path: A model folder, a name on the Hugging Face hub, or `embedded`.
            revision: Branch, tag or commit of a hub model; its main branch when None.
            pooling: `mean` or `cls`; as saved when None. A plain Hugging Face model pools by mean.
            mlp_head: Whether the backbone's pooler follows the pooling; as saved when None. A head that
                the checkpoint lacks is freshly initialised.
            prefixes: What stands before a text, by role (`query`, `passage`); as saved when None.
            compute_type: What `encode` computes in: `float16` and `bfloat16` on a GPU (a CPU takes
                float32), `auto` for float16 on a GPU, `int8` for the matrices of the checkpoint in int8
                on the CPU. `forward` is in float32 always.

        Returns:
            The encoder, in evaluation mode.

        Raises:
            ModelError: The model is missing, corrupt, or not an encoder, or cannot run in int8.
        """
        if compute_type not in get_args(ComputeType):
            known = ", ".join(get_args(ComputeType))
            raise ModelError(f"{path}: compute_type {compute_type!r}; expected one of {known}")
        source = sources.model_source(str(path), "encoder")
        saved = encoder_format.read(source, revision) or EncoderFormat()
        mlp_head = saved.mlp_head if mlp_head is None else mlp_head
        backbone, tokenizer = _load_backbone(path, source, revision, mlp_head)
        if mlp_head:
            _check_head(path, backbone, saved.head)
        return cls(
            backbone,
            tokenizer,
            pooling=pooling or saved.pooling,
            mlp_head=mlp_head,
            prefixes=saved.prefixes if prefixes is None else prefixes,
            max_length=saved.max_length,
            compute_type=compute_type,
            int8=Int8Backbone(str(path), revision) if compute_type == "int8" else None,
        ).eval()

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.backbone.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.backbone.device

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Vectors of tokenised texts, not normalised, with gradients.

        Args:
            inputs: What the tokenizer makes of the texts, on the encoder's device: `input_ids` and
                `attention_mask`, int64 [B, T]. `batches` gives it.

        Returns:
            The vectors, float32 [B, D] (half precision under autocast).
        """
        return self._pooled(self.backbone(**inputs).last_hidden_state, inputs["attention_mask"])

    def _pooled(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if self.pooling == "cls":
            vectors_BD = hidden_BTD[:, 0]
        else:
            mask_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
            vectors_BD = (hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1e-9)
        return torch.tanh(self.backbone.pooler.dense(vectors_BD)) if self.mlp_head else vectors_BD

    def batches(
        self,
        texts: Sequence[str],
        *,
        role: Role = None,
        max_length: int | None = None,
        batch_tokens: int = 2048,
        batch_rows: int | None = None,
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Positions and tokenised texts in batches of like length, on the encoder's device."""
        rows = self._token_ids(texts, role, max_length)
        for positions in token_batches([len(row) for row in rows], batch_tokens, batch_rows):
            yield positions, self._padded([rows[i] for i in positions])

    def _token_ids(self, texts: Sequence[str], role: Role, max_length: int | None) -> list[Ids]:
        prefix = self.prefixes[role] if role else ""
        prefixed = [(prefix + text).strip() for text in texts]  # as sentence-transformers does
        limit = min(max_length or self.max_length, self.max_length)
        if not self.tokenizer.is_fast:
            return list(self.tokenizer(prefixed, truncation=True, max_length=limit)["input_ids"])
        fast = self.tokenizer.backend_tokenizer  # without offsets and masks, in two thirds of the time
        fast.no_padding()
        fast.enable_truncation(limit, direction=self.tokenizer.truncation_side)
        return [encoding.ids for encoding in fast.encode_batch_fast(prefixed)]

    def _padded(self, rows: list[Ids]) -> dict[str, Tensor]:
        """What the backbone takes."""
        tensors = padded(rows, self.tokenizer.pad_token_id or 0)
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def encode(
        self, texts: Sequence[str], *, role: Role = None, max_length: int | None = None, batch_tokens: int | None = None
    ) -> np.ndarray:
        """Unit vectors of texts.

        Args:
            texts: Any number of texts, of any length.
            role: `query` or `passage` puts that prefix before each text; None puts none.
            max_length: Tokens of a text that are read, special tokens included; the encoder's own
                `max_length` when None or larger.
            batch_tokens: Padded tokens in one forward pass; when None 1,024 on a CPU, 65,536 on a GPU.
                Changes results by rounding alone.

        Returns:
            The vectors, float32 [N, D], each of length 1, in the order of `texts`.
        """
        budget = token_budget("encode", self.device.type, batch_tokens)
        mapper = side_by_side if self.device.type == "cpu" else map
        was_training = self.training
        self.eval()
        vectors_ND = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            rows = self._token_ids(texts[start : start + TEXTS_AT_ONCE], role, max_length)
            batches = list(token_batches([len(row) for row in rows], budget))
            rows_of_batches = [[rows[i] for i in positions] for positions in batches]
            for positions, unit_BD in zip(batches, mapper(self._unit_vectors, rows_of_batches), strict=True):
                vectors_ND[[start + i for i in positions]] = unit_BD
        self.train(was_training)
        return vectors_ND

    @torch.inference_mode()
    def _unit_vectors(self, rows: list[Ids]) -> np.ndarray:
        """Unit vectors, float32 [B, D], of token ids, in the encoder's compute type."""
        inputs = self._padded(rows)
        if self.int8:
            return normalize(self._pooled(self.int8(rows), inputs["attention_mask"]), dim=-1).numpy()
        half = HALF.get(self.compute_type) if self.device.type == "cuda" else None
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            vectors_BD = self(inputs)
        return normalize(vectors_BD.float(), dim=-1).cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write the encoder to a folder, which `load`, `SentenceTransformer` and `AutoModel` read.

        Weights are safetensors in float32, also where the encoder computes in int8.

        Args:
            folder: Where to; made where it is not there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.backbone.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        head = None
        if self.mlp_head:
            dense = self.backbone.pooler.dense
            head = DenseHead({"linear.weight": dense.weight, "linear.bias": dense.bias})
        encoder_format.write(folder, EncoderFormat(self.pooling, self.prefixes, self.max_length, head), self.dim)


def _load_backbone(
    path: str | Path, source: str, revision: str | None, mlp_head: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Backbone and tokenizer. Raises ModelError where they are not those of an encoder, whole."""
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
        if _generates(config):
            raise ModelError(f"{path}: a {config.model_type} generates text; expected an encoder as BERT or XLM-R")
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        pooler = {"add_pooling_layer": mlp_head} if config.model_type in WITH_POOLER else {}
        backbone, loading = AutoModel.from_pretrained(
            source, revision=revision, dtype=torch.float32, output_loading_info=True, **pooler
        )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path}: cannot be loaded as an encoder: {first_line(error)}") from None
    missing = [name for name in loading["missing_keys"] if "pooler" not in name]
    if missing:
        raise ModelError(f"{path}: {len(missing)} weights are missing from the checkpoint, as {missing[0]}")
    return backbone, tokenizer


def _check_head(path: str | Path, backbone: PreTrainedModel, saved: DenseHead | None) -> None:
    """Raise ModelError where there is no pooler, or a saved head that is not the tanh head which the pooler holds."""
    if getattr(backbone, "pooler", None) is None:
        raise ModelError(f"{path}: a {backbone.config.model_type} has no pooler; mlp_head needs one")
    if saved is None:
        return
    weight = saved.weights.get("linear.weight")
    same = weight is not None and torch.equal(weight, backbone.pooler.dense.weight)
    if not same or not saved.activation.endswith("Tanh"):
        raise ModelError(
            f"{path}: its Dense module is not the backbone's pooler with tanh; such a head is not supported"
        )


def _usable_positions(backbone: PreTrainedModel) -> int:
    """Tokens that the position embeddings have room for."""
    positions = int(getattr(backbone.config, "max_position_embeddings", 512))
    return positions - 2 if backbone.config.model_type in OFFSET_POSITIONS else positions


def _generates(config: Any) -> bool:
    """Whether a model writes text from left to right, and so is no encoder."""
    kind = config.model_type
    decoder = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return bool(config.is_encoder_decoder or config.is_decoder or decoder)
