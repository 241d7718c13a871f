"""What a training run is given; apart from the loop, so that Ray Train's controller can read it without torch."""

from dataclasses import dataclass
from pathlib import Path

from nlift.settings import EvaluationSet, TrainConfig
from nlift.training import log


@dataclass(frozen=True)
class LoopSettings:
    """All that a training run depends on, and where it reads and writes."""

    train: TrainConfig
    seed: int
    triplets: str
    """Folder of the rows to train on; a path, or the address of a stored folder."""
    lessons: str | None
    """Folder of what is distilled, where that is wanted; as `triplets`."""
    dev: EvaluationSet | None
    """The set whose dev part is measured at every checkpoint."""
    max_length: int
    """Tokens that the encoder takes when it is used."""
    folder: Path
    """Where the log goes, and a batch whose loss is no number."""
    in_sweep: bool
    """Whether this is a trial of a sweep: those share CPUs, and the sweep keeps their log."""
    store: str | None = None
    """URI that gets what belongs into `folder`, where workers do not see that."""

    @property
    def lesson_length(self) -> int:
        """Tokens of a text of what is distilled."""
        return self.max_length if self.train.loss == "search_distillation" else self.train.max_length

    @property
    def log(self) -> Path:
        """A line per step."""
        return self.folder / log.FILE
