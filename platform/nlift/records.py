"""Ray Train's record of a run's checkpoints, kept whole.

Ray writes its record in place: a full disk, or a kill in mid-write, would leave half of it, and no
run goes on from that. A copy made after each report stands in then; Ray removes a checkpoint only
once the record without it is written, so what the copy names is there.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from ray.train import UserCallback

RECORD = "checkpoint_manager_snapshot.json"


class RecordKeeper(UserCallback):  # type: ignore[misc]
    """Copies the record of the run in a local folder after each report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called where the record was written."""
        if checkpoint is not None:
            copy = _copy(self.folder)
            shutil.copyfile(self.folder / RECORD, copy.with_suffix(".tmp"))
            copy.with_suffix(".tmp").replace(copy)


def mend(folder: Path) -> None:
    """Make a run's folder one to go on from.

    The copy takes the place of a record that is not whole; without a copy the run starts at its
    beginning. Checkpoints that the record does not name, as they were never written to their end, go.
    """
    record = folder / RECORD
    try:
        json.loads(record.read_bytes())
    except FileNotFoundError:
        pass
    except ValueError:
        record.unlink()
        if _copy(folder).is_file():
            shutil.copyfile(_copy(folder), record)
    named = record.read_text(encoding="utf-8") if record.is_file() else ""
    for checkpoint in folder.glob("checkpoint_*/"):
        if f'"{checkpoint.name}"' not in named:
            shutil.rmtree(checkpoint)


def _copy(folder: Path) -> Path:
    return folder / f"{RECORD}.copy"
