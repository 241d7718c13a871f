"""Settings of sentence-transformers' folders, old and new: what an encoder does too is read, the rest refused by name.

A setting that is passed over would give other vectors than the model's own, and nobody would know.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from nlift.errors import ModelError

Settings = Mapping[str, Any]
PACKAGE = "sentence_transformers."
EXPECTED = "expected Transformer, mean or cls Pooling, Dense, Normalize, in this order"
HEAD: tuple[list[str], ...] = (["Dense"], [])  # the backbone's pooler
ENDS: tuple[list[str], ...] = (
    [],
    ["Normalize"],
    ["Normalize", "Dense", "Normalize"],
)  # the last with a whitening between
POOLING = ("mean", "cls")
# before version 5.4 each mode of pooling is a key of its own
MODE_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# What settings may say beside nothing (null, false, an empty list): what an encoder does anyway, or rounding alone.
POOLING_MAY = {"embedding_dimension": None, "word_embedding_dimension": None}
TRANSFORMER_MAY = {
    "transformer_task": ["feature-extraction"],
    "module_output_name": ["token_embeddings"],
    "modality_config": None,  # see transformer_settings
    "unpad_inputs": None,  # saves time, changes nothing
}
TEXT_MODALITY = {"method": "forward", "method_output_name": "last_hidden_state"}
ARGUMENTS = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
ARGUMENTS_MAY = {"attn_implementation": None, "dtype": ["float32"], "torch_dtype": ["float32"]}
DENSE_MAY = {
    "in_features": None,
    "out_features": None,
    "bias": None,  # without one the weights are not the pooler's
    "activation_function": ["torch.nn.modules.activation.Tanh", "torch.nn.Tanh"],
    "module_input_name": ["sentence_embedding"],
    "module_output_name": ["sentence_embedding"],
}
IDENTITY = ["torch.nn.modules.linear.Identity", "torch.nn.Identity"]
NORMALIZE_MAY = {name: ["sentence_embedding"] for name in ("module_input_name", "module_output_name")}
MODEL_MAY = {
    "__version__": None,
    "model_type": ["SentenceTransformer"],
    "prompts": None,
    "default_prompt_name": None,
    "similarity_fn_name": None,  # see check_model_settings
}


def module_paths(where: str, listing: Sequence[Settings]) -> dict[str, str]:
    """Where each module's files are, by its name, in order. Raises ModelError where they do not make an encoder.

    A Dense module between two Normalize modules is named `Whitening`, and what follows it `Normalize again`.
    """
    types = [module["type"] for module in listing]
    names = [name.rpartition(".")[2] for name in types]
    plain = [["Transformer", "Pooling", *head, *end] for head in HEAD for end in ENDS]
    foreign = [name for name in types if not name.startswith(PACKAGE)]
    if foreign:
        own = f"modules {', '.join(names)}: {foreign[0]} is the model's own code, which is not run"
        raise ModelError(f"{where}: {own}; {EXPECTED}")
    if names not in plain:
        raise ModelError(f"{where}: modules {', '.join(names)}; {EXPECTED}")
    if names[-3:] == ENDS[-1]:
        names[-2:] = ["Whitening", "Normalize again"]
    paths = {name: module.get("path") or "" for name, module in zip(names, listing, strict=True)}
    for path in paths.values():
        parts = PurePosixPath(path).parts
        if path.startswith("/") or any(part.startswith(".") for part in parts):
            raise ModelError(f"{where}: a module at {path!r}; expected a folder below the model's, not hidden")
    return paths


def pooling_of(where: str, config: Settings) -> tuple[str, bool]:
    """The pooling, and whether the tokens of a prompt count in a mean."""
    modes = _pooling_modes(where, config)
    if len(modes) != 1 or modes[0] not in POOLING:
        raise ModelError(f"{where}: pooling {', '.join(modes) or 'none'}; {EXPECTED}")
    known = {*MODE_KEYS, "pooling_mode", "include_prompt"}
    _refuse_others(where, {key: value for key, value in config.items() if key not in known}, POOLING_MAY)
    return modes[0], bool(config.get("include_prompt", True))


def _pooling_modes(where: str, config: Settings) -> list[str]:
    mode = config.get("pooling_mode")
    if mode is not None:
        return [str(name).lower() for name in ([mode] if isinstance(mode, str) else mode)]
    modes = [name for key, name in MODE_KEYS.items() if config.get(key)]
    if "pooling_mode_mean_tokens" in config:
        return modes
    if modes == ["cls"]:  # versions before 5.4 take the mean beside it, later ones do not
        raise ModelError(f"{where}: pooling_mode_cls_token without pooling_mode_mean_tokens; expected both keys")
    return ["mean", *modes] if config else modes


def prompts_of(where: str, config: Settings) -> tuple[dict[str, str], str]:
    """What stands before a text, by role, and what where there is no role; as encode_query, _document and encode do."""
    prompts = {str(name): text or "" for name, text in (config.get("prompts") or {}).items()}
    wrong = [name for name, text in prompts.items() if not isinstance(text, str)]
    if wrong:
        raise ModelError(f"{where}: the prompt {wrong[0]!r} is {prompts[wrong[0]]!r}; expected a text")
    passage = next((name for name in ("document", "passage", "corpus") if name in prompts), "document")
    roles = {"query": prompts.get("query", ""), "passage": prompts.get(passage, "")}
    name = config.get("default_prompt_name")
    known = {"query": "", "document": "", **prompts}
    if name and name not in known:
        raise ModelError(f"{where}: default_prompt_name {name!r}; expected one of its prompts, {', '.join(known)}")
    return roles, known[name] if name else ""


def check_model_settings(where: str, config: Settings, normalised: bool) -> None:
    """Refuse what an encoder cannot do alike, as vectors cut short or ranked by another measure than the cosine."""
    _refuse_others(where, config, MODEL_MAY)
    similarity = config.get("similarity_fn_name") or "cosine"
    if similarity != "cosine" and not (normalised and similarity in ("dot", "euclidean")):  # these rank as the cosine
        raise ModelError(
            f"{where}: similarity_fn_name {similarity!r} of vectors of any length; expected cosine: "
            "vectors are of length 1 here (take the key out to have it so)"
        )


def transformer_settings(where: str, config: Settings) -> tuple[int | None, bool]:
    """How many tokens of a text are read (None: as many as the tokenizer says), and whether it is lower-cased."""
    rest = {key: value for key, value in config.items() if key not in ("max_seq_length", "do_lower_case", *ARGUMENTS)}
    _refuse_others(where, rest, TRANSFORMER_MAY)
    for key in ARGUMENTS:
        for name, value in (config.get(key) or {}).items():
            _refuse_others(where, {f"{key}.{name}": value}, {f"{key}.{may}": of for may, of in ARGUMENTS_MAY.items()})
    modality = (config.get("modality_config") or {"text": TEXT_MODALITY}).get("text")  # a text is none of the others
    _refuse_others(where, {"modality_config of text": modality or "none"}, {"modality_config of text": [TEXT_MODALITY]})
    length = config.get("max_seq_length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise ModelError(f"{where}: max_seq_length {length!r}; expected a number of tokens, or null")
    return length, bool(config.get("do_lower_case"))


def check_dense(where: str, config: Settings) -> None:
    """Refuse a Dense module that is more than a linear layer and tanh over the pooled vector."""
    activation = config.get("activation_function") or "none"
    _refuse_others(where, {**config, "activation_function": activation}, DENSE_MAY)


def check_whitening(where: str, config: Settings) -> None:
    """Refuse a Dense module between two Normalize modules that is more than a linear layer."""
    activation = config.get("activation_function") or "none"
    _refuse_others(where, {**config, "activation_function": activation}, {**DENSE_MAY, "activation_function": IDENTITY})


def check_normalize(where: str, config: Settings) -> None:
    """Refuse a Normalize module over anything but the vector of the text."""
    _refuse_others(where, config, NORMALIZE_MAY)


def _refuse_others(where: str, settings: Settings, may: Mapping[str, Sequence[Any] | None]) -> None:
    """Raise ModelError naming a setting that says anything but what it may; None: anything; nothing always may be."""
    for name, value in settings.items():
        allowed = may.get(name, [])
        if allowed is not None and value not in allowed and value:
            expected = f"expected {' or '.join(map(repr, allowed))}" if allowed else "it cannot be honoured"
            raise ModelError(f"{where}: {name} {value!r} is not supported; {expected}")
