"""Stage `train`: supervised SimCSE under Ray Train. The only training loop.

Everything a step does follows from (seed, step, rank): the order of triplets, the dropout masks,
the learning rate. A run that is resumed from a checkpoint of weights and optimizer therefore ends
with the weights that an undisturbed run has.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlift import blending, cluster, progress, sources, stages
from nlift.artifacts import Output, Stage, read_rows
from nlift.blending import Weights
from nlift.config import EvaluationSet, Experiment, TrainConfig
from nlift.encoder import Encoder
from nlift.errors import DataError, NliftError, ResourceError
from nlift.judging import judge, judge_vectors
from nlift.loss import supervised_simcse_loss
from nlift.schema import Triplet
from nlift.sets import RetrievalSet, StsSet, load_set

PERFORMANCE = {"use_gpu", "max_failures"}  # settings that do not change results
BATCH_TOKENS = 2048  # padded tokens in one forward pass inside a step


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    return Stage("train", experiment.folder / "train", identity(experiment))


def identity(experiment: Experiment) -> dict[str, Any]:
    """What a trained encoder depends on."""
    config = experiment.train
    watched = [sources.fingerprint(sources.data_path(one.path)) for one in experiment.evaluate.sets if one.name == config.dev]
    return {
        "config": config.model_dump(mode="json", exclude=PERFORMANCE),
        "model": sources.model_fingerprint(config.base_model, "encoder", config.revision),
        "seed": experiment.seed,
        "max_length": inference_length(experiment),
        "inputs": [data(experiment).fingerprint, *watched],
    }


def data(experiment: Experiment) -> Stage:
    """The stage whose rows training reads."""
    *_, last = stages.before_training(experiment).values()
    written: Stage = last.stage(experiment)
    return written


def inference_length(experiment: Experiment) -> int:
    """Tokens that the saved encoder takes by default: what the index embeds."""
    return experiment.index.max_length if experiment.index is not None else 256


def write(experiment: Experiment, output: Output) -> None:
    """Train and save `encoder/`, its loss curve in log.jsonl."""
    rows = read_rows(data(experiment).folder, Triplet)
    output.rows_in = output.rows_out = len(rows)
    log = output.path / "log.jsonl"
    steps = total_steps(len(rows), experiment.train)
    with progress.following(log, "train", steps, "steps"):
        result = trainer(experiment, storage=output.path / "ray", log=log).fit()
    shutil.rmtree(output.path / "encoder", ignore_errors=True)  # of a run that was cut right here
    (Path(result.checkpoint.path) / "encoder").rename(output.path / "encoder")
    shutil.rmtree(output.path / "ray")
    output.notes = {"steps": steps, "metrics": {k: v for k, v in (result.metrics or {}).items() if k != "step"}}


def trainer(experiment: Experiment, *, storage: Path, log: Path | None, callbacks: list[Any] | None = None) -> Any:
    """The TorchTrainer of an experiment; with the same storage it goes on from its last checkpoint.

    Raises DataError for fewer triplets than a batch, ResourceError for more workers than fit.
    """
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    config = experiment.train
    total_steps(len(read_rows(data(experiment).folder, Triplet)), config)
    available = ray.cluster_resources()
    gpu = config.use_gpu if config.use_gpu is not None else available.get("GPU", 0) >= config.num_workers
    kind = "GPU" if gpu else "CPU"
    if available.get(kind, 0) < config.num_workers and experiment.cluster.address == "local" and not cluster.in_job():
        raise ResourceError(
            f"train.num_workers {config.num_workers}: the cluster has {available.get(kind, 0):.0f} {kind}s, one per worker needed"
        )
    share = {"GPU": 1.0} if gpu else {"CPU": 1.0 if callbacks is None else 0.9}
    dev = next((one for one in experiment.evaluate.sets if one.name == config.dev), None)
    return TorchTrainer(
        run_steps,
        train_loop_config={
            "train": config.model_dump(mode="json"),
            "seed": experiment.seed,
            "triplets": str(data(experiment).folder),
            "dev": dev.model_dump(mode="json") if dev else None,
            "max_length": inference_length(experiment),
            "log": str(log) if log else None,
        },
        scaling_config=ray.train.ScalingConfig(num_workers=config.num_workers, use_gpu=gpu, resources_per_worker=share),
        run_config=ray.train.RunConfig(
            name="simcse",
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            callbacks=callbacks,
        ),
    )


def total_steps(count: int, config: TrainConfig) -> int:
    """Optimizer steps of a run over `count` triplets. Raises DataError for less than one batch."""
    if count < config.global_batch_size:
        raise DataError(
            f"train: {count} triplets are fewer than train.global_batch_size {config.global_batch_size}; "
            "read more pairs or lower it"
        )
    return max(1, int(config.epochs * (count // config.global_batch_size)))


def run_steps(settings: dict[str, Any]) -> None:
    """The loop that every Ray Train worker runs."""
    import ray.train
    import ray.train.torch

    config = TrainConfig.model_validate(settings["train"])
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    rows = sorted(read_rows(Path(settings["triplets"]), Triplet), key=lambda row: row.pair_id)
    steps = total_steps(len(rows), config)

    checkpoint = ray.train.get_checkpoint()
    torch.manual_seed(settings["seed"])  # a fresh head must be the same on every rank
    encoder, base = _load(config, checkpoint, settings["max_length"])
    model = ray.train.torch.prepare_model(TripletEmbedder(encoder))
    optimizer = torch.optim.AdamW(parameter_groups(encoder, config.weight_decay), lr=config.learning_rate)
    start = 0
    if checkpoint is not None:
        state = torch.load(Path(checkpoint.path) / "state.pt", map_location=encoder.device, weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]

    if start == steps:  # cut between the last checkpoint and its use
        _report(encoder, base, optimizer, steps, float("nan"), settings, rank, ranks)
    model.train()
    for step in range(start, steps):
        torch.manual_seed(hash((settings["seed"], step, rank)) % 2**63)
        batch = batch_of_step(rows, step, config.global_batch_size, settings["seed"])
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate(step, steps, config.warmup_share)
        loss = batch_loss(model, encoder, batch[rank::ranks], config, group_ids(batch)[rank::ranks])
        if not torch.isfinite(loss):
            raise NliftError(f"train: loss is {loss.item()} at step {step}, learning rate {group['lr']:.2e}; lower it")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if rank == 0 and settings["log"]:
            _log(settings["log"], step + 1, loss.item(), group["lr"])
        if (step + 1) % config.checkpoint_every_steps == 0 or step + 1 == steps:
            _report(encoder, base, optimizer, step + 1, loss.item(), settings, rank, ranks)


class TripletEmbedder(torch.nn.Module):
    """All texts of a step in one call, so that DistributedDataParallel sees one forward pass."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batches: list[tuple[list[int], dict[str, Tensor]]]) -> Tensor:
        """Vectors [N, D] in the order of the texts that the batches were made from."""
        order = [position for positions, _ in batches for position in positions]
        vectors = torch.cat([self.encoder(inputs) for _, inputs in batches])
        return vectors[torch.tensor(np.argsort(order), device=vectors.device)]


