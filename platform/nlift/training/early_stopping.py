"""When a training run ends before its last step."""

from dataclasses import dataclass

from nlift.settings import direction


@dataclass
class EarlyStopping:
    """Counts measurements since the best; with a `limit` of None training never ends early."""

    metric: str | None
    limit: int | None
    best: float | None = None
    stale: int = 0

    def saw(self, values: dict[str, float]) -> None:
        """Take a measurement into account."""
        if self.metric is None or self.metric not in values:
            return
        value = values[self.metric] * (-1 if direction(self.metric) == "min" else 1)
        better = self.best is None or value > self.best
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)

    @property
    def ended(self) -> bool:
        """Whether nothing got better for too long."""
        return self.limit is not None and self.stale >= self.limit
