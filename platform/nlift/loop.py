"""The training loop, run by every Ray Train worker. The only one.

Everything a step does follows from (seed, step, rank): the order of rows, the dropout masks, the
learning rate. A run that is resumed from a checkpoint therefore ends with the weights, bit for bit
on a CPU, that an undisturbed run has.
"""

import time
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from nlift.artifacts import append_jsonl, read_jsonl, read_rows, write_json, write_jsonl
from nlift.blending import weights
from nlift.checkpoints import Training, report, resume
from nlift.encoder import Encoder
from nlift.errors import ModelError, NliftError
from nlift.gradients import Embedder, add_gradients, half_type
from nlift.modes import batch_of_step, group_ids, rows_of_mode, total_steps, usable
from nlift.schema import Triplet
from nlift.sections import TrainConfig
from nlift.watching import DevPart, Patience


def run_steps(settings: dict[str, Any]) -> str | None:
    """What a Ray Train worker runs; the line of a user's mistake is returned, as trying again would not help."""
    try:
        _run(settings)
    except NliftError as error:
        return str(error)
    return None


def _run(settings: dict[str, Any]) -> None:
    import ray.train

    config = TrainConfig.model_validate(settings["train"])
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    rows = rows_of_mode(usable(read_rows(Path(settings["triplets"]), Triplet))[0], config.mode)
    steps = total_steps(len(rows), config)
    training, model, embedder = _prepare(config, settings, rank, ranks)
    log = Log(settings["log"] if rank == 0 else None, training.step)
    if training.step == steps or training.patience.ended:  # cut between the last checkpoint and its use: a sweep may lack it
        report(training, lambda step, values: None)  # logged it is
    while training.step < steps and not training.patience.ended:
        step = training.step
        batch = batch_of_step(rows, step, config.global_batch_size, settings["seed"])
        groups = group_ids(batch, config.mode)
        for group in training.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate(step, steps, config.warmup_share)
        loss = add_gradients(
            model,
            embedder,
            batch[rank::ranks],
            groups[rank::ranks],
            config,
            hard=any(row.negative for row in batch),
            seed=_seeder(settings["seed"], step, rank),
            scale=training.scaler.scale,
        )
        norm = _apply(training, loss.item(), batch, settings)
        training.step, training.loss = step + 1, loss.item()
        log.step(training.step, loss.item(), group["lr"], norm)
        if training.step % config.checkpoint_every_steps == 0 or training.step == steps:
            report(training, log.dev)
    log.close()


def _prepare(config: TrainConfig, settings: dict[str, Any], rank: int, ranks: int) -> tuple[Training, torch.nn.Module, Embedder]:
    """The state of training, at the last checkpoint where there is one, and the model to train."""
    import ray.train
    import ray.train.torch

    torch.manual_seed(settings["seed"])  # a fresh head must be the same on every rank
    encoder = load_encoder(config, settings["max_length"])
    base = weights(encoder) if config.base_share else {}
    checkpoint = ray.train.get_checkpoint()
    device = ray.train.torch.get_device()
    half = half_type(config.compute_type, device)
    embedder = Embedder(encoder, half)
    options = {"broadcast_buffers": False} if ranks > 1 else None  # an encoder's are constants
    model = ray.train.torch.prepare_model(embedder, parallel_strategy_kwargs=options)
    training = Training(
        config=config,
        encoder=encoder,
        base=base,
        optimizer=torch.optim.AdamW(parameter_groups(encoder, config.weight_decay), lr=config.learning_rate),
        scaler=torch.amp.GradScaler(device.type, enabled=half == torch.float16),
        patience=Patience(config.metric, config.patience),
        dev=DevPart(settings["dev"], settings["max_length"], rank, ranks) if settings["dev"] else None,
        rank=rank,
        ranks=ranks,
    )
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            resume(training, Path(folder))
    model.train()
    return training, model, embedder


def load_encoder(config: TrainConfig, max_length: int) -> Encoder:
    """The encoder to train; `max_length` is what it takes when it is used. Raises ModelError."""
    encoder = Encoder.load(
        config.base_model,
        revision=config.revision,
        pooling=config.pooling,
        mlp_head=bool(config.mlp_head),
        prefixes={"query": config.query_prefix, "passage": config.passage_prefix},
    )
    encoder.max_length = min(max_length, encoder.max_length)
    if config.gradient_checkpointing:
        if not encoder.backbone.supports_gradient_checkpointing:
            kind = encoder.backbone.config.model_type
            raise ModelError(f"train.gradient_checkpointing: a {kind} does not support it; set it to false")
        encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    return encoder


def _seeder(seed: int, step: int, rank: int) -> Callable[[int], None]:
    def seeded(piece: int) -> None:
        torch.manual_seed(hash((seed, step, rank, piece)) % 2**63)

    return seeded


def _apply(training: Training, loss: float, batch: list[Triplet], settings: dict[str, Any]) -> float:
    """Clip the gradients and step; their norm. Raises NliftError for a loss that is no number, the batch saved."""
    training.scaler.unscale_(training.optimizer)
    norm = float(torch.nn.utils.clip_grad_norm_(training.encoder.parameters(), training.config.max_grad_norm))
    overflow = training.scaler.is_enabled() and not isfinite(norm)  # float16's, now and then: the scaler leaves the step out
    if not isfinite(loss) or not (isfinite(norm) or overflow):
        learning_rate = training.optimizer.param_groups[0]["lr"]
        path = Path(settings["failures"]) / "failed_batch.json"
        if training.rank == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            ids = [row.pair_id for row in batch]
            write_json(path, {"step": training.step, "learning_rate": learning_rate, "loss": str(loss), "pair_ids": ids})
        what = f"the loss is {loss}" if not isfinite(loss) else f"the gradient's norm is {norm}"
        raise NliftError(
            f"train: {what} at step {training.step}, learning rate {learning_rate:.2e}; lower train.learning_rate "
            f"(the batch's pair_ids are in {path if settings['log'] else 'trials.json'})"
        )
    training.scaler.step(training.optimizer)
    training.scaler.update()
    training.optimizer.zero_grad(set_to_none=True)
    return norm


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


class Log:
    """Rank 0's record of a run: log.jsonl by step, dev.jsonl by measurement, and TensorBoard event files.

    What was logged after the checkpoint that the run goes on from is dropped first. On other ranks,
    where `path` is None, nothing is written.
    """

    def __init__(self, path: str | None, start: int) -> None:
        self.path = Path(path) if path else None
        if self.path:
            from tensorboardX import SummaryWriter

            for one in (self.path, self.path.with_name("dev.jsonl")):
                write_jsonl(one, (row for row in read_jsonl(one) if row["step"] <= start))
            self.board = SummaryWriter(str(self.path.with_name("tensorboard")), purge_step=start + 1 if start else None)

    def step(self, step: int, loss: float, learning_rate: float, norm: float) -> None:
        """A line per step."""
        values = {"loss": round(loss, 6), "learning_rate": learning_rate, "gradient_norm": round(norm, 6)}
        self._write(self.path, "train", step, values)

    def dev(self, step: int, values: dict[str, float]) -> None:
        """A line per measurement of the dev part."""
        if values and self.path:
            self._write(self.path.with_name("dev.jsonl"), "dev", step, values)

    def _write(self, path: Path | None, group: str, step: int, values: dict[str, float]) -> None:
        if path:
            append_jsonl(path, {"step": step, **values, "time": round(time.time(), 3)})
            for name, value in values.items():
                self.board.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Flush what is left."""
        if self.path:
            self.board.close()