def batch_loss(model: torch.nn.Module, encoder: Encoder, batch: list[Triplet], config: TrainConfig, groups: list[int]) -> Tensor:
    """The loss of this rank's rows of a global batch, whose groups are `groups`."""
    passages = [row.positive for row in batch] + [row.negative or "" for row in batch]
    prefix = encoder.prefixes
    texts = [prefix["query"] + row.anchor for row in batch] + [prefix["passage"] + text for text in passages]
    batches = list(encoder.batches(texts, max_length=config.max_length, batch_tokens=BATCH_TOKENS))
    anchor, positive, negative = model(batches).chunk(3)
    return supervised_simcse_loss(
        anchor,
        positive,
        negative,
        temperature=config.temperature,
        hard_negative_weight=config.hard_negative_weight,
        negative_mask_B=torch.tensor([row.negative is not None for row in batch], device=anchor.device),
        group_ids_B=torch.tensor(groups, device=anchor.device),
    )


def group_ids(rows: list[Triplet]) -> list[int]:
    """Equal numbers for rows that share an anchor or a positive, at once or by way of other rows.

    SNLI repeats premises, and translation makes sentences equal: such rows are no negatives of
    each other.
    """
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        for text in (("anchor", row.anchor), ("positive", row.positive)):
            parent[root(i)] = root(first.setdefault(text, i))
    return [root(i) for i in range(len(rows))]


