"""An encoder's transformer and its tokenizer: loading, and what of them can be seen to be wrong beforehand."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from nlift.data import sources
from nlift.errors import ModelError, first_line
from nlift.models.auto_classes import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
)
from nlift.models.encoder_format import TANH, DenseHead
from nlift.models.foreign_settings import check_dense, check_whitening
from nlift.models.whitening import layer

WITH_POOLER = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet")  # take add_pooling_layer
BOTH_DIRECTIONS = ("xlnet", "bert-generation")  # among the causal kinds of transformers, and encoders all the same
TYPES_ARE_WORDS = ("xlm", "flaubert")  # type 0 has an embedding there, that of the first word
ADAPTER = "adapter_config.json"


def load_backbone(
    path: str | Path, source: str, revision: str | None, mlp_head: bool, subfolder: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Backbone and tokenizer. Raises ModelError where they are not an encoder's, whole; runs no code of theirs."""
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    if Path(source).is_dir():
        source = str(Path(source) / subfolder)
        sources.refuse_own_code(Path(source))
        if (Path(source) / ADAPTER).is_file():
            raise ModelError(f"{path}: {ADAPTER}: an adapter is not supported; merge it into the model and save that")
    elif subfolder:
        where["subfolder"] = subfolder
    try:
        config = AutoConfig.from_pretrained(source, **where)
        if _generates(config):
            raise ModelError(f"{path}: a {config.model_type} generates text; expected an encoder as BERT or XLM-R")
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        pooler = {"add_pooling_layer": mlp_head} if config.model_type in WITH_POOLER else {}
        backbone, loading = AutoModel.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, **where, **pooler
        )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path}: cannot be loaded as an encoder: {first_line(error)}") from None
    missing = [name for name in loading["missing_keys"] if "pooler" not in name]
    if missing:
        raise ModelError(f"{path}: {len(missing)} weights are missing from the checkpoint, as {missing[0]}")
    _check_vocabulary(path, backbone, tokenizer)
    return backbone.eval(), tokenizer


def _check_vocabulary(path: str | Path, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ModelError where the tokenizer has a token for which there is no embedding."""
    table = word_embeddings(backbone)
    if table is None:
        return
    rows = len(table.get_parameter("weight"))
    token, number = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if number >= rows:
        raise ModelError(
            f"{path}: the tokenizer's {token!r} is token {number}, the model has embeddings for {rows} only"
        )


def word_embeddings(backbone: PreTrainedModel) -> torch.nn.Module | None:
    """The table of word embeddings, or what stands for it; None for a kind without one, as CANINE."""
    try:
        table = backbone.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        return None
    return table if isinstance(getattr(table, "weight", None), torch.Tensor) else None


def check_head(path: str | Path, backbone: PreTrainedModel, saved: DenseHead | None) -> None:
    """Raise ModelError where there is no pooler, or a saved head that is not the tanh head which the pooler holds."""
    if getattr(backbone, "pooler", None) is None:
        raise ModelError(f"{path}: a {backbone.config.model_type} has no pooler; mlp_head needs one")
    if saved is None:
        return
    check_dense(f"{path}: Dense", {"activation_function": TANH, **saved.settings})
    dense = backbone.pooler.dense
    pooler = {"linear.weight": dense.weight, "linear.bias": dense.bias}
    same = saved.weights.keys() == pooler.keys() and all(
        tensor.shape == saved.weights[name].shape
        and torch.allclose(tensor, saved.weights[name].float(), rtol=0, atol=0, equal_nan=True)
        for name, tensor in pooler.items()
    )
    if not same:
        raise ModelError(
            f"{path}: its Dense module is not the backbone's pooler with tanh; such a head is not supported"
        )


def whitening_of(path: str | Path, backbone: PreTrainedModel, saved: DenseHead) -> torch.nn.Linear:
    """The layer of a saved whitening. Raises ModelError where it is another kind of layer, or of another size."""
    check_whitening(f"{path}: Dense", saved.settings)
    dim = int(backbone.config.hidden_size)
    weight, bias = saved.weights.get("linear.weight"), saved.weights.get("linear.bias")
    if weight is None or weight.shape != (dim, dim) or (bias is not None and bias.shape != (dim,)):
        shape = "none" if weight is None else " x ".join(map(str, weight.shape))
        raise ModelError(f"{path}: a Dense of {shape} after Normalize; expected a whitening of {dim} x {dim}")
    return layer(weight.float(), torch.zeros(dim) if bias is None else bias.float())


def positions(backbone: PreTrainedModel) -> int | None:
    """Tokens that the backbone has positions for; None where it has no such limit, as XLNet.

    Kinds like RoBERTa number positions from behind that of padding, which their table of positions knows.
    """
    most = getattr(backbone.config, "max_position_embeddings", None) or -1
    if most < 0:
        return None
    tables = [module for name, module in backbone.named_modules() if name.rpartition(".")[2] == "position_embeddings"]
    behind = [table.padding_idx + 1 for table in tables if getattr(table, "padding_idx", None) is not None]
    return int(most) - max(behind, default=0)


def token_types(backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[int, int] | None:
    """Types other than 0 by token, as XLNet and Funnel have for one around a text; None where types change nothing."""
    around = tokenizer("")
    types = around.get("token_type_ids") or []
    other = {token: kind for token, kind in zip(around["input_ids"], types, strict=False) if kind}
    given = "token_type_ids" in tokenizer.model_input_names and backbone.config.model_type in TYPES_ARE_WORDS
    return other if other or given else None


def check_vectors(backbone: PreTrainedModel, vectors_ND: np.ndarray, half: str | None) -> None:
    """Raise ModelError where unit vectors, computed in `half` precision if it is named, are not of length 1."""
    bad = int((~(np.abs(np.linalg.norm(vectors_ND, axis=1) - 1) < 0.1)).sum())
    if not bad:
        return
    weight = broken_weight(backbone)
    cause = f"{weight} is not finite, the checkpoint is damaged" if weight else "the checkpoint is damaged"
    if half and not weight:
        cause = f"its numbers may be too large for compute_type {half}, float32 has room for them"
    total = len(vectors_ND)
    raise ModelError(f"{backbone.name_or_path}: {bad} of {total} texts have NaN, infinity or zeros as vector; {cause}")


def broken_weight(model: torch.nn.Module) -> str | None:
    """The first of a model's weights that holds NaN or infinity; None where none does."""
    return next((name for name, value in model.named_parameters() if not torch.isfinite(value).all()), None)


def _generates(config: Any) -> bool:
    """Whether a model writes text from left to right, and so is no encoder."""
    kind = config.model_type
    decoder = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    decoder = decoder and kind not in BOTH_DIRECTIONS
    return decoder or any(getattr(config, name, False) for name in ("is_encoder_decoder", "is_decoder"))
