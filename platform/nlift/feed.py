"""Between a sweep and Ray Tune: hands trials out and writes down what they report."""

from collections.abc import Iterator
from typing import Any

from ray.tune.search import Searcher

from nlift import progress
from nlift.trials import Trial


class Feed(Searcher):  # type: ignore[misc]
    """A search algorithm of Ray Tune whose trials are made by an iterator, when Tune has room for one."""

    def __init__(self, trials: Iterator[Trial], metric: str, mode: str, total: int) -> None:
        super().__init__(metric=metric, mode=mode)
        self.trials, self.total, self.given = trials, total, 0
        self.running: dict[str, Trial] = {}
        self.before_s: dict[str, float] = {}  # what a trial took before the sweep was killed

    def suggest(self, trial_id: str) -> Any:
        """The folder of the next trial."""
        trial = next(self.trials, None)
        if trial is None:
            return Searcher.FINISHED
        self.given += 1
        self.running[trial_id] = trial
        self.before_s[trial_id] = next((row["seconds"] for row in reversed(trial.history())), 0.0)
        return {"folder": str(trial.folder)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A row of the trial's history."""
        self.running[trial_id].report(
            {
                "step": result["step"],
                "value": result.get(self.metric),
                "checkpoint": result.get("checkpoint_path"),
                "seconds": round(self.before_s[trial_id] + result["time_total_s"], 1),
            }
        )

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """How the trial ended, if its driver has not said so; Tune does not tell of the report that it stopped a trial at."""
        if result is not None and "step" in result:
            self.on_trial_result(trial_id, result)
        trial = self.running.pop(trial_id)
        if not trial.result():
            last = trial.history()[-1]["step"] if trial.history() else 0
            status = "failed" if error else "finished" if last >= trial.steps else "stopped"
            trial.end(status, "the trial's process died" if error else None)
        found = trial.summary()
        value = found["error"] if found["value"] is None else f"{self.metric} {found['value']:.4f}, {found['status']}"
        progress.say(f"trial {self.given - len(self.running)} of {self.total}: {trial.text}: {value} at step {found['steps']}")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the trials' folders have all of it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the trials' folders have all of it."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its configuration; an iterator cannot be."""
        return {"metric": self.metric, "mode": self.mode}
