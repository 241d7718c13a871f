"""A stage: a typed step of the pipeline that reads what an earlier one wrote and writes one folder."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from nlift import cluster, machines
from nlift.config import Experiment
from nlift.errors import MemoryShortageError
from nlift.pipeline.output_lock import in_use
from nlift.pipeline.stage_folder import Output, StageFolder, check_writable, read_manifest
from nlift.pipeline.workload import NamedModel, Workload

logger = logging.getLogger("nlift")


@dataclass(frozen=True)
class DataSize:
    """How much an experiment's data is, counted on disk; None for a hub data set, which is not fetched for it."""

    rows: int | None = None
    """Usable NLI pairs."""
    rows_in: int | None = None
    """All that were read."""
    set_aside: dict[str, int] = field(default_factory=dict)
    """Rows that are not usable, by the reason."""
    labels: dict[str, int] = field(default_factory=dict)
    """Rows by label."""
    premises: list[str] = field(default_factory=list)
    """The first ones."""
    sentences: int | None = None
    """Distinct ones."""
    sample: list[str] = field(default_factory=list)
    """Some of them, evenly drawn."""
    triplets: int | None = None
    """That can be made of the pairs at most."""
    with_negative: int | None = None
    """How many of them have a hard negative."""
    known: dict[str, int] = field(default_factory=dict)
    """How many sentences the memory has, by translator."""
    cloze_pairs: int = 0
    """Pairs made of the corpus's own text."""


class Stage(ABC):
    """One step of the pipeline; `pipeline/all_stages.py` has all of them in order.

    `reads` is the kind of row that it takes from an earlier stage, None where it takes none; `writes` is what it
    gives: a row type of data/schema.py, Encoder, or None.
    """

    name: ClassVar[str]
    reads: ClassVar[type | None] = None
    writes: ClassVar[type | None] = None
    needs_ray: ClassVar[bool] = False
    on_request: ClassVar[bool] = False
    """Left out of `nlift run`: a command of its own runs it."""
    to_spare_memory: ClassVar[str] = "use a machine with more"
    """What to set where memory does not suffice."""
    folder_type: ClassVar[type[StageFolder]] = StageFolder
    before: "tuple[Stage, ...]" = ()
    """The stages that stand before it, set by `in_order`."""

    def enabled(self, experiment: Experiment) -> bool:
        """Whether the experiment has this stage."""
        return True

    def upstream(self, experiment: Experiment) -> "Stage":
        """The stage whose rows this one takes: the nearest enabled one before it that writes such rows.

        `train` reads triplets, which `triplets`, `mine` and `cloze` write: it takes those of `cloze`, else of `mine`.
        """
        assert self.reads is not None, f"{self.name} reads no stage's rows"
        writers = (stage for stage in reversed(self.before) if stage.writes and issubclass(stage.writes, self.reads))
        return next(stage for stage in writers if stage.enabled(experiment))

    def lineage(self, experiment: Experiment) -> "list[Stage]":
        """The stages that its rows come from, in order."""
        if self.reads is None:
            return []
        upstream = self.upstream(experiment)
        return [*upstream.lineage(experiment), upstream]

    def models(self, experiment: Experiment) -> list[NamedModel]:
        """The models that it loads, by the names that the experiment gives them."""
        return []

    @abstractmethod
    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """All that its content depends on: settings that matter, hashes of files and models, upstream's fingerprint.

        It computes nothing, and holds no setting that changes speed alone.
        """

    @abstractmethod
    def run(self, experiment: Experiment, output: Output) -> None:
        """Do the work; what it raises as NliftError is the user's to mend."""

    @contextmanager
    def advice(self) -> Iterator[None]:
        """Let what workers met surface as itself, and where memory did not suffice say what needs less."""
        try:
            with cluster.user_errors(), machines.watched(self.name):
                yield
        except MemoryShortageError as error:
            raise MemoryShortageError(
                f"{self.name}: {error}; {self.to_spare_memory}, and run again: what was finished is kept"
            ) from None

    def check(self, experiment: Experiment, size: DataSize) -> None:  # noqa: B027 - most have nothing to check
        """Raise NliftError for what can be seen to be wrong with its inputs before any work is done."""

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """What it would do, in a few words, for `nlift check`."""
        return ""

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """What it has to do, for a prediction of its time; `size` is counted, or assumed, and has no None."""
        return Workload()

    def path(self, experiment: Experiment) -> Path:
        """Where its result stands on this machine; what an output_dir that is a URI has of it is fetched."""
        if experiment.store is None or not self.enabled(experiment):
            return experiment.folder / self.name
        return self.folder(experiment).fetch()

    def folder(self, experiment: Experiment) -> StageFolder:
        """Its folder with the identity that belongs there."""
        uri = experiment.folder_store and f"{experiment.folder_store}/{self.name}"
        return self.folder_type(self.name, experiment.folder / self.name, self.identity(experiment), uri)


def in_order(*stages: Stage) -> tuple[Stage, ...]:
    """The stages, each told which ones stand before it."""
    for position, stage in enumerate(stages):
        stage.before = stages[:position]
    return stages


@dataclass(frozen=True)
class StageResult:
    """What became of a stage: `seconds` is 0 where its result was there already."""

    name: str
    seconds: float
    manifest: dict[str, Any]


def run_stage(stage: Stage, experiment: Experiment, overwrite: bool = True) -> StageResult:
    """One stage: nothing where its folder holds this result already, else computed and put there."""
    folder = stage.folder(experiment)
    if folder.done():
        folder.keep()  # where an earlier run could not
        manifest = read_manifest(folder.path) if folder.is_here() else folder.store.about() or {}
        logger.info("%-9s done already (%d rows)", stage.name, manifest["rows_out"])
        return StageResult(stage.name, 0.0, manifest)
    began = time.perf_counter()
    check_writable(folder.temporary)
    with in_use(experiment), folder.writing(overwrite) as output:
        if stage.needs_ray:
            cluster.connect(experiment.cluster)
        with stage.advice():
            stage.run(experiment, output)
    folder.keep()
    manifest = read_manifest(folder.path)
    seconds = time.perf_counter() - began
    set_aside = f", {manifest['quarantined']} quarantined" if manifest["quarantined"] else ""
    logger.info("%-9s %d rows%s in %.0f s", stage.name, manifest["rows_out"], set_aside, seconds)
    return StageResult(stage.name, seconds, manifest)
