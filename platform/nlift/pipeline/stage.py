"""A stage: a typed step of the pipeline that reads what an earlier one wrote and writes one folder.

A stage writes into `<stage>.tmp-<fingerprint>`, its manifest last, and the folder is then renamed over `<stage>`: what
stands under a stage's name is complete and of one piece. The name of the temporary folder follows from the inputs and
settings alone, so a stage that can go on after a crash finds what it had.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq

from nlift import __version__, cluster, machines
from nlift.config import Experiment
from nlift.data import sources, work_claim
from nlift.data.files import PIECE, append_jsonl, replace_folder, write_json
from nlift.data.schema import arrow_schema, to_table
from nlift.data.stored_folder import StoredFolder
from nlift.errors import ArtifactError, MemoryShortageError
from nlift.pipeline.output_lock import in_use
from nlift.pipeline.workload import NamedModel, Workload

LONGEST_NAME = 255  # of a file, on the systems of our users
MANIFEST = "manifest.json"
QUARANTINE = "quarantine.jsonl"
PACKAGES = ("ray", "torch", "transformers", "unbabel-comet", "numpy", "pyarrow")
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


@dataclass
class Output:
    """A folder being written, and what its manifest will say of it."""

    path: Path
    store: str | None = None
    """URI under which workers find and leave what the work needs, until it is done; None where all of them see path."""
    rows_in: int = 0
    rows_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: dict[str, Any] = field(default_factory=dict)

    def quarantine(self, row: object, reason: str, where: str | None = None) -> None:
        """Set a bad row aside with its reason, and the file and line that it is from, if it is from one."""
        row = row if isinstance(row, dict) else asdict(row)  # type: ignore[call-overload]
        place = {} if where is None else {"where": where}
        append_jsonl(self.path / QUARANTINE, {"reason": reason, **place, "row": row})
        self.reasons[reason] += 1

    @property
    def quarantined(self) -> int:
        """Rows set aside."""
        return self.reasons.total()

    def write_rows(self, rows: Iterable[Any], row_type: type, name: str = "rows.parquet") -> None:
        """Write rows as Parquet, a piece at a time, and count them."""
        remaining, self.rows_out = iter(rows), 0
        with pq.ParquetWriter(self.path / name, arrow_schema(row_type)) as writer:
            while piece := list(islice(remaining, PIECE)):
                writer.write_table(to_table(piece, row_type))
                self.rows_out += len(piece)


@dataclass(frozen=True)
class StageFolder:
    """The folder of a stage's result: `identity` is all that its content depends on."""

    name: str
    path: Path
    identity: dict[str, Any]
    uri: str | None = None
    """Where it is kept, of an output_dir that is a URI."""

    @property
    def fingerprint(self) -> str:
        """Hash of the identity, 16 hexadecimal digits."""
        text = json.dumps({"stage": self.name, **self.identity}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def temporary(self) -> Path:
        """Where the stage is written before it is complete."""
        return self.path.with_name(f"{self.path.name}.tmp-{self.fingerprint[:8]}")

    @property
    def store(self) -> StoredFolder:
        """The folder that it is kept as."""
        assert self.uri is not None, f"{self.name} is kept on this machine alone"
        return StoredFolder(self.uri)

    @property
    def work(self) -> str | None:
        """The URI of its work until it is done (work_claim.py)."""
        return self.uri and f"{self.uri}.tmp-{self.fingerprint[:8]}"

    def done(self) -> bool:
        """Whether exactly this is there, here or where it is kept. Raises ArtifactError where it is not ours."""
        return self.is_here() or self.is_kept()

    def is_here(self) -> bool:
        """Whether this machine has it."""
        return self.path.exists() and read_manifest(self.path)["fingerprint"] == self.fingerprint

    def is_kept(self) -> bool:
        """Whether the output_dir is a URI that has it."""
        return self.uri is not None and (self.store.about() or {}).get("fingerprint") == self.fingerprint

    def fetch(self) -> Path:
        """Its path; where its content is kept, and not here, it is fetched."""
        if self.uri is not None and not self.is_here() and self.is_kept():
            self.bring()
        return self.path

    def bring(self) -> None:
        """Put here what is kept, in place of what is here."""
        self.store.fetch(self.path)

    def keep(self) -> None:
        """Let the URI have what this machine has, unless it has."""
        if self.uri is not None and self.is_here() and not self.is_kept():
            self.publish()
        if self.work is not None:
            work_claim.remove(self.work)

    def publish(self) -> None:
        """Let the URI have what this machine has."""
        self.store.publish(self.path, read_manifest(self.path))

    def said(self) -> dict[str, Any] | None:
        """The manifest of what stands there, whatever its fingerprint; None where nothing does."""
        if self.uri is not None and (kept := self.store.about()) is not None:
            return kept
        return read_manifest(self.path) if self.path.exists() else None

    @contextmanager
    def writing(self, overwrite: bool = True) -> Iterator[Output]:
        """A folder to write; it takes the stage's name only when the block ends without error."""
        if self.path.exists():
            read_manifest(self.path)  # raises where it is not ours, which is left alone
        there = None if overwrite else self.said()
        if there is not None and not self.done():
            raise ArtifactError(
                f"{self.uri or self.path}: holds another result (fingerprint {there['fingerprint']}, "
                f"wanted {self.fingerprint}); run without --no-overwrite to replace it, or choose another name"
            )
        check_writable(self.temporary)
        self.temporary.mkdir(parents=True, exist_ok=True)
        (self.temporary / QUARANTINE).unlink(missing_ok=True)  # of a run that was cut
        began = time.perf_counter()
        with nullcontext() if self.work is None else work_claim.claimed(self.work) as store:
            output = Output(self.temporary, store)
            yield output
        write_json(output.path / MANIFEST, self.manifest(output, time.perf_counter() - began))
        replace_folder(output.path, self.path)
        for stale in self.path.parent.glob(f"{self.path.name}.tmp-*"):
            shutil.rmtree(stale)

    def manifest(self, output: Output, seconds: float) -> dict[str, Any]:
        """What manifest.json holds of a result that took `seconds` to make."""
        return {
            "stage": self.name,
            "seed": self.identity.get("seed"),
            "fingerprint": self.fingerprint,
            "identity": self.identity,
            "rows_in": output.rows_in,
            "rows_out": output.rows_out,
            "quarantined": output.quarantined,
            "seconds": round(seconds, 3),
            "rows_per_s": round(output.rows_out / seconds, 2) if seconds else None,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "nlift": __version__,
            "packages": {name: metadata.version(name) for name in PACKAGES},
            "git_commit": _git_commit(),
            **output.notes,
        }


class Stage(ABC):
    """One step of the pipeline; `pipeline/run.py` has all of them in order.

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


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a stage's folder. Raises ArtifactError where the folder is not ours."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or "fingerprint" not in manifest:
            raise ValueError
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"{folder}: exists but has no {MANIFEST}, so nlift did not write it; "
            "move it away or choose another output_dir"
        ) from None
    except ValueError:
        raise ArtifactError(
            f"{folder / MANIFEST}: not a manifest of nlift; remove {folder} to compute it again"
        ) from None
    return manifest


def check_writable(folder: Path, setting: str = "output_dir") -> None:
    """Raise ArtifactError where the folder of a setting cannot be made, or written to."""
    there = next(path for path in (folder, *folder.parents) if sources.is_there(path))
    if len(os.fsencode(folder.name)) > LONGEST_NAME:
        raise ArtifactError(f"{folder}: a name of more than {LONGEST_NAME} bytes; choose another {setting}")
    if not there.is_dir():
        raise ArtifactError(f"{there}: a file stands where a folder is needed; choose another {setting}")
    try:
        with tempfile.TemporaryFile(dir=there):  # tried: what a folder's bits say is not all, and less to root
            pass
    except OSError:
        raise ArtifactError(f"{there}: no permission to write here; choose another {setting}") from None


@lru_cache(maxsize=1)
def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
