"""What a sweep keeps of each trial, in a folder of the trial's own, and how configurations are ranked.

`trial.json` says what is trained, `history.jsonl` has a row per report, `result.json` how it ended. All of it is on
disk as soon as it is known, so a sweep that was killed goes on from here.
"""

import hashlib
import json
import math
import shutil
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from nlift.data import transfer
from nlift.data.files import append_jsonl, read_jsonl, write_json
from nlift.tuning.samplers import Values, key_of


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one training of a sweep."""

    path: Path

    def start(self, experiment: dict[str, Any], steps: int, keeps: str | None, store: str | None = None) -> None:
        """Write down the experiment to train, its steps, and what it keeps of its reports.

        `keeps` is `max` or `min` where the best report's checkpoint is kept, None for the last one's. `store` is the
        URI of checkpoints that do not stand here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        content = {"steps": steps, "keeps": keeps, "store": store, "experiment": experiment}
        write_json(self.path / "trial.json", content)

    def forget(self) -> None:
        """Remove all of it."""
        if self.store is not None:
            transfer.remove(self.store)
        shutil.rmtree(self.path, ignore_errors=True)

    def experiment(self) -> dict[str, Any]:
        """The experiment to train, as JSON."""
        experiment: dict[str, Any] = self._read("trial.json")["experiment"]
        return experiment

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return int(self._read("trial.json")["steps"])

    @property
    def store(self) -> str | None:
        """The URI of its checkpoints, where they do not stand here."""
        return self._read("trial.json").get("store")

    def history(self) -> list[dict[str, Any]]:
        """A row per report, by step: step, value, checkpoint, seconds."""
        by_step = {row["step"]: row for row in read_jsonl(self.path / "history.jsonl")}
        return [by_step[step] for step in sorted(by_step)]

    def report(self, row: dict[str, Any]) -> None:
        """Append a row to the history."""
        append_jsonl(self.path / "history.jsonl", row)

    def result(self) -> dict[str, Any]:
        """`status` (finished, stopped or failed) and `error`; nothing before the trial has ended."""
        return self._read("result.json")

    def end(self, status: str, error: str | None = None) -> None:
        """Write down how it ended, unless that stands there already; of its checkpoints, encoders stay."""
        if self.result():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "result.json", {"status": status, "error": error})
        for path in self.path.glob("*/checkpoint_*/*"):
            if path.is_file():
                path.unlink(missing_ok=True)
        store = self.store
        for name in transfer.sizes(store) if store is not None else ():
            if fnmatch(name, "*/checkpoint_*/*") and name.count("/") == 2:
                transfer.remove_file(transfer.joined(str(store), name))

    def counted(self) -> dict[str, Any]:
        """The row of the history that the trial is judged by: the last, or the best where its checkpoint is kept."""
        rows, keeps = self.history(), self._read("trial.json").get("keeps")
        numbers = [row for row in rows if row["value"] is not None and math.isfinite(row["value"])]
        if keeps is None or not numbers:
            return rows[-1] if rows else {}
        return (max if keeps == "max" else min)(numbers, key=lambda row: row["value"])

    @property
    def encoder(self) -> Path | None:
        """The encoder of the row that counts, else of the newest checkpoint that is there."""
        rows = [*self.history(), self.counted()]
        checkpoints = [row["checkpoint"] for row in reversed(rows) if row.get("checkpoint")]
        store = self.store
        if store is None:
            return next((Path(path, "encoder") for path in checkpoints if Path(path, "encoder").is_dir()), None)
        for path in dict.fromkeys(checkpoints):  # as Ray has it: within its file system
            uri = f"{store.partition('://')[0]}://{path}/encoder"
            if transfer.sizes(uri):
                transfer.download(uri, self.path / "encoder")
                return self.path / "encoder"
        return None

    @property
    def failed_batch(self) -> dict[str, Any] | None:
        """The batch whose loss was no number, where there was one."""
        return self._read("failed_batch.json") or None

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@dataclass(frozen=True)
class Trial:
    """One training of a sweep: a configuration and a seed."""

    values: Values
    seed: int
    folder: TrialFolder

    @classmethod
    def of(cls, values: Values, seed: int, trials: Path) -> "Trial":
        """The trial of a configuration and a seed, its folder under `trials` named after both."""
        name = hashlib.sha256(f"{key_of(values)} {seed}".encode()).hexdigest()[:12]
        return cls(values, seed, TrialFolder(trials / name))

    @property
    def text(self) -> str:
        """Values and seed as a person reads them."""
        return f"{described(self.values)}, seed {self.seed}"

    def summary(self) -> dict[str, Any]:
        """What trials.json says of it. A value that is no number counts as a failure."""
        rows, result, value = self.folder.history(), self.folder.result(), self.folder.counted().get("value")
        last = rows[-1] if rows else {}
        status, error = result.get("status", "failed"), result.get("error")
        if status != "failed" and (value is None or not math.isfinite(value)):
            status, error = "failed", f"the metric is {value} at step {last.get('step')}"
        return {
            "config": self.values,
            "seed": self.seed,
            "status": status,
            "value": None if status == "failed" else value,
            "steps": last.get("step"),
            "seconds": last.get("seconds"),
            "error": error,
            "failed_batch": self.folder.failed_batch,
            "history": [[row["step"], row["value"]] for row in rows],
        }


def ranked(trials: Iterable[dict[str, Any]], lower_is_better: bool) -> list[dict[str, Any]]:
    """Configurations, best first: config, seeds, finished, mean, std, and best_seed.

    The more seeds have finished, the better: a lucky seed beside one that failed or was stopped early does not beat a
    configuration that is complete. Among equals the mean over the finished seeds decides; over the stopped ones where
    none has finished. `std` is the sample's, None for one seed; `mean` is None where all seeds failed.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        groups.setdefault(key_of(trial["config"]), []).append(trial)
    sign = 1 if lower_is_better else -1

    def row(group: list[dict[str, Any]]) -> dict[str, Any]:
        finished = [trial for trial in group if trial["status"] == "finished"]
        counted = finished or [trial for trial in group if trial["value"] is not None]
        values = [trial["value"] for trial in counted]
        best = min(counted, key=lambda trial: sign * trial["value"], default=None)
        return {
            "config": group[0]["config"],
            "seeds": len(group),
            "finished": len(finished),
            "mean": statistics.fmean(values) if values else None,
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "best_seed": best["seed"] if best else None,
        }

    def order(row: dict[str, Any]) -> tuple[int, bool, float]:
        return -row["finished"], row["mean"] is None, sign * (row["mean"] or 0.0)

    return sorted(map(row, groups.values()), key=order)


def described(values: Values) -> str:
    """A configuration in a line."""
    return ", ".join(f"{key} {shown(value)}" for key, value in values.items())


def shown(value: Any) -> str:
    """A value as tables and plots show it."""
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)
