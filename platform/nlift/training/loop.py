"""The training loop, run by every Ray Train worker. The only one.

Everything a step does follows from (seed, step, rank): the order of rows, the dropout masks, the learning rate. A run
that is resumed from a checkpoint therefore ends with the weights, bit for bit on a CPU, that an undisturbed run has.
"""

import json
import os
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

import torch

from nlift.data import transfer
from nlift.data.files import read_rows, write_json
from nlift.data.schema import Triplet
from nlift.data.stored_folder import local_copy
from nlift.errors import ModelError, NliftError
from nlift.models.encoder import Encoder
from nlift.models.precision import half_type
from nlift.models.weight_averaging import weights
from nlift.settings import TrainConfig
from nlift.training.batches import batch_of_step, rows_of_mode, total_steps, usable
from nlift.training.checkpoints import Training, report, resume
from nlift.training.early_stopping import EarlyStopping
from nlift.training.freezing import freeze
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.log import TrainingLog
from nlift.training.loop_settings import LoopSettings
from nlift.training.memory import SHARE, fixed_bytes, rows_in_memory, texts_beside, total_bytes
from nlift.training.objectives import Objective, objectives
from nlift.training.optimizer import optimizer_of, set_learning_rate
from nlift.training.preemption import Preemption
from nlift.training.seen_tokens import train_seen_tokens
from nlift.training.validation import Validator

FAILED_BATCH = "failed_batch.json"


def run_steps(given: dict[str, LoopSettings]) -> str | None:
    """What a Ray Train worker runs; the line of a user's mistake is returned, as trying again would not help."""
    try:
        _run(given["settings"])
    except NliftError as error:
        return str(error)
    return None


def _run(settings: LoopSettings) -> None:
    import ray.train

    context, config = ray.train.get_context(), settings.train
    rank, ranks = context.get_world_rank(), context.get_world_size()
    good, _ = usable(read_rows(local_copy(settings.triplets), Triplet))
    rows = rows_of_mode(good, config.mode)
    steps = total_steps(len(rows), config)
    training, model, embedder, terms = _prepare(settings, rows, rank, ranks)
    training_log = TrainingLog(
        settings.folder if rank == 0 and not settings.in_sweep else None, training.step, settings.store
    )
    preemption = Preemption()
    if training.step == steps or training.early_stopping.ended:
        report_again(training)
    while training.step < steps and not training.early_stopping.ended:
        batch = batch_of_step(rows, training.step, config.global_batch_size, settings.seed)
        learning_rate = set_learning_rate(training.optimizer, config, training.step, steps)
        norm, losses = train_step(training, model, embedder, terms, batch, settings)
        training_log.step(training.step, losses, learning_rate, norm)
        try:
            announced = not settings.in_sweep and preemption.announced()  # Tune takes no report without its metric
            report_if_due(training, steps, training_log, announced)
        except ModelError:
            _fail(training, "vectors are no numbers any more", batch, settings)
    training_log.close()


def train_step(
    training: Training,
    model: torch.nn.Module,
    embedder: Embedder,
    terms: Sequence[Objective],
    batch: list[Triplet],
    settings: LoopSettings,
) -> tuple[float, dict[str, float]]:
    """One optimizer step on this rank's share of the global batch; the gradient's norm, and the losses by their names.

    Afterwards `training` has the step done and its loss. `batch` are the triplets of the step.
    """
    rank, ranks = training.rank, training.ranks
    losses = add_gradients(
        model,
        embedder,
        [objective.term(training.step, training.encoder, rank, ranks) for objective in terms],
        seed=_seeder(settings.seed, training.step, rank),
        scale=training.scaler.scale,
    )
    values = {name: loss.item() for name, loss in losses.items()}  # waits for a GPU, so once a step
    norm = apply_gradients(training, values["loss"], batch, settings)
    training.step, training.loss = training.step + 1, values["loss"]
    return norm, values


def report_if_due(training: Training, steps: int, training_log: TrainingLog, announced: bool) -> None:
    """Measure, save and report at every so many steps, and after the last; save where a machine is going to go."""
    if training.step % training.config.checkpoint_every_steps == 0 or training.step == steps:
        report(training, training_log.dev)
        training_log.keep()
    elif announced:
        report(training, None)


def report_again(training: Training) -> None:
    """Report a run that was cut after its last checkpoint: a sweep may lack that report, while the log has it."""
    report(training, lambda step, values: None)


def _prepare(
    settings: LoopSettings, rows: list[Triplet], rank: int, ranks: int
) -> tuple[Training, torch.nn.Module, Embedder, list[Objective]]:
    """The state of training, at the last checkpoint where there is one, the model to train and what it minimises."""
    import ray.train
    import ray.train.torch

    config = settings.train
    torch.manual_seed(settings.seed)  # a fresh head must be the same on every rank
    encoder = load_encoder(config, settings.max_length)
    base = weights(encoder) if config.fixed_base_share else {}
    checkpoint = ray.train.get_checkpoint()
    # a cluster may say that it has GPUs where torch sees none
    device = ray.train.torch.get_device() if torch.cuda.is_available() else torch.device("cpu")
    terms, device_rows = _objectives(settings, rows, encoder, device)
    train_seen_tokens(encoder, (group for term in terms for group in term.texts(encoder)), ranks, rank)
    half = half_type(config.compute_type, device, trains=True)
    embedder = Embedder(encoder, half)
    options = {"broadcast_buffers": False} if ranks > 1 else None  # an encoder's are constants
    model = ray.train.torch.prepare_model(embedder, device, parallel_strategy_kwargs=options)
    training = Training(
        config=config,
        encoder=encoder,
        base=base,
        optimizer=optimizer_of(encoder, config),
        scaler=torch.amp.GradScaler(device.type, enabled=half == torch.float16),
        early_stopping=EarlyStopping(config.metric, config.patience),
        validator=Validator(settings.dev, settings.max_length, rank, ranks) if settings.dev else None,
        rank=rank,
        ranks=ranks,
        device_rows=device_rows,
    )
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            resume(training, Path(folder))
    model.train()
    return training, model, embedder, terms


