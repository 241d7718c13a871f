"""Stage `score`: reference-free COMET of every distinct sentence and its translation."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from nlift import quality, sources, tables, translate
from nlift.artifacts import Output, Stage, rows_on_disk, write_json
from nlift.batching import in_batches, lowered, padded, side_by_side
from nlift.config import Experiment
from nlift.errors import ModelError
from nlift.memory import Memory, complete
from nlift.schema import Batch, Score, ScoredPair, TranslatedPair, arrow_schema
from nlift.sections import ScoreConfig
from nlift.tables import Tables

PERFORMANCE = {"batch_tokens", "shard_size", "num_actors"}  # settings that do not change results
BATCH_TOKENS = {"cpu": 1024, "cuda": 32_768}  # a CPU's caches hold the smaller one


class CometScorer:
    """A reference-free COMET model (`referenceless_regression_metric`); scores `source`, `target`.

    Raises ModelError where the checkpoint is missing, corrupt or needs references.
    """

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.notices: list[str] = []
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.budget = config.batch_tokens or BATCH_TOKENS[self.device.type]
        self.model = load_comet(checkpoint_folder(config)).eval().to(self.device)

    def __call__(self, batch: Batch) -> Batch:
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
        vectors = self._embed(list(position))
        src, mt = (vectors[[position[text] for text in texts]] for texts in (source, target))
        features = torch.cat((mt, src, mt * src, torch.abs(mt - src)), dim=1)
        return self.model.estimator(features).view(-1).double().cpu().numpy()

    def _embed(self, texts: list[str]) -> torch.Tensor:
        """COMET's sentence embeddings, float32 [N, D]."""
        encoder = self.model.encoder
        rows = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_positions - 2)["input_ids"]  # as COMET does
        vectors, budget = in_batches(
            [len(row) for row in rows],
            self.budget,
            lambda batch: list(self._forward([rows[i] for i in batch])),
            each=side_by_side if self.device.type == "cpu" else map,
        )
        if budget < self.budget:
            self.notices.append(lowered("score", self.budget, budget))
            self.budget = budget
        return torch.stack(vectors)

    @torch.inference_mode()
    def _forward(self, rows: list[list[int]]) -> torch.Tensor:
        inputs = padded(rows, self.model.encoder.tokenizer.pad_token_id)
        tensors = (inputs[name].to(self.device) for name in ("input_ids", "attention_mask"))
        half = self.config.compute_type if self.config.compute_type != "auto" else "float16"
        mixed = self.device.type == "cuda" and half != "float32"
        with torch.autocast(self.device.type, dtype=getattr(torch, half), enabled=mixed):
            return self.model.get_sentence_embedding(*tensors).float()


def checkpoint_folder(config: ScoreConfig) -> Path:
    """Where the checkpoint is (`hparams.yaml`, `checkpoints/model.ckpt`), fetched from the hub if need be."""
    source = sources.model_source(config.model, "comet")
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=config.revision))
    except Exception as error:
        raise ModelError(f"score.model {config.model}: cannot be fetched: {str(error).splitlines()[0]}") from None


def load_comet(folder: Path) -> Any:
    """The COMET model of a checkpoint folder, read without executing the pickle's code.

    hparams name the encoder that gives tokenizer and shape; a relative path there is relative to
    the checkpoint's folder, so that a checkpoint and its encoder can be moved together.
    """
    from comet.models import str2model

    hparams_file, checkpoint = folder / "hparams.yaml", folder / "checkpoints" / "model.ckpt"
    for path in (hparams_file, checkpoint):
        if not path.is_file():
            raise ModelError(f"{path}: missing; expected a COMET checkpoint with hparams.yaml and checkpoints/model.ckpt")
    try:
        hparams = yaml.safe_load(hparams_file.read_text(encoding="utf-8"))
        kind = hparams["class_identifier"]
    except (yaml.YAMLError, KeyError, TypeError):
        raise ModelError(f"{hparams_file}: not the hparams of a COMET model") from None
    if kind != "referenceless_regression_metric":
        raise ModelError(f"{hparams_file}: found a {kind}, expected a reference-free referenceless_regression_metric")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        known = inspect.signature(str2model[kind].__init__).parameters
        settings = {name: value for name, value in hparams.items() if name in known}
        encoder = folder / str(hparams["pretrained_model"])
        if encoder.is_dir():
            settings["pretrained_model"] = str(encoder.resolve())
        model = str2model[kind](**{**settings, "load_pretrained_weights": False})
        model.load_state_dict(state, strict=True)
    except Exception as error:
        raise ModelError(f"{checkpoint}: not a readable COMET checkpoint: {str(error).splitlines()[0]}") from None
    return model


def memory(experiment: Experiment) -> Memory:
    """The score memory that this experiment's settings share with others."""
    assert experiment.score is not None
    return Memory(f"{experiment.memories}/scores", _settings(experiment.score), Score)


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    assert experiment.score is not None
    identity = {
        "config": _settings(experiment.score),
        "triplets": experiment.triplets.model_dump(mode="json", include={"require_negative"}),  # quality.json counts them
        "inputs": [translate.stage(experiment).fingerprint],
    }
    return Stage("score", experiment.folder / "score", identity)


def write(experiment: Experiment, output: Output) -> None:
    """Score what the memory lacks, then join; quality.json says how good the translations are."""
    assert experiment.translate is not None
    with tables.opened(output.path) as database:
        database.add("pairs", rows_on_disk(experiment.folder / "translate", TranslatedPair))
        output.rows_in = database.count("FROM pairs")
        both = "SELECT premise AS source, premise_mt AS target FROM pairs UNION ALL SELECT hypothesis, hypothesis_mt FROM pairs"
        now = scored(experiment, database, "scores", both)
        # one join at a time: each may take all of the memory there is
        premises = "JOIN scores s ON s.source = premise AND s.target = premise_mt"
        database.make("halves", f"SELECT p.*, s.score AS premise_comet FROM pairs p {premises}")
        hypotheses = "JOIN scores s ON s.source = hypothesis AND s.target = hypothesis_mt"
        database.make("joined", f"SELECT p.*, s.score AS hypothesis_comet FROM halves p {hypotheses}")
        joined = "FROM joined ORDER BY pair_id"
        output.rows_out = database.write(joined, output.path / "rows.parquet", arrow_schema(ScoredPair))
        database.add("scored", rows_on_disk(output.path, ScoredPair))
        found = quality.summarise(database, experiment.triplets)
    write_json(output.path / "quality.json", {"engine": experiment.translate.engine, **found})
    output.notes = {"distinct_sentences": found["sentences"], "scored_now": now, "comet": found["comet"]}


def scored(experiment: Experiment, database: Tables, table: str, sentences: str) -> int:
    """Make a table of a query's sentences (source, target) with their score; how many the memory lacked."""
    config = experiment.score
    assert config is not None
    return complete(database, table, sentences, memory(experiment), CometScorer, config, "score")


def _settings(config: ScoreConfig) -> dict[str, Any]:
    """All that changes a score, and nothing else."""
    settings = config.model_dump(mode="json", exclude=PERFORMANCE)
    settings["model"] = sources.model_fingerprint(config.model, "comet", config.revision)
    return settings
