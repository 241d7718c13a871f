"""An encoder's form on disk, beside its backbone and tokenizer: that of a sentence-transformers model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils import cached_file

from nlift.errors import ModelError, first_line
from nlift.models import foreign_settings

BROKEN = (SafetensorError, UnpicklingError, EOFError, RuntimeError)  # what reading broken weights raises
UNREADABLE = (*BROKEN, OSError, ValueError, KeyError, TypeError, AttributeError)
TANH = "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"
TRANSFORMER_SETTINGS = [  # the first that is there counts; later versions write the first name
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]


@dataclass(frozen=True, eq=False)
class DenseHead:
    """A Dense module: `linear.weight` [D, D] and `linear.bias` [D], the class of its activation, and its settings.

    Straight after the pooling it is the backbone's pooler, with tanh; between two Normalize modules a whitening.
    """

    weights: dict[str, Tensor]
    activation: str = TANH
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, layer: torch.nn.Linear, activation: str = TANH) -> "DenseHead":
        """The module that a layer is saved as."""
        return cls({"linear.weight": layer.weight, "linear.bias": layer.bias}, activation)


@dataclass(frozen=True, eq=False)
class EncoderFormat:
    """What a saved encoder is, its backbone and tokenizer apart; a plain Hugging Face model is the default."""

    pooling: str = "mean"
    prefixes: dict[str, str] = field(default_factory=dict)
    max_length: int | None = None
    head: DenseHead | None = None
    default_prefix: str = ""
    pools_prefix: bool = True
    lower_case: bool = False
    whitening: DenseHead | None = None
    backbone: str = ""
    """The folder of backbone and tokenizer, below the model's own; "" for that one."""

    @property
    def mlp_head(self) -> bool:
        """Whether a Dense module follows the pooling."""
        return self.head is not None


def read(source: str, revision: str | None) -> EncoderFormat | None:
    """The form of the model of a folder or a hub name; None where it is not in sentence-transformers form.

    Raises ModelError where its files are damaged, or say what an encoder cannot do.
    """
    try:
        listing = _read_json(source, revision, "modules.json")
        if listing == {}:
            return None
        if not isinstance(listing, list) or not listing:
            raise ModelError(f"{source}/modules.json: no modules; {foreign_settings.EXPECTED}")
        return _read_modules(source, revision, foreign_settings.module_paths(source, listing))
    except UNREADABLE as error:
        raise ModelError(f"{source}: not a readable sentence-transformers folder ({first_line(error)})") from None


def _read_modules(source: str, revision: str | None, paths: dict[str, str]) -> EncoderFormat:
    def settings(path: str, name: str = "config.json") -> tuple[str, dict[str, Any]]:
        name = f"{path}/{name}" if path else name
        return f"{source}/{name}", _read_json(source, revision, name)

    pooling, pools_prefix = foreign_settings.pooling_of(*settings(paths["Pooling"]))
    model = settings("", "config_sentence_transformers.json")
    foreign_settings.check_model_settings(*model, normalised="Normalize" in paths)
    prefixes, default_prefix = foreign_settings.prompts_of(*model)
    named = [settings(paths["Transformer"], name) for name in TRANSFORMER_SETTINGS]
    transformer = next((file for file in named if file[1]), named[0])
    max_length, lower_case = foreign_settings.transformer_settings(*transformer)
    for name in ("Normalize", "Normalize again"):
        if paths.get(name):
            foreign_settings.check_normalize(*settings(paths[name]))
    return EncoderFormat(
        pooling=pooling,
        prefixes=prefixes,
        max_length=max_length,
        head=_read_dense(source, revision, paths["Dense"]) if "Dense" in paths else None,
        whitening=_read_dense(source, revision, paths["Whitening"]) if "Whitening" in paths else None,
        default_prefix=default_prefix,
        pools_prefix=pools_prefix,
        lower_case=lower_case,
        backbone=paths["Transformer"],
    )


def write(folder: Path, form: EncoderFormat, dim: int) -> None:
    """Write the form of an encoder of `dim` dimensions to the folder that holds its backbone and tokenizer."""
    modules = ["Transformer", "Pooling"] + ["Dense"] * form.mlp_head + ["Normalize"]
    modules += ["Dense", "Normalize"] * (form.whitening is not None)
    paths = ["" if i == 0 else f"{i}_{name}" for i, name in enumerate(modules)]
    listing = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(zip(modules, paths, strict=True))
    ]
    pooling = {
        "word_embedding_dimension": dim,
        "pooling_mode_cls_token": form.pooling == "cls",
        "pooling_mode_mean_tokens": form.pooling == "mean",
        "include_prompt": form.pools_prefix,
    }
    transformer = {"max_seq_length": form.max_length, "do_lower_case": form.lower_case}
    _write_json(folder / "modules.json", listing)
    _write_json(folder / "sentence_bert_config.json", transformer)
    _write_json(folder / "config_sentence_transformers.json", _prompts(form))
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    for name, path in zip(modules, paths, strict=True):
        if name == "Normalize":
            _write_json(folder / path / "config.json", {})
    if form.head is not None:
        _write_dense(folder / paths[2], form.head, dim)
    if form.whitening is not None:
        _write_dense(folder / paths[-2], form.whitening, dim)


def _prompts(form: EncoderFormat) -> dict[str, Any]:
    """The prompts as sentence-transformers has them: encode_document takes `document`, people name `passage` too."""
    prompts = {**form.prefixes, "document": form.prefixes.get("passage", "")}
    default = None
    if form.default_prefix:
        same = [name for name, text in prompts.items() if text == form.default_prefix]
        default = same[0] if same else "default"
        prompts[default] = form.default_prefix
    return {"prompts": prompts, "default_prompt_name": default, "similarity_fn_name": "cosine"}


def _read_dense(source: str, revision: str | None, path: str) -> DenseHead:
    settings = _read_json(source, revision, f"{path}/config.json")
    activation = settings.get("activation_function") or ""
    if weights := _file(source, revision, f"{path}/model.safetensors"):
        return DenseHead(load_file(weights), activation, settings)
    pickled = _file(source, revision, f"{path}/pytorch_model.bin")
    weights_of = torch.load(pickled, map_location="cpu", weights_only=True) if pickled else {}
    return DenseHead(weights_of, activation, settings)


def _write_dense(folder: Path, head: DenseHead, dim: int) -> None:
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
