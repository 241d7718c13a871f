"""Between a sweep and Ray Tune: hands trials out and writes down what they report."""

import logging
from collections.abc import Iterator
from typing import Any

from ray.tune.search import Searcher

from nlift.tuning.trials import Trial

logger = logging.getLogger("nlift")


class TrialSearcher(Searcher):  # type: ignore[misc]
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
        history = trial.folder.history()
        self.before_s[trial_id] = history[-1]["seconds"] if history else 0.0
        return {"folder": str(trial.folder.path)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A row of the trial's history."""
        self.running[trial_id].folder.report(
            {
                "step": result["step"],
                "value": result.get(self.metric),
                "checkpoint": result.get("checkpoint_path"),
                "seconds": round(self.before_s[trial_id] + result["time_total_s"], 1),
            }
        )

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """How the trial ended, if its driver has not said so.

        Tune does not tell of the report that it stopped a trial at.
        """
        if result is not None and "step" in result:
            self.on_trial_result(trial_id, result)
        trial = self.running.pop(trial_id)
        folder = trial.folder
        if not folder.result():
            last = folder.history()[-1]["step"] if folder.history() else 0
            status = "failed" if error else "finished" if last >= folder.steps else "stopped"
            folder.end(status, "the trial's process died" if error else None)
        summary = trial.summary()
        outcome = summary["error"]
        if summary["value"] is not None:
            outcome = f"{self.metric} {summary['value']:.4f}, {summary['status']}"
        number = self.given - len(self.running)
        logger.info("trial %d of %d: %s: %s at step %s", number, self.total, trial.text, outcome, summary["steps"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the trials' folders have all of it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the trials' folders have all of it."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its configuration; an iterator cannot be."""
        return {"metric": self.metric, "mode": self.mode}
