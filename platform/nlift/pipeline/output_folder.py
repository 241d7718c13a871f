"""What stands in an output_dir, told by names and manifests: runs, studies, folders of bundles, what is shared.

Links are never followed: what a link leads to is somebody else's.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlift.errors import ArtifactError
from nlift.pipeline import evaluate
from nlift.pipeline.all_stages import STAGES
from nlift.pipeline.stage_folder import read_manifest
from nlift.search import aliases

MEMORIES = ("translations", "scores")
STAGE_NAMES = tuple(stage.name for stage in STAGES)
UNFINISHED = re.compile(rf"({'|'.join(STAGE_NAMES)})\.tmp-([0-9a-f]{{8}}|old)|\.({'|'.join(STAGE_NAMES)})\.tmp")
HASHED = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class OutputFolder:
    """An output_dir: that of an experiment, or the folder of a study, which is one of its runs."""

    path: Path

    @property
    def runs(self) -> list[Path]:
        """The folders of runs."""
        return [folder for folder in folders(self.path) if is_run(folder)]

    @property
    def bundle_folders(self) -> list[Path]:
        """The folders of bundles: a run's index, one that `nlift index` made beside the runs, or this one."""
        indexes = [run / "index" for run in self.runs if not (run / "index").is_symlink()]
        beside = [folder for folder in folders(self.path) if not is_run(folder)]
        return [folder for folder in (self.path, *beside, *indexes) if _has_bundles(folder)]

    @property
    def memories(self) -> list[Path]:
        """The folders of the translation and score memories, one per settings."""
        kinds = [folder for folder in folders(self.path) if folder.name in MEMORIES]
        return [folder for kind in kinds for folder in folders(kind) if HASHED.fullmatch(folder.name)]

    @property
    def measurements(self) -> Path | None:
        """The folder of measurements."""
        folder = self.path / evaluate.FOLDER
        return folder if folder.is_dir() and not folder.is_symlink() else None

    @property
    def is_ours(self) -> bool:
        """Whether nlift wrote anything here."""
        return bool(self.runs or self.bundle_folders or self.memories)


def outputs(root: Path) -> list[OutputFolder]:
    """An output_dir, and the studies in it. Raises ArtifactError where it is none."""
    if not root.is_dir():
        raise ArtifactError(f"{root}: no such folder; expected an output_dir, as runs")
    if is_run(root):
        raise ArtifactError(f"{root}: the folder of a run; expected its output_dir, {root.parent}")
    whole = OutputFolder(root)
    studies = [OutputFolder(folder) for folder in folders(root) if not is_run(folder)]
    output_folders = [output for output in (whole, *(study for study in studies if study.runs)) if output.is_ours]
    if not output_folders:
        raise ArtifactError(f"{root}: neither runs nor bundles of nlift there; expected an output_dir, as runs")
    return output_folders


def folders(path: Path) -> list[Path]:
    """The folders in one, without links."""
    with os.scandir(path) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def is_run(folder: Path) -> bool:
    """Whether a folder has a stage, finished or not."""
    return any(UNFINISHED.fullmatch(inner.name) or is_stage(inner) for inner in folders(folder))


def is_stage(folder: Path) -> bool:
    """Whether a folder is the result of a stage."""
    return folder.name in STAGE_NAMES and bool(manifest_of(folder))


def manifest_of(folder: Path) -> dict[str, Any]:
    """A folder's manifest; {} where it has none."""
    try:
        return read_manifest(folder)
    except (ArtifactError, OSError):
        return {}


def evaluations(output: OutputFolder) -> Iterator[dict[str, Any]]:
    """The manifests of all evaluations; those of linked runs too, as they use what stands here."""
    for path in output.path.glob("*/evaluate"):
        manifest = manifest_of(path)
        if manifest:
            yield manifest


def _has_bundles(folder: Path) -> bool:
    try:
        return (folder / aliases.ALIASES).is_file() or bool(list(folder.glob(".building-*")))
    except OSError:
        return False
