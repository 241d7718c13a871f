"""The state of a training run: measured, saved through Ray Train, and taken up again."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from nlift.errors import ResourceError
from nlift.models.encoder import Encoder
from nlift.models.weight_averaging import Weights, blended
from nlift.settings import TrainConfig, direction
from nlift.training.early_stopping import EarlyStopping
from nlift.training.seen_tokens import whole_table
from nlift.training.validation import Validator, from_rank_zero


@dataclass
class Training:
    """All that a run changes, and what it is measured by."""

    config: TrainConfig
    encoder: Encoder
    base: Weights
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    early_stopping: EarlyStopping
    validator: Validator | None
    rank: int
    ranks: int
    device_rows: int = 0
    """Rows of a worker in memory at a time; for the record."""
    step: int = 0
    loss: float = float("nan")


def report(training: Training, log_dev: Callable[[int, dict[str, float]], None] | None) -> None:
    """Measure the dev part, save a checkpoint, report both to Ray; every rank reports equally often.

    What is measured and saved as `encoder` is what the run will give: blended with the base, a head for training alone
    left out. Where `log_dev` is None nothing is measured: such a checkpoint is one to go on from, and never the best.
    Raises ResourceError, on every rank, where the checkpoint cannot be written; the last one stays.
    """
    import ray.train

    with tempfile.TemporaryDirectory() as name:
        folder, checkpoint, measured = Path(name), None, {}
        with _as_given(training):
            if log_dev is not None:
                measured = training.validator.measure(training.encoder) if training.validator else {}
                training.early_stopping.saw(measured)
            _on_rank_zero(training, lambda: training.encoder.save(folder / "encoder"))
        if log_dev is not None:
            log_dev(training.step, measured)
        _on_rank_zero(training, lambda: _save(training, folder))
        if training.rank == 0:
            checkpoint = ray.train.Checkpoint.from_directory(name)
        values = {**measured, "step": training.step, "loss": training.loss, "device_batch_size": training.device_rows}
        _on_rank_zero(training, lambda: ray.train.report(values, checkpoint=checkpoint), everywhere=True)


def resume(training: Training, folder: Path) -> None:
    """Go on from a checkpoint's folder."""
    with whole_table(training.encoder):
        if (folder / "weights.safetensors").exists():
            training.encoder.load_state_dict(load_file(folder / "weights.safetensors"))
        else:
            training.encoder.backbone.load_state_dict(Encoder.load(folder / "encoder").backbone.state_dict())
    state = torch.load(folder / "state.pt", map_location=training.encoder.device, weights_only=True)
    training.optimizer.load_state_dict(state["optimizer"])
    training.scaler.load_state_dict(state["scaler"])
    training.step, training.loss = state["step"], state["loss"]
    training.early_stopping.best, training.early_stopping.stale = state["best"], state["stale"]


def best(result: Any, config: TrainConfig) -> Any:
    """The checkpoint of a finished run that counts: the best by `metric`, else the last."""
    scored = [pair for pair in result.best_checkpoints or [] if config.metric in pair[1]]
    if not scored:
        return result.checkpoint, result.metrics or {}
    better = min if direction(config.metric) == "min" else max
    return better(scored, key=lambda pair: pair[1][config.metric])


def _save(training: Training, folder: Path) -> None:
    """What training goes on from: the optimizer's state, and the weights where `encoder` has others."""
    if training.config.fixed_base_share or training.config.mlp_head == "training":
        with whole_table(training.encoder):
            state_dict = training.encoder.state_dict()
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
        save_file(tensors, folder / "weights.safetensors")
    state = {
        "optimizer": training.optimizer.state_dict(),
        "scaler": training.scaler.state_dict(),
        "step": training.step,
        "loss": training.loss,
        "best": training.early_stopping.best,
        "stale": training.early_stopping.stale,
    }
    torch.save(state, folder / "state.pt")


@contextmanager
def _as_given(training: Training) -> Iterator[None]:
    """Inside, the encoder is what the run would give if it ended now."""
    encoder, head = training.encoder, training.encoder.mlp_head
    encoder.mlp_head = head and training.config.mlp_head != "training"
    try:
        with whole_table(encoder), blended(encoder, training.base, training.config.fixed_base_share):
            yield
    finally:
        encoder.mlp_head = head


def _on_rank_zero(training: Training, work: Callable[[], object], everywhere: bool = False) -> None:
    """Do what rank 0 alone may fail in; where it does, every rank learns of it, as none may wait for it."""
    failure = None
    try:
        if everywhere or training.rank == 0:
            work()
    except OSError as error:
        failure = str(error)
    failure = from_rank_zero(failure, training.ranks)
    if failure is not None:
        raise ResourceError(
            f"train: the checkpoint of step {training.step} cannot be written ({failure}); "
            "free space and run again: training goes on from the one before it"
        )
