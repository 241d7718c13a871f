"""Reference-free COMET: a sentence and its translation in, a score out.

Suffixes say the shape of an array: N pairs, U distinct texts, D dimensions of a vector.
"""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from nlift.data import sources
from nlift.data.result_cache import ResultCache
from nlift.data.schema import Batch, Score
from nlift.errors import ModelError, first_line
from nlift.models.batching import in_batches, lowered, padded, side_by_side, token_budget
from nlift.models.precision import half_type
from nlift.settings import ScoreConfig

PERFORMANCE = {"batch_tokens", "shard_size", "num_actors"}  # settings that do not change results


class CometScorer:
    """A reference-free COMET model (`referenceless_regression_metric`); scores `source`, `target`.

    Raises ModelError where the checkpoint is missing, corrupt or needs references.
    """

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.notices: list[str] = []
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.budget = token_budget("score", self.device.type, config.batch_tokens)
        self.model = load_comet(checkpoint_folder(config)).eval().to(self.device)

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the column `score`."""
        return {**batch, "score": self.score(list(batch["source"]), list(batch["target"]))}

    @torch.inference_mode()
    def score(self, source: list[str], target: list[str]) -> np.ndarray:
        """COMET of each pair, float64 [N], in the order given.

        The architecture encodes source and target apart, so each distinct text is encoded once,
        beside texts of its own length, whichever sides and pairs it belongs to.
        """
        position = {text: i for i, text in enumerate(dict.fromkeys([*source, *target]))}
        if not position:
            return np.zeros(0)
        vectors_UD = self._embed(list(position))
        src_ND = vectors_UD[[position[text] for text in source]]
        mt_ND = vectors_UD[[position[text] for text in target]]
        features = torch.cat((mt_ND, src_ND, mt_ND * src_ND, torch.abs(mt_ND - src_ND)), dim=1)
        scores_N = self.model.estimator(features).view(-1).double().cpu().numpy()
        self._check_scores(scores_N)
        return scores_N

    def _check_scores(self, scores_N: np.ndarray) -> None:
        """Raise ModelError where a score is no finite number."""
        bad = int((~np.isfinite(scores_N)).sum())
        if bad:
            cause = "its checkpoint is damaged"
            if self._half is not None:
                cause += f", or its numbers are too large for compute_type {self.config.compute_type}: try float32"
            problem = f"{bad} of {len(scores_N)} pairs have NaN or infinity as score"
            raise ModelError(f"score.model {self.config.model}: {problem}; {cause}")

    def _embed(self, texts: list[str]) -> torch.Tensor:
        """COMET's sentence embeddings, float32 [U, D]."""
        encoder = self.model.encoder
        limit = encoder.max_positions - 2  # as COMET does
        rows = encoder.tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        vectors, budget = in_batches(
            [len(row) for row in rows],
            self.budget,
            lambda positions: list(self._forward([rows[i] for i in positions])),
            mapper=side_by_side if self.device.type == "cpu" else map,
        )
        if budget < self.budget:
            self.notices.append(lowered("score", self.budget, budget))
            self.budget = budget
        return torch.stack(vectors)

    @torch.inference_mode()
    def _forward(self, rows: list[list[int]]) -> torch.Tensor:
        inputs = padded(rows, self.model.encoder.tokenizer.pad_token_id)
        tensors = (inputs[name].to(self.device) for name in ("input_ids", "attention_mask"))
        with torch.autocast(self.device.type, dtype=self._half, enabled=self._half is not None):
            return self.model.get_sentence_embedding(*tensors).float()

    @property
    def _half(self) -> torch.dtype | None:
        """The half precision that texts are encoded in; None in float32."""
        return half_type(self.config.compute_type, self.device)


def checkpoint_folder(config: ScoreConfig) -> Path:
    """Where the checkpoint is (`hparams.yaml`, `checkpoints/model.ckpt`), fetched from the hub if need be."""
    source = sources.model_source(config.model, "comet")
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=config.revision))
    except Exception as error:
        raise ModelError(f"score.model {config.model}: cannot be fetched: {first_line(error)}") from None


def encoder_source(folder: Path) -> str:
    """The folder or hub name of the encoder that gives a checkpoint its tokenizer and shape. Raises ModelError."""
    named = str(_read_hparams(_files(folder)[0])["pretrained_model"])
    inside = folder / named
    return str(inside.resolve()) if inside.is_dir() else named


def check_comet(folder: Path) -> None:
    """Raise ModelError where a folder is no checkpoint of a reference-free COMET; no weights are loaded."""
    for path in _files(folder):
        if not path.is_file():
            expected = "a COMET checkpoint with hparams.yaml and checkpoints/model.ckpt"
            raise ModelError(f"{path}: missing; expected {expected}")
    _read_hparams(_files(folder)[0])


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "hparams.yaml", folder / "checkpoints" / "model.ckpt"


def load_comet(folder: Path) -> Any:
    """The COMET model of a checkpoint folder, read without executing the pickle's code.

    hparams name the encoder that gives tokenizer and shape; a relative path there is relative to
    the checkpoint's folder, so that a checkpoint and its encoder can be moved together.
    Raises ModelError where the checkpoint is missing, corrupt or needs references.
    """
    from comet.models import str2model

    check_comet(folder)
    hparams_file, checkpoint = _files(folder)
    hparams = _read_hparams(hparams_file)
    model_class = str2model[hparams["class_identifier"]]
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        known = inspect.signature(model_class.__init__).parameters
        settings = {name: value for name, value in hparams.items() if name in known}
        settings["pretrained_model"] = encoder_source(folder)
        model = model_class(**{**settings, "load_pretrained_weights": False})
        model.load_state_dict(state, strict=True)
    except Exception as error:
        raise ModelError(f"{checkpoint}: not a readable COMET checkpoint: {first_line(error)}") from None
    return model


def _read_hparams(path: Path) -> dict[str, Any]:
    """What a checkpoint was trained with. Raises ModelError where it is no reference-free model's."""
    try:
        hparams: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        kind = hparams["class_identifier"]
    except (yaml.YAMLError, KeyError, TypeError):
        raise ModelError(f"{path}: not the hparams of a COMET model") from None
    if kind != "referenceless_regression_metric":
        raise ModelError(f"{path}: found a {kind}, expected a reference-free referenceless_regression_metric")
    return hparams


def identity(config: ScoreConfig) -> dict[str, Any]:
    """All that changes a score, and nothing else."""
    settings = config.model_dump(mode="json", exclude=PERFORMANCE)
    settings["model"] = sources.model_fingerprint(config.model, "comet", config.revision)
    return settings


def cache(config: ScoreConfig, folder: str) -> ResultCache:
    """The scores under `folder` that these settings share with other experiments."""
    return ResultCache(f"{folder}/scores", identity(config), Score)
