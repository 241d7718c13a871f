"""A sentence encoder: backbone, pooling, optional head, prefixes; one form on disk for all tools.

A saved encoder is a Hugging Face model folder that is a sentence-transformers model as well:
`AutoModel` loads its backbone, `SentenceTransformer` gives the same vectors as `Encoder.encode`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import cached_file

from nlift import sources
from nlift.batching import padded, side_by_side, token_batches
from nlift.errors import ModelError
from nlift.quantized import Int8Backbone

Ids = list[int]
Role = Literal["query", "passage"] | None
ComputeType = Literal["auto", "float32", "float16", "bfloat16", "int8"]
HALF = {"auto": torch.float16, "float16": torch.float16, "bfloat16": torch.bfloat16}  # on a GPU
WITH_POOLER = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet")  # take add_pooling_layer
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text")
TEXTS_AT_ONCE = 20_000  # tokenised together; bounds memory, long enough to sort by length


class Encoder(torch.nn.Module):
    """Texts to unit vectors; `forward` gives the raw vectors that training works on."""

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
        """The encoder of a folder, a hub name, or `embedded`.

        Pooling, head and prefixes are as saved, unless given; a plain Hugging Face model pools by
        mean. A head that the checkpoint lacks is freshly initialised. `compute_type` is what
        `encode` computes in: `float16` and `bfloat16` on a GPU (a CPU takes float32), `auto` for
        float16 on a GPU, `int8` for the matrices of the checkpoint in int8 on the CPU. `forward`
        is in float32 always. Raises ModelError where the model is missing, corrupt, or not an
        encoder, or cannot run in int8.
        """
        if compute_type not in get_args(ComputeType):
            raise ModelError(f"{path}: compute_type {compute_type!r}; expected one of {', '.join(get_args(ComputeType))}")
        source = sources.model_source(str(path), "encoder")
        saved = _read_modules(source, revision)
        pooling = pooling or saved.get("pooling", "mean")
        mlp_head = saved.get("mlp_head", False) if mlp_head is None else mlp_head
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
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"{path}: cannot be loaded as an encoder: {message}") from None
        missing = [name for name in loading["missing_keys"] if "pooler" not in name]
        if missing:
            raise ModelError(f"{path}: {len(missing)} weights are missing from the checkpoint, as {missing[0]}")
        if mlp_head and getattr(backbone, "pooler", None) is None:
            raise ModelError(f"{path}: a {config.model_type} has no pooler; mlp_head needs one")
        if mlp_head and "dense" in saved:
            _check_head(path, backbone, saved["dense"])
        return cls(
            backbone,
            tokenizer,
            pooling=pooling,
            mlp_head=mlp_head,
            prefixes=saved.get("prefixes") if prefixes is None else prefixes,
            max_length=saved.get("max_length"),
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
        """Vectors, float [B, D], not normalised, of tokenised texts."""
        return self._pooled(self.backbone(**inputs).last_hidden_state, inputs["attention_mask"])

    def _pooled(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if self.pooling == "cls":
            vectors = hidden_BTD[:, 0]
        else:
            mask = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
            vectors = (hidden_BTD * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return torch.tanh(self.backbone.pooler.dense(vectors)) if self.mlp_head else vectors

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
        return [one.ids for one in fast.encode_batch_fast(prefixed)]

    def _padded(self, rows: list[Ids]) -> dict[str, Tensor]:
        """What the backbone takes."""
        return {name: tensor.to(self.device) for name, tensor in padded(rows, self.tokenizer.pad_token_id or 0).items()}

    def encode(
        self, texts: Sequence[str], *, role: Role = None, max_length: int | None = None, batch_tokens: int | None = None
    ) -> np.ndarray:
        """Unit vectors, float32 [N, D], in the order of `texts`.

        `role` puts the query or the passage prefix before each text; `max_length` is in tokens.
        """
        batch_tokens = batch_tokens or (65_536 if self.device.type == "cuda" else 1024)
        was_training = self.training
        self.eval()
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            rows = self._token_ids(texts[start : start + TEXTS_AT_ONCE], role, max_length)
            batches = list(token_batches([len(row) for row in rows], batch_tokens))
            each = side_by_side if self.device.type == "cpu" else map
            found = each(self._unit_vectors, [[rows[i] for i in positions] for positions in batches])
            for positions, unit in zip(batches, found, strict=True):
                vectors[[start + i for i in positions]] = unit
        self.train(was_training)
        return vectors

    @torch.inference_mode()
    def _unit_vectors(self, rows: list[Ids]) -> np.ndarray:
        """Unit vectors, float32 [B, D], of token ids, in the encoder's compute type."""
        inputs = self._padded(rows)
        if self.int8:
            return normalize(self._pooled(self.int8(rows), inputs["attention_mask"]), dim=-1).numpy()
        half = HALF.get(self.compute_type) if self.device.type == "cuda" else None
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            vectors = self(inputs)
        return normalize(vectors.float(), dim=-1).cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write the encoder to `folder`, weights as safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        self.backbone.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        modules = ["Transformer", "Pooling"] + ["Dense"] * self.mlp_head + ["Normalize"]
        paths = ["" if i == 0 else f"{i}_{name}" for i, name in enumerate(modules)]
        listing = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
            for i, (name, path) in enumerate(zip(modules, paths, strict=True))
        ]
        _write(folder / "modules.json", listing)
        _write(folder / "sentence_bert_config.json", {"max_seq_length": self.max_length, "do_lower_case": False})
        _write(
            folder / "config_sentence_transformers.json",
            {"prompts": self.prefixes, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        )
        _write(
            folder / "1_Pooling" / "config.json",
            {
                "word_embedding_dimension": self.dim,
                "pooling_mode_cls_token": self.pooling == "cls",
                "pooling_mode_mean_tokens": self.pooling == "mean",
            },
        )
        (folder / paths[-1]).mkdir(exist_ok=True)
        _write(folder / paths[-1] / "config.json", {})
        if self.mlp_head:
            self._save_head(folder / paths[2])

    def _save_head(self, folder: Path) -> None:
        settings = {"in_features": self.dim, "out_features": self.dim, "bias": True}
        _write(folder / "config.json", {**settings, "activation_function": "torch.nn.modules.activation.Tanh"})
        dense = self.backbone.pooler.dense
        weights = {"linear.weight": dense.weight, "linear.bias": dense.bias}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _usable_positions(backbone: PreTrainedModel) -> int:
    """Tokens that the position embeddings have room for."""
    positions = int(getattr(backbone.config, "max_position_embeddings", 512))
    return positions - 2 if backbone.config.model_type in OFFSET_POSITIONS else positions


def _generates(config: Any) -> bool:
    """Whether a model writes text from left to right, and so is no encoder."""
    decoder = (
        config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    return bool(config.is_encoder_decoder or config.is_decoder or decoder)


def _read_modules(source: str, revision: str | None) -> dict[str, Any]:
    """Pooling, head, prefixes and length of a model in sentence-transformers form; {} for others."""

    def read(name: str) -> Any:
        path = _file(source, revision, name)
        return json.loads(path.read_text(encoding="utf-8")) if path else {}

    try:
        modules = [(one["type"].rpartition(".")[2], one.get("path", "")) for one in read("modules.json")]
        if not modules:
            return {}
        paths = dict(modules)
        pooling, settings = read(f"{paths.get('Pooling')}/config.json"), read("sentence_bert_config.json")
        prompts = read("config_sentence_transformers.json").get("prompts") or {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{source}: not a readable sentence-transformers folder ({error})") from None
    modes = [
        mode.removeprefix("pooling_mode_") for mode, on in pooling.items() if mode.startswith("pooling_mode_") and on is True
    ]
    names = [name for name, _ in modules]
    if set(names) - {"Transformer", "Pooling", "Dense", "Normalize"} or modes not in (["mean_tokens"], ["cls_token"]):
        raise ModelError(
            f"{source}: modules {', '.join(names)}, pooling {', '.join(modes) or 'none'}; "
            "expected Transformer, mean or cls Pooling, Dense, Normalize"
        )
    found: dict[str, Any] = {
        "pooling": "cls" if modes == ["cls_token"] else "mean",
        "mlp_head": "Dense" in paths,
        "prefixes": {role: prompts.get(role) or "" for role in ("query", "passage")},
        "max_length": settings.get("max_seq_length"),
    }
    if "Dense" in paths:
        found["dense"] = (_file(source, revision, f"{paths['Dense']}/model.safetensors"), read(f"{paths['Dense']}/config.json"))
    return found


def _file(source: str, revision: str | None, name: str) -> Path | None:
    """A file of a model's folder or hub repository; None where it has none of this name."""
    if Path(source).is_dir():
        return Path(source) / name if (Path(source) / name).is_file() else None
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(source, name, revision=revision, _raise_exceptions_for_gated_repo=False, **quiet)
    return Path(found) if found else None


def _check_head(path: str | Path, backbone: PreTrainedModel, dense: tuple[Path | None, dict[str, Any]]) -> None:
    """Raise ModelError where a Dense module is not the tanh head that the backbone's pooler holds."""
    file, settings = dense
    weights = load_file(file) if file else {}
    own = backbone.pooler.dense.weight
    same = "linear.weight" in weights and weights["linear.weight"].shape == own.shape
    if not same or not torch.equal(weights["linear.weight"], own) or not settings["activation_function"].endswith("Tanh"):
        raise ModelError(f"{path}: its Dense module is not the backbone's pooler with tanh; such a head is not supported")