def batch_of_step(rows: list[Triplet], step: int, size: int, seed: int) -> list[Triplet]:
    """The global batch of a step: each epoch is a fresh seeded shuffle, its incomplete end left out."""
    per_epoch = len(rows) // size
    epoch, position = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(len(rows))
    return [rows[i] for i in order[position * size : (position + 1) * size]]


def rate(step: int, steps: int, warmup_share: float) -> float:
    """Linear warm-up, then linear decay; 0 to 1."""
    warmup = max(1, round(warmup_share * steps))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup + 1), 1.0)


def parameter_groups(encoder: Encoder, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices, none on biases and norms."""
    trained = [one for one in encoder.parameters() if one.requires_grad]
    return [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
    ]


def _load(config: TrainConfig, checkpoint: Any, max_length: int) -> tuple[Encoder, Weights]:
    """The encoder to train, at the checkpoint's weights where there is one, and the base model's weights."""
    encoder = Encoder.load(
        config.base_model,
        revision=config.revision,
        pooling=config.pooling,
        mlp_head=config.mlp_head,
        prefixes={"query": config.query_prefix, "passage": config.passage_prefix},
    )
    encoder.max_length = min(max_length, encoder.max_length)
    base = blending.weights(encoder) if config.base_share else {}
    if checkpoint is not None:
        encoder.load_state_dict(torch.load(Path(checkpoint.path) / "weights.pt", map_location=encoder.device, weights_only=True))
    return encoder, base


def _report(
    encoder: Encoder,
    base: Weights,
    optimizer: torch.optim.Optimizer,
    step: int,
    loss: float,
    settings: dict[str, Any],
    rank: int,
    ranks: int,
) -> None:
    """Measure the dev part, save a checkpoint, report both; every rank reports equally often.

    What is measured and saved as `encoder` is blended with the base; `weights.pt`, which training
    goes on from, is not.
    """
    import ray.train

    with tempfile.TemporaryDirectory() as folder:
        with blending.blended(encoder, base, settings["train"]["base_share"]):
            values = {"step": step, "loss": loss, **_measure_dev(encoder, settings, rank, ranks)}
            if rank == 0:
                encoder.save(Path(folder) / "encoder")
        checkpoint = None
        if rank == 0:
            torch.save(encoder.state_dict(), Path(folder) / "weights.pt")
            torch.save({"optimizer": optimizer.state_dict(), "step": step}, Path(folder) / "state.pt")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(values, checkpoint=checkpoint)


def _measure_dev(encoder: Encoder, settings: dict[str, Any], rank: int, ranks: int) -> dict[str, float]:
    """Metrics on the dev part of the watched set; each rank embeds its share of the texts."""
    if settings["dev"] is None:
        return {}
    loaded = load_set(EvaluationSet.model_validate(settings["dev"]))
    assert isinstance(loaded, RetrievalSet | StsSet)
    watched = loaded.part(dev=True)
    if not isinstance(watched, RetrievalSet):
        return judge("dev", encoder, watched, settings["max_length"]).groups["sts"]
    texts = [document.content for document in watched.documents]
    mine = encoder.encode(texts[rank::ranks], role="passage", max_length=settings["max_length"])
    documents = np.zeros((len(texts), encoder.dim), dtype=np.float32)
    for other, part in enumerate(_all_gather(mine, ranks)):
        documents[other::ranks] = part
    queries = encoder.encode(list(watched.queries.values()), role="query", max_length=settings["max_length"])
    return judge_vectors("dev", watched, queries, documents).groups["retrieval"]


def _all_gather(mine: np.ndarray, ranks: int) -> list[np.ndarray]:
    if ranks == 1:
        return [mine]
    parts: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(parts, mine)
    return parts


def _log(path: str, step: int, loss: float, learning_rate: float) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        row = {"step": step, "loss": round(loss, 6), "learning_rate": learning_rate, "time": round(time.time(), 3)}
        stream.write(json.dumps(row) + "\n")
