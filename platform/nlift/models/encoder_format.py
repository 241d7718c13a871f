"""An encoder's form on disk, beside its backbone and tokenizer: that of a sentence-transformers model."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils import cached_file

from nlift.errors import ModelError, first_line

MODULES = {"Transformer", "Pooling", "Dense", "Normalize"}
POOLING = {"mean_tokens": "mean", "cls_token": "cls"}  # what sentence-transformers calls them, and we
TANH = "torch.nn.modules.activation.Tanh"


@dataclass(frozen=True, eq=False)
class DenseHead:
    """A Dense module: `linear.weight` [D, D] and `linear.bias` [D], and the class of its activation."""

    weights: dict[str, Tensor]
    activation: str = TANH


@dataclass(frozen=True, eq=False)
class EncoderFormat:
    """What a saved encoder is, its backbone and tokenizer apart; a plain Hugging Face model is the default."""

    pooling: str = "mean"
    prefixes: dict[str, str] = field(default_factory=dict)
    max_length: int | None = None
    head: DenseHead | None = None

    @property
    def mlp_head(self) -> bool:
        """Whether a Dense module follows the pooling."""
        return self.head is not None


def read(source: str, revision: str | None) -> EncoderFormat | None:
    """The form of the model of a folder or a hub name; None where it is not in sentence-transformers form.

    Raises ModelError where its files are damaged or describe another kind of model.
    """
    try:
        listing = _read_json(source, revision, "modules.json")
        modules = [(module["type"].rpartition(".")[2], module.get("path", "")) for module in listing]
        if not modules:
            return None
        paths = dict(modules)
        pooling = _read_json(source, revision, f"{paths.get('Pooling')}/config.json")
        modes = [name.removeprefix("pooling_mode_") for name, value in pooling.items() if _is_mode(name, value)]
        _check_supported(source, [name for name, _ in modules], modes)
        prompts = _read_json(source, revision, "config_sentence_transformers.json").get("prompts") or {}
        return EncoderFormat(
            pooling=POOLING[modes[0]],
            prefixes={role: prompts.get(role) or "" for role in ("query", "passage")},
            max_length=_read_json(source, revision, "sentence_bert_config.json").get("max_seq_length"),
            head=_read_head(source, revision, paths["Dense"]) if "Dense" in paths else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{source}: not a readable sentence-transformers folder ({first_line(error)})") from None


def write(folder: Path, form: EncoderFormat, dim: int) -> None:
    """Write the form of an encoder of `dim` dimensions to the folder that holds its backbone and tokenizer."""
    modules = ["Transformer", "Pooling"] + ["Dense"] * form.mlp_head + ["Normalize"]
    paths = ["" if i == 0 else f"{i}_{name}" for i, name in enumerate(modules)]
    listing = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(zip(modules, paths, strict=True))
    ]
    prompts = {"prompts": form.prefixes, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    pooling = {
        "word_embedding_dimension": dim,
        "pooling_mode_cls_token": form.pooling == "cls",
        "pooling_mode_mean_tokens": form.pooling == "mean",
    }
    _write_json(folder / "modules.json", listing)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": form.max_length, "do_lower_case": False})
    _write_json(folder / "config_sentence_transformers.json", prompts)
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    _write_json(folder / paths[-1] / "config.json", {})
    if form.head is not None:
        _write_head(folder / paths[2], form.head, dim)


def _is_mode(name: str, value: Any) -> bool:
    return name.startswith("pooling_mode_") and value is True


def _check_supported(source: str, modules: list[str], modes: list[str]) -> None:
    """Raise ModelError where an encoder cannot do what the modules do."""
    if set(modules) - MODULES or modes not in [[mode] for mode in POOLING]:
        raise ModelError(
            f"{source}: modules {', '.join(modules)}, pooling {', '.join(modes) or 'none'}; "
            "expected Transformer, mean or cls Pooling, Dense, Normalize"
        )


def _read_head(source: str, revision: str | None, path: str) -> DenseHead:
    weights = _file(source, revision, f"{path}/model.safetensors")
    activation = _read_json(source, revision, f"{path}/config.json").get("activation_function") or ""
    return DenseHead(load_file(weights) if weights else {}, activation)


def _write_head(folder: Path, head: DenseHead, dim: int) -> None:
    settings = {"in_features": dim, "out_features": dim, "bias": True, "activation_function": head.activation}
    _write_json(folder / "config.json", settings)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.weights.items()}
    save_file(weights, folder / "model.safetensors")


def _read_json(source: str, revision: str | None, name: str) -> Any:
    """The content of a model's file; {} where it has none of this name."""
    path = _file(source, revision, name)
    return json.loads(path.read_text(encoding="utf-8")) if path else {}


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _file(source: str, revision: str | None, name: str) -> Path | None:
    """A file of a model's folder or hub repository; None where it has none of this name."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    cached = cached_file(source, name, revision=revision, _raise_exceptions_for_gated_repo=False, **quiet)
    return Path(cached) if cached else None
