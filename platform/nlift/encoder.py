"""A sentence encoder: backbone, pooling, optional head, prefixes; one form on disk for all tools.

A saved encoder is a Hugging Face model folder that is a sentence-transformers model as well:
`AutoModel` loads its backbone, `SentenceTransformer` gives the same vectors as `Encoder.encode`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from nlift import sources
from nlift.batching import token_batches
from nlift.errors import ModelError

Role = Literal["query", "passage"] | None
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
    ) -> None:
        super().__init__()
        self.backbone, self.tokenizer = backbone, tokenizer
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
    ) -> "Encoder":
        """The encoder of a folder, a hub name, or `embedded`.

        Pooling, head and prefixes are as saved, unless given; a plain Hugging Face model pools by
        mean. A head that the checkpoint lacks is freshly initialised. Raises ModelError where the
        model is missing, corrupt, or not an encoder.
        """
        source = sources.model_source(str(path), "encoder")
        saved = _read_modules(Path(source))
        pooling = pooling or saved.get("pooling", "mean")
        mlp_head = saved.get("mlp_head", False) if mlp_head is None else mlp_head
        try:
            config = AutoConfig.from_pretrained(source, revision=revision)
            if config.is_encoder_decoder or config.is_decoder or getattr(config, "model_type", "") in ("gpt2", "llama"):
                raise ModelError(f"{path}: a {config.model_type} generates text; expected an encoder as BERT or XLM-R")
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
            pooler: dict[str, Any] = {"add_pooling_layer": mlp_head}
            if config.model_type not in ("bert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet"):
                pooler = {}
            backbone = AutoModel.from_pretrained(source, revision=revision, torch_dtype=torch.float32, **pooler)
        except ModelError:
            raise
        except Exception as error:
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"{path}: cannot be loaded as an encoder: {message}") from None
        if mlp_head and getattr(backbone, "pooler", None) is None:
            raise ModelError(f"{path}: a {config.model_type} has no pooler; mlp_head needs one")
        return cls(
            backbone,
            tokenizer,
            pooling=pooling,
            mlp_head=mlp_head,
            prefixes=saved.get("prefixes") if prefixes is None else prefixes,
            max_length=saved.get("max_length"),
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
        hidden = self.backbone(**inputs).last_hidden_state
        if self.pooling == "cls":
            vectors = hidden[:, 0]
        else:
            mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return torch.tanh(self.backbone.pooler.dense(vectors)) if self.mlp_head else vectors

    def batches(
        self, texts: Sequence[str], *, role: Role = None, max_length: int | None = None, batch_tokens: int = 2048
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Positions and tokenised texts in batches of like length, on the encoder's device."""
        prefix = self.prefixes[role] if role else ""
        limit = min(max_length or self.max_length, self.max_length)
        rows = self.tokenizer([prefix + text for text in texts], truncation=True, max_length=limit)["input_ids"]
        for positions in token_batches([len(row) for row in rows], batch_tokens):
            padded = self.tokenizer.pad({"input_ids": [rows[i] for i in positions]}, return_tensors="pt")
            yield positions, {name: tensor.to(self.device) for name, tensor in padded.items()}

    @torch.inference_mode()
    def encode(
        self, texts: Sequence[str], *, role: Role = None, max_length: int | None = None, batch_tokens: int | None = None
    ) -> np.ndarray:
        """Unit vectors, float32 [N, D], in the order of `texts`.

        `role` puts the query or the passage prefix before each text; `max_length` is in tokens.
        """
        batch_tokens = batch_tokens or (65_536 if self.device.type == "cuda" else 2048)
        was_training = self.training
        self.eval()
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = texts[start : start + TEXTS_AT_ONCE]
            for positions, inputs in self.batches(part, role=role, max_length=max_length, batch_tokens=batch_tokens):
                unit = normalize(self(inputs).float(), dim=-1)
                vectors[[start + i for i in positions]] = unit.cpu().numpy()
        self.train(was_training)
        return vectors

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
    return positions - 2 if backbone.config.model_type in ("roberta", "xlm-roberta", "camembert") else positions


def _read_modules(folder: Path) -> dict[str, Any]:
    """Pooling, head, prefixes and length of a folder in sentence-transformers form; {} for others."""
    if not (folder / "modules.json").is_file():
        return {}
    try:
        names = [module["type"].rpartition(".")[2] for module in json.loads((folder / "modules.json").read_text())]
        pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
        settings = json.loads((folder / "sentence_bert_config.json").read_text())
        prompts_file = folder / "config_sentence_transformers.json"
        prompts = json.loads(prompts_file.read_text()).get("prompts", {}) if prompts_file.is_file() else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: not a readable sentence-transformers folder ({error})") from None
    unknown = set(names) - {"Transformer", "Pooling", "Dense", "Normalize"}
    if unknown or not (pooling.get("pooling_mode_mean_tokens") or pooling.get("pooling_mode_cls_token")):
        raise ModelError(f"{folder}: modules {', '.join(names)}; expected Transformer, mean or cls Pooling, Dense, Normalize")
    return {
        "pooling": "cls" if pooling.get("pooling_mode_cls_token") else "mean",
        "mlp_head": "Dense" in names,
        "prefixes": {role: prompts.get(role, "") for role in ("query", "passage")},
        "max_length": settings.get("max_seq_length"),
    }
