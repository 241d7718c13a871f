"""One small loop for the two models that are pre-trained here: time-boxed, checkpointed, resumable."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

Batch = dict[str, torch.Tensor]  # or nested once, as the model takes it


def fit(
    model: torch.nn.Module,
    batches: Callable[[int], Iterator[Batch]],
    *,
    folder: Path,
    budget_s: float,
    learning_rate: float,
    warmup_steps: int,
    snapshots: tuple[float, ...] = (),
    max_steps: int | None = None,
) -> None:
    """Train until `budget_s` of processor time is spent; the rate falls linearly to zero with it.

    `batches(seed)` yields batches for ever. Every two minutes all of the state goes to
    `folder/last.pt`, and a later call goes on from there. Weights at the given fractions of the
    budget are kept as `folder/rough-<fraction>.pt`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"lr": learning_rate, "betas": (0.9, 0.98), "weight_decay": 0.01, "fused": True}
    optimizer = torch.optim.AdamW(model.parameters(), **settings)
    last = folder / "last.pt"
    step, spent_s = _resume(last, model, optimizer)
    stream = batches(step)
    model.train()
    running, saved_s = [], spent_s
    while spent_s < budget_s and (max_steps is None or step < max_steps):
        began = time.process_time()
        rate = min(1.0, (step + 1) / warmup_steps) * (1 - spent_s / budget_s)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        loss = model(**next(stream)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        running.append(loss.item())
        step += 1
        before, spent_s = spent_s, spent_s + (time.process_time() - began) / torch.get_num_threads()
        for fraction in snapshots:
            if before < fraction * budget_s <= spent_s:
                torch.save(model.state_dict(), folder / f"rough-{fraction:.2f}.pt")
        if step % 100 == 0:
            print(f"step {step} loss {sum(running) / len(running):.3f} {spent_s:.0f}/{budget_s:.0f} s", flush=True)
            running = []
        if spent_s - saved_s > 120 or spent_s >= budget_s:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "spent_s": spent_s}
            torch.save(state, last.with_suffix(".tmp"))
            last.with_suffix(".tmp").replace(last)
            saved_s = spent_s


def _resume(last: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Steps done and seconds spent, of the state in `last` where there is any; model and optimizer take it on."""
    if not last.exists():
        return 0, 0.0
    state = torch.load(last, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["spent_s"]
