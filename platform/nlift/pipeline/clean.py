"""`nlift clean`: what nothing under an output_dir uses any more, and its removal.

Only what nlift made is listed, told by names and manifests. What is removed first gets another name, so that nobody
finds half of it under its own.
"""

import fcntl
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nlift.errors import ArtifactError
from nlift.pipeline import evaluate, measurement_job, study, train
from nlift.pipeline.output_folder import (
    HASHED,
    STAGE_NAMES,
    UNFINISHED,
    OutputFolder,
    evaluations,
    folders,
    is_stage,
    manifest_of,
    outputs,
)
from nlift.pipeline.output_lock import alone
from nlift.search import aliases
from nlift.search.bundle_format import INFO, JUDGED_FILE

CUT = "half-written: its work was cut, and the same command would go on from it"
GONE = re.compile(r"\.cleaned-[0-9a-f]{32}")  # what a removal that was cut leaves
HALF_MEASURED = re.compile(r"\.[0-9a-f]{16}(-[0-9a-f]{32}\.tmp|\.texts)")
BUILDING = re.compile(r"\.building-[0-9a-f]{12}")
BUNDLE_ROOMS = {"index", "lexical", "documents", "encoder", JUDGED_FILE, INFO}
BEFORE_TRAINING = STAGE_NAMES[: STAGE_NAMES.index(train.STAGE.name)]
DAY_S = 86_400.0


@dataclass(frozen=True)
class Wanted:
    """What is to be looked for."""

    keep: int = 2
    """Bundle versions that stay beside those that a name means or goes back to: the newest."""
    older_than: float | None = None
    """Days since the last change, at least; measurements that no run's record tells of are listed with it alone."""
    memories: bool = False
    """Translations and scores as well, which all experiments share."""


@dataclass(frozen=True)
class Leftover:
    """A folder or file that nothing uses."""

    path: Path
    why: str
    frees: int
    """Bytes that are free without it, those before it in the list removed too: what has a name elsewhere stays."""


def clean(root: Path, wanted: Wanted, *, remove: bool = False) -> list[Leftover]:
    """What nothing uses under an output_dir, and where `remove` says so without it afterwards.

    Raises ArtifactError where the folder is no output_dir, or somebody writes there now.
    """
    with ExitStack() as held:
        reasons: dict[Path, str] = {}
        for output in outputs(root):
            held.enter_context(alone(output.path))
            for bundles in output.bundle_folders:
                _hold(bundles, held)
            reasons |= dict(_unused_paths(output, wanted))
        reasons = {path: why for path, why in reasons.items() if _is_old(path, wanted.older_than)}
        leftovers = [
            Leftover(path, why, frees)
            for (path, why), frees in zip(reasons.items(), _frees(list(reasons)), strict=True)
        ]
        for leftover in leftovers if remove else ():
            _remove(leftover.path)
    return leftovers