def _objectives(
    settings: LoopSettings, rows: list[Triplet], encoder: Encoder, device: torch.device
) -> tuple[list[Objective], int]:
    """What the run minimises, and how many triplets a worker has in memory at a time, the same on every rank."""
    import ray.train

    config, ranks = settings.train, ray.train.get_context().get_world_size()
    wanted = [config.global_batch_size // ranks, 2 * config.distillation_batch_size]  # triplets, texts to be distilled
    at_once = wanted
    if config.device_batch_size == "auto":
        at_once = _fitting(settings, encoder, device, wanted)
    elif config.device_batch_size is not None:
        rows_at_once = min(config.device_batch_size, wanted[0])
        at_once = [rows_at_once, texts_beside(rows_at_once, config.max_length, settings.lesson_length)]
    if ranks > 1:
        least = torch.tensor(at_once, device=device)
        torch.distributed.all_reduce(least, op=torch.distributed.ReduceOp.MIN)
        at_once = least.tolist()
    terms = objectives(
        rows,
        config,
        settings.seed,
        lessons=None if settings.lessons is None else local_copy(settings.lessons),
        passage_length=settings.max_length,
        device_rows=None if at_once[0] >= wanted[0] else at_once[0],
        device_texts=None if at_once[1] >= wanted[1] else at_once[1],
    )
    return terms, at_once[0]


def _fitting(settings: LoopSettings, encoder: Encoder, device: torch.device, wanted: list[int]) -> list[int]:
    """How many triplets, and texts of what is distilled, fit in a worker's share of the memory."""
    import ray.train

    config = settings.train
    sharing: float = ray.train.get_context().get_local_world_size()
    if settings.in_sweep and device.type == "cpu":
        sharing = max(sharing, os.cpu_count() or 1)  # other trials share this machine
    if device.type == "cuda":
        sharing = 1 / config.gpus_per_worker
    memory = SHARE[device.type] * total_bytes(device) / sharing
    if settings.lessons is not None and config.simcse_share:
        memory -= (memory - fixed_bytes(encoder)) / 2  # each term gets its half
    checkpointing = config.gradient_checkpointing
    return [
        rows_in_memory(encoder, wanted[0], config.max_length, memory, checkpointing),
        rows_in_memory(encoder, wanted[1], settings.lesson_length, memory, checkpointing, columns=1),
    ]


def base_encoder(config: TrainConfig, max_length: int, *, mlp_head: bool | None = None) -> Encoder:
    """The base model with the pooling and prefixes of the settings, without a fresh head. Raises ModelError."""
    encoder = Encoder.load(config.base_model, revision=config.revision, pooling=config.pooling, mlp_head=mlp_head)
    encoder.set_prefixes({"query": config.query_prefix, "passage": config.passage_prefix})
    encoder.max_length = min(max_length, encoder.max_length)
    return encoder


def load_encoder(config: TrainConfig, max_length: int) -> Encoder:
    """The encoder to train; `max_length` is what it takes when it is used. Raises ModelError."""
    encoder = base_encoder(config, max_length, mlp_head=None if config.mlp_head is None else bool(config.mlp_head))
    freeze(encoder, config.freeze)
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


def apply_gradients(training: Training, loss: float, batch: list[Triplet], settings: LoopSettings) -> float:
    """Clip the gradients and step; their norm.

    Raises NliftError for a loss or a norm that is no number, after writing down the batch.
    """
    training.scaler.unscale_(training.optimizer)
    norm = float(torch.nn.utils.clip_grad_norm_(training.encoder.parameters(), training.config.max_grad_norm))
    # float16 overflows now and then, and the scaler leaves such a step out
    norm_is_wrong = not isfinite(norm) and not training.scaler.is_enabled()
    if not isfinite(loss) or norm_is_wrong:
        what = f"the loss is {loss}" if not isfinite(loss) else f"the gradient's norm is {norm}"
        _fail(training, what, batch, settings)
    training.scaler.step(training.optimizer)
    training.scaler.update()
    training.optimizer.zero_grad(set_to_none=True)
    return norm


def _fail(training: Training, what: str, batch: list[Triplet], settings: LoopSettings) -> None:
    """Write down the batch and raise."""
    learning_rate = training.optimizer.param_groups[-1]["lr"]  # word embeddings, the first, may have their own
    path: Path | str = settings.folder / FAILED_BATCH
    if training.rank == 0:
        state = {"step": training.step, "learning_rate": learning_rate, "what": what}
        content = {**state, "pair_ids": [row.pair_id for row in batch]}
        if settings.store is None:
            settings.folder.mkdir(parents=True, exist_ok=True)
            write_json(settings.folder / FAILED_BATCH, content)
        else:
            path = transfer.joined(settings.store, FAILED_BATCH)
            transfer.write(path, json.dumps(content, ensure_ascii=False, indent=2).encode())
    raise NliftError(
        f"train: {what} at step {training.step}, learning rate {learning_rate:.2e}; lower train.learning_rate "
        f"(the batch's pair_ids are in {'trials.json' if settings.in_sweep else path})"
    )
