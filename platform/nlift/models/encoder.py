"""A sentence encoder: backbone, pooling, optional head, prefixes; one form on disk for all tools.

A saved encoder is a Hugging Face model folder that is a sentence-transformers model as well:
`AutoModel` loads its backbone, `SentenceTransformer` gives the same vectors as `Encoder.encode`.

Suffixes say the shape of an array: N texts, B rows of a batch, T tokens, D dimensions of a vector.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerBase

from nlift.data import sources
from nlift.errors import ModelError, NliftError, first_line
from nlift.models import encoder_format
from nlift.models.auto_classes import PreTrainedModel
from nlift.models.backbone import check_head, check_vectors, load_backbone, positions, token_types, whitening_of
from nlift.models.batching import padded, side_by_side, token_batches, token_budget
from nlift.models.encoder_format import IDENTITY, DenseHead, EncoderFormat
from nlift.models.foreign_settings import POOLING
from nlift.models.int8 import Int8Backbone
from nlift.models.precision import half_type
from nlift.visible import SURROGATE

Ids = list[int]
Role = Literal["query", "passage"] | None
ComputeType = Literal["auto", "float32", "float16", "bfloat16", "int8"]
UNLIMITED = 2**31 - 1  # tokens of a text, where neither backbone nor tokenizer has a limit
TEXTS_AT_ONCE = 20_000  # tokenised together; bounds memory, long enough to sort by length


class Encoder(torch.nn.Module):
    """Texts to unit vectors; `forward` gives the raw vectors that training works on.

    Attributes:
        backbone: The transformer.
        tokenizer: Its tokenizer.
        pooling: `mean` over the tokens, or `cls`, the first token.
        mlp_head: Whether the backbone's pooler, a linear layer and tanh, follows the pooling.
        whitening: A linear layer that unit vectors pass in the end, or None; training leaves it as it is.
        prefixes: What stands before a text, by role (`query`, `passage`).
        default_prefix: What stands before a text that has no role.
        pools_prefix: Whether the tokens of a prefix count in a mean.
        lower_case: Whether texts are lower-cased.
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
        default_prefix: str = "",
        pools_prefix: bool = True,
        lower_case: bool = False,
        max_length: int | None = None,
        compute_type: ComputeType = "float32",
        int8: Int8Backbone | None = None,
        whitening: torch.nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.tokenizer = backbone, tokenizer
        self.compute_type, self.int8 = compute_type, int8
        self.pooling, self.mlp_head, self.whitening = pooling, mlp_head, whitening
        self.prefixes = {"query": "", "passage": "", **(prefixes or {})}
        self.default_prefix, self.pools_prefix, self.lower_case = default_prefix, pools_prefix, lower_case
        wanted = max_length or int(tokenizer.model_max_length)
        self.max_length = min(wanted, positions(backbone) or UNLIMITED, UNLIMITED)
        self._types = token_types(backbone, tokenizer)

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
            prefixes: What stands before a text, by role (`query`, `passage`); as saved when None,
                what stands before a text that has no role too.
            compute_type: What `encode` computes in: `float32`, `bfloat16`, `float16` (a CPU takes float32
                for it), `auto` for float16 on a GPU and float32 on a CPU, `int8` for the matrices of the
                checkpoint in int8 on the CPU. `forward` is in float32 always.

        Returns:
            The encoder, in evaluation mode.

        Raises:
            ModelError: The model is missing, corrupt, no encoder, or has code or settings that cannot be honoured.
        """
        if compute_type not in get_args(ComputeType):
            known = ", ".join(get_args(ComputeType))
            raise ModelError(f"{path}: compute_type {compute_type!r}; expected one of {known}")
        if pooling not in (None, *POOLING):
            raise ModelError(f"{path}: pooling {pooling!r}; expected one of {', '.join(POOLING)}")
        source = sources.model_source(str(path), "encoder")
        saved = encoder_format.read(source, revision) or EncoderFormat()
        mlp_head = saved.mlp_head if mlp_head is None else mlp_head
        backbone, tokenizer = load_backbone(path, source, revision, mlp_head, saved.backbone)
        if mlp_head:
            check_head(path, backbone, saved.head)
        encoder = cls(
            backbone,
            tokenizer,
            pooling=pooling or saved.pooling,
            mlp_head=mlp_head,
            prefixes=saved.prefixes,
            default_prefix=saved.default_prefix,
            pools_prefix=saved.pools_prefix,
            lower_case=saved.lower_case,
            max_length=saved.max_length,
            compute_type=compute_type,
            int8=Int8Backbone(str(path), revision, saved.backbone) if compute_type == "int8" else None,
            whitening=whitening_of(path, backbone, saved.whitening) if saved.whitening else None,
        ).eval()
        encoder._check_runs(path)
        if prefixes is not None:
            encoder.default_prefix = ""
            encoder.set_prefixes({"query": "", "passage": "", **prefixes})
        return encoder

    def set_prefixes(self, prefixes: Mapping[str, str | None]) -> None:
        """Put other prefixes before texts, by role (`query`, `passage`); None leaves a role's as it is.

        Raises ModelError where the model's own are left out of its pooling, which those of others cannot be.
        """
        wanted = {role: prefix for role, prefix in prefixes.items() if prefix is not None}
        if not self.pools_prefix and any(wanted.values()):
            name = self.backbone.name_or_path
            raise ModelError(f"{name}: include_prompt is false in its pooling; expected its own prefixes, or none")
        self.prefixes |= wanted

    @torch.inference_mode()
    def _check_runs(self, path: str | Path) -> None:
        """Raise ModelError where the backbone takes no texts, as one for sounds, or lacks a setting."""
        attention = getattr(self.backbone, "attention_type", None)
        least = self.tokenizer.num_special_tokens_to_add()
        if self.max_length < max(least, 1):
            raise ModelError(f"{path}: max_seq_length {self.max_length}; expected room for {least} special tokens")
        try:
            width = self(self._padded([self._token_ids(["a"], None, None)[0] or [0]])).shape[1]
        except Exception as error:
            raise ModelError(f"{path}: cannot encode a text: {first_line(error)}") from None
        if attention != getattr(self.backbone, "attention_type", None):
            self.backbone.set_attention_type(attention)  # BigBird changes it at a short text, for good
        if width != self.dim:
            raise ModelError(f"{path}: its vectors have {width} dimensions; expected hidden_size, {self.dim}")

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
        if self.mlp_head:
            vectors_BD = torch.tanh(self.backbone.pooler.dense(vectors_BD))
        return self.whitening(normalize(vectors_BD, dim=-1)) if self.whitening else vectors_BD

    def batches(
        self,
        texts: Sequence[str],
        *,
        max_length: int | None = None,
        batch_tokens: int = 2048,
        batch_rows: int | None = None,
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Positions and tokenised texts in batches of like length, on the encoder's device; prefixes are the texts'."""
        rows = self.tokens(texts, max_length)
        for batch in token_batches([len(row) for row in rows], batch_tokens, batch_rows):
            yield batch, self._padded([rows[i] for i in batch])

    def prefixed(self, texts: Sequence[str], role: Role) -> list[str]:
        """Texts with what stands before those of a role. Raises NliftError for an unknown role."""
        prefix = self._prefix(role)
        return [prefix + text for text in texts]

    def tokens(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """Token ids of texts as they are, cut to `max_length` (the encoder's own where that is less, or None)."""
        stripped = [text.strip() for text in texts]  # as sentence-transformers does
        stripped = [text.lower() for text in stripped] if self.lower_case else stripped
        limit = min(max_length or self.max_length, self.max_length)
        if not self.tokenizer.is_fast:
            return list(self.tokenizer(stripped, truncation=True, max_length=limit)["input_ids"])
        fast = self.tokenizer.backend_tokenizer  # without offsets and masks, in two thirds of the time
        fast.no_padding()
        fast.enable_truncation(limit, direction=self.tokenizer.truncation_side)
        try:
            return [encoding.ids for encoding in fast.encode_batch_fast(stripped)]
        except (TypeError, UnicodeEncodeError):
            place = next(i for i, text in enumerate(stripped) if SURROGATE.search(text))
            raise NliftError(f"texts[{place}]: holds half of a surrogate pair; expected Unicode text") from None

    def _token_ids(self, texts: Sequence[str], role: Role, max_length: int | None) -> list[Ids]:
        return self.tokens(self.prefixed(texts, role), max_length)

    def _prefix(self, role: Role) -> str:
        if role is not None and role not in self.prefixes:
            raise NliftError(f"role {role!r}; expected {' or '.join(self.prefixes)}, or None")
        return self.prefixes[role] if role else self.default_prefix

    def _unpooled(self, role: Role, max_length: int | None) -> int:
        """Tokens at a text's start that a mean leaves out: its prefix's, counted as sentence-transformers does."""
        if self.pools_prefix or self.pooling != "mean" or not self._prefix(role):
            return 0
        (ids,) = self._token_ids([""], role, max_length)
        return len(ids) - (bool(ids) and ids[-1] in self.tokenizer.all_special_ids)

    def _padded(self, rows: list[Ids]) -> dict[str, Tensor]:
        """What the backbone takes."""
        tensors = padded(rows, self.tokenizer.pad_token_id or 0)
        if self._types is not None:
            types_BT = torch.zeros_like(tensors["input_ids"])
            for token, kind in self._types.items():
                types_BT[tensors["input_ids"] == token] = kind
            tensors["token_type_ids"] = types_BT
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: Role = None,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Unit vectors of texts.

        Args:
            texts: Any number of texts, of any length.
            role: `query` or `passage` puts that prefix before each text; None puts the default one, mostly none.
            max_length: Tokens of a text that are read, special tokens included; the encoder's own
                `max_length` when None or larger.
            batch_tokens: Padded tokens in one forward pass; when None 1,024 on a CPU, 65,536 on a GPU.
                Changes results by rounding alone.
            advance: Called with the number of texts of each batch that is done, for a progress bar.

        Returns:
            The vectors, float32 [N, D], each of length 1, in the order of `texts`; zeros for a text without tokens.

        Raises:
            ModelError: A vector is not a number, or infinite.
        """
        budget = token_budget("encode", self.device.type, batch_tokens)
        mapper = side_by_side if self.device.type == "cpu" else map
        unpooled = self._unpooled(role, max_length)
        was_training = self.training
        self.eval()
        vectors_ND = np.zeros((len(texts), self.dim), dtype=np.float32)
        pooled_N = np.zeros(len(texts), dtype=bool)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            rows = self._token_ids(texts[start : start + TEXTS_AT_ONCE], role, max_length)
            lengths = np.array([len(row) for row in rows])
            pooled_N[start : start + len(rows)] = lengths > unpooled
            filled = np.flatnonzero(lengths)
            if advance is not None and len(filled) < len(rows):
                advance(len(rows) - len(filled))
            batches = [filled[batch] for batch in token_batches(lengths[filled].tolist(), budget)]
            work = [([rows[i] for i in batch], unpooled) for batch in batches]
            for batch, unit_BD in zip(batches, mapper(self._unit_vectors, work), strict=True):
                vectors_ND[start + batch] = unit_BD
                if advance is not None:
                    advance(len(batch))
        self.train(was_training)
        check_vectors(self.backbone, vectors_ND[pooled_N], self.compute_type if self._half else None)
        return vectors_ND

    @torch.inference_mode()
    def _unit_vectors(self, work: tuple[list[Ids], int]) -> np.ndarray:
        """Unit vectors, float32 [B, D], of token ids, in the encoder's compute type."""
        rows, unpooled = work  # how many tokens at the start a mean leaves out
        inputs = self._padded(rows)
        with torch.autocast(self.device.type, dtype=self._half, enabled=self._half is not None):
            hidden_BTD = self.int8(rows) if self.int8 else self.backbone(**inputs).last_hidden_state
            mask_BT = inputs["attention_mask"]
            mask_BT[:, :unpooled] = 0
            vectors_BD = self._pooled(hidden_BTD, mask_BT)
        return normalize(vectors_BD.float(), dim=-1).cpu().numpy()

    @property
    def _half(self) -> torch.dtype | None:
        """The half precision that `encode` computes in; None in float32 and int8, and on a CPU in float16."""
        return half_type(self.compute_type, self.device)

    def save(self, folder: Path) -> None:
        """Write the encoder to a folder, which `load`, `SentenceTransformer` and `AutoModel` read.

        Weights are safetensors in float32, also where the encoder computes in int8.

        Args:
            folder: Where to; made where it is not there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.backbone.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        form = EncoderFormat(
            self.pooling,
            self.prefixes,
            self.max_length,
            DenseHead.of(self.backbone.pooler.dense) if self.mlp_head else None,
            default_prefix=self.default_prefix,
            pools_prefix=self.pools_prefix,
            lower_case=self.lower_case,
            whitening=DenseHead.of(self.whitening, IDENTITY) if self.whitening else None,
        )
        encoder_format.write(folder, form, self.dim)
