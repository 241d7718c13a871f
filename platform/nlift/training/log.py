"""What a training run writes down while it goes on."""

import shutil
import tempfile
import time
from pathlib import Path

from nlift.data import transfer
from nlift.data.files import append_jsonl, read_jsonl, write_jsonl

FILE, DEV_FILE = "log.jsonl", "dev.jsonl"


class TrainingLog:
    """Rank 0's record of a run: log.jsonl by step, dev.jsonl by measurement, and TensorBoard event files.

    What was logged after the checkpoint that the run goes on from is dropped first. Where `folder` is None, as on other
    ranks and in a sweep, nothing is written. Where there is a `store`, a URI, it is written to a folder of this machine
    and kept there: the process that asked for the run sees no other.
    """

    def __init__(self, folder: Path | None, start: int, store: str | None = None) -> None:
        self.store = store
        if folder is not None and store is not None:
            folder = Path(tempfile.mkdtemp(prefix="nlift-log-"))
            transfer.download(store, folder)
        self.folder = folder
        if folder is not None:
            from tensorboardX import SummaryWriter

            for path in (folder / FILE, folder / DEV_FILE):
                write_jsonl(path, (row for row in read_jsonl(path) if row["step"] <= start))
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)

    def step(self, step: int, losses: dict[str, float], learning_rate: float, gradient_norm: float) -> None:
        """A line per step: `loss`, its terms where it has several, the learning rate and the gradient's norm."""
        shown = losses if len(losses) > 2 else {"loss": losses["loss"]}  # one term is the loss
        values = {
            **{name: round(value, 6) for name, value in shown.items()},
            "learning_rate": learning_rate,
            "gradient_norm": round(gradient_norm, 6),
        }
        self._write(FILE, "train", step, values)

    def dev(self, step: int, values: dict[str, float]) -> None:
        """A line per measurement of the dev part."""
        if values:
            self._write(DEV_FILE, "dev", step, values)

    def _write(self, file: str, group: str, step: int, values: dict[str, float]) -> None:
        if self.folder is not None:
            append_jsonl(self.folder / file, {"step": step, **values, "time": round(time.time(), 3)})
            for name, value in values.items():
                self.board.add_scalar(f"{group}/{name}", value, step)

    def keep(self) -> None:
        """Let the store have what was written so far."""
        if self.folder is not None and self.store is not None:
            self.board.flush()
            transfer.upload(self.folder, self.store)

    def close(self) -> None:
        """Flush what is left."""
        if self.folder is not None:
            self.board.close()
            self.keep()
            if self.store is not None:
                shutil.rmtree(self.folder, ignore_errors=True)
