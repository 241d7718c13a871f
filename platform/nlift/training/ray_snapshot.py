"""Ray Train's snapshot of a run's checkpoints, kept whole.

Ray writes it in place: a full disk, or a kill in mid-write, would leave half of it, and no run goes on from that. A
copy made after each report stands in then; Ray removes a checkpoint only once the snapshot without it is written, so
what the copy names is there.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from ray.train import UserCallback

SNAPSHOT = "checkpoint_manager_snapshot.json"


class SnapshotKeeper(UserCallback):  # type: ignore[misc]
    """Copies the snapshot of the run in a local folder after each report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called where the snapshot was written."""
        if checkpoint is not None:
            copy = _copy(self.folder)
            shutil.copyfile(self.folder / SNAPSHOT, copy.with_suffix(".tmp"))
            copy.with_suffix(".tmp").replace(copy)


def mend(folder: Path) -> None:
    """Make a run's folder one to go on from.

    The copy takes the place of a snapshot that is not whole; without a copy the run starts at its beginning.
    Checkpoints that the snapshot does not name, as they were never written to their end, go.
    """
    snapshot = folder / SNAPSHOT
    try:
        json.loads(snapshot.read_bytes())
    except FileNotFoundError:
        pass
    except ValueError:
        snapshot.unlink()
        if _copy(folder).is_file():
            shutil.copyfile(_copy(folder), snapshot)
    named = snapshot.read_text(encoding="utf-8") if snapshot.is_file() else ""
    for checkpoint in folder.glob("checkpoint_*/"):
        if f'"{checkpoint.name}"' not in named:
            shutil.rmtree(checkpoint)


def _copy(folder: Path) -> Path:
    return folder / f"{SNAPSHOT}.copy"