def _hold(bundles: Path, held: ExitStack) -> None:
    """Let names of versions stay as they are. Raises ArtifactError where a version is being built."""
    held.enter_context(aliases.alone(bundles))
    for path in bundles.glob(".building-*.lock"):
        lock = held.enter_context(path.open("a+"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(f"{bundles}: a version is being built there; nothing was removed") from None


def _unused_paths(output: OutputFolder, wanted: Wanted) -> Iterator[tuple[Path, str]]:
    """What nothing uses, and why."""
    yield from _gone(output.path)
    for run in output.runs:
        yield from _gone(run)
        yield from _of_run(output, run)
    for bundles in output.bundle_folders:
        yield from _gone(bundles)
        yield from _of_bundles(bundles, wanted.keep)
    if output.measurements is not None:
        yield from _gone(output.measurements)
        yield from _of_measurements(output, output.measurements, wanted)
    for kind in sorted({memory.parent for memory in output.memories}):
        yield from _gone(kind)
    for memory in output.memories:
        half = [path for path in sorted(memory.iterdir()) if HALF_MEASURED.fullmatch(path.name)]
        yield from ((path, "half-written: a shard of a memory") for path in half if not wanted.memories)
        if wanted.memories:
            yield memory, f"memory of {memory.parent.name}: what it has is computed again where it is wanted"


def _gone(folder: Path) -> Iterator[tuple[Path, str]]:
    """What an earlier removal left, as it was cut."""
    yield from ((path, "removed in part") for path in folders(folder) if GONE.fullmatch(path.name))


def _of_run(output: OutputFolder, run: Path) -> Iterator[tuple[Path, str]]:
    """Folders of stages that were never finished, and what a sweep or a training left."""
    of_trials = re.fullmatch(r"(.+)\.tune-[0-9a-f]{8}", run.name)
    if of_trials and output.path / of_trials[1] in output.runs:
        stages = {path.name.partition(".tmp-")[0] for path in run.iterdir() if not path.name.startswith(".")}
        if stages <= set(BEFORE_TRAINING):
            yield run, f"training data of trials of a sweep of {of_trials[1]} that did not end"
            return
    for folder in folders(run):
        if UNFINISHED.fullmatch(folder.name):
            yield folder, CUT
        elif is_stage(folder):
            yield from _gone(folder)
            left = {"train": ("ray",), "tune": ("ray", "trials")}.get(folder.name, ())
            yield from (
                (inner, f"checkpoints of a {folder.name} that has ended")
                for inner in folders(folder)
                if inner.name in left
            )


def _of_bundles(bundles: Path, keep: int) -> Iterator[tuple[Path, str]]:
    """Builds that were cut, and versions that no name means, goes back to, or the run's report tells of."""
    for folder in folders(bundles):
        if BUILDING.fullmatch(folder.name):
            yield folder, CUT
        elif re.fullmatch(r"\..+\.tmp", folder.name) and {path.name for path in folder.iterdir()} <= BUNDLE_ROOMS:
            yield folder, "half-written: a version of a bundle"
    for lock in sorted(bundles.glob(".building-*.lock")):
        yield lock, "lock of a build that was cut"
    named = aliases.read_aliases(bundles)
    needed = {version for alias in named for version in aliases.history(bundles, alias)[-2:]}
    needed |= {str(manifest_of(bundles).get("version"))}
    own = {folder.name for folder in folders(bundles)}
    versions = [name for name in aliases.versions(bundles) if name in own]
    others = [name for name in versions if name not in needed and _is_version(bundles / name)]
    for name in others[: max(len(others) - keep, 0)]:
        yield bundles / name, "version that no name means or goes back to"


def _is_version(folder: Path) -> bool:
    """Whether a folder is a bundle of its own name."""
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        return bool(info["version"] == folder.name and info["checksums"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _of_measurements(output: OutputFolder, root: Path, wanted: Wanted) -> Iterator[tuple[Path, str]]:
    """Measurements that neither a run nor a study has its figures from.

    Where an evaluation has no record of its measurements, as an earlier nlift wrote none, age alone can tell.
    """
    for path in sorted(root.iterdir()):
        if HALF_MEASURED.fullmatch(path.name) and not path.is_symlink():
            yield path, "half-written: a measurement"
    records = [manifest.get(evaluate.MEASUREMENTS) for manifest in evaluations(output)]
    records += [_controls(output.path / study.RESULTS_FILE)] if (output.path / study.RESULTS_FILE).is_file() else []
    used = {name for record in records if record is not None for name in record}
    if None in records and wanted.older_than is None:
        return
    for folder in folders(root):
        if HASHED.fullmatch(folder.name) and folder.name not in used and (folder / measurement_job.NUMBERS).is_file():
            known = "that no run's figures are from" if None not in records else "that no run has a record of"
            yield folder, f"measurement {known}"


def _controls(results: Path) -> list[str] | None:
    """The measurements of a study's controls; None where there is no record of them."""
    try:
        return json.loads(results.read_text(encoding="utf-8")).get(evaluate.MEASUREMENTS)
    except (ValueError, AttributeError):
        return None


def _is_old(path: Path, days: float | None) -> bool:
    """Whether nothing of a folder has changed for so many days."""
    if days is None:
        return True
    return max(status.st_mtime for status in _statuses(path)) < time.time() - days * DAY_S


def _frees(paths: Sequence[Path]) -> list[int]:
    """Bytes that are free when each is gone, after those before it."""
    names = Counter[tuple[int, int]]()
    sizes = []
    for path in paths:
        freed = 0
        for status in _statuses(path):
            if stat.S_ISREG(status.st_mode):
                file = (status.st_dev, status.st_ino)
                names[file] += 1
                freed += status.st_size if names[file] == status.st_nlink else 0
        sizes.append(freed)
    return sizes


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Of a file, or of all that a folder has, links as such."""
    yield path.lstat()
    if path.is_dir() and not path.is_symlink():
        for folder, inner, files in os.walk(path):
            yield from (Path(folder, name).lstat() for name in (*inner, *files))


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    gone = path.with_name(f".cleaned-{uuid.uuid4().hex}")
    path.rename(gone)
    shutil.rmtree(gone)
