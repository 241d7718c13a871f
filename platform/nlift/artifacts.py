"""A stage's folder and its manifest.

A stage writes into `<stage>.tmp-<fingerprint>`, its manifest last, and the folder is then renamed
over `<stage>`: what stands under a stage's name is complete and of one piece. The name of the
temporary folder depends on nothing but what the stage computes, so a stage that can go on after a
crash finds what it had.
"""

import hashlib
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from nlift import __version__
from nlift.errors import ArtifactError
from nlift.remote import RemoteFile
from nlift.schema import arrow_schema, check_table, to_table

MANIFEST = "manifest.json"
QUARANTINE = "quarantine.jsonl"
PIECE = 16_384  # rows that are read or written at a time
PACKAGES = ("ray", "torch", "transformers", "unbabel-comet", "numpy", "pyarrow")


@dataclass
class Output:
    """A folder being written, and what its manifest will say of it."""

    path: Path
    rows_in: int = 0
    rows_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: dict[str, Any] = field(default_factory=dict)

    def quarantine(self, row: object, reason: str) -> None:
        """Set a bad row aside with its reason."""
        row = row if isinstance(row, dict) else asdict(row)  # type: ignore[call-overload]
        append_jsonl(self.path / QUARANTINE, {"reason": reason, "row": row})
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
class Stage:
    """What a stage's folder holds: `identity` is all that its content depends on."""

    name: str
    folder: Path
    identity: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of the identity, 16 hexadecimal digits."""
        text = json.dumps({"stage": self.name, **self.identity}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def temporary(self) -> Path:
        """Where the stage is written before it is complete."""
        return self.folder.with_name(f"{self.folder.name}.tmp-{self.fingerprint[:8]}")

    def done(self) -> bool:
        """Whether the folder holds exactly this. Raises ArtifactError where it is not ours."""
        if not self.folder.exists():
            return False
        return read_manifest(self.folder)["fingerprint"] == self.fingerprint

    @contextmanager
    def writing(self, overwrite: bool = True) -> Iterator[Output]:
        """A folder to write; it takes the stage's name only when the block ends without error."""
        if self.folder.exists() and not self.done() and not overwrite:
            raise ArtifactError(
                f"{self.folder}: holds another result (fingerprint {read_manifest(self.folder)['fingerprint']}, "
                f"wanted {self.fingerprint}); run without --no-overwrite to replace it, or choose another name"
            )
        _make_folder(self.temporary)
        (self.temporary / QUARANTINE).unlink(missing_ok=True)  # of a run that was cut
        output, began = Output(self.temporary), time.perf_counter()
        yield output
        self._finish(output, time.perf_counter() - began)

    def _finish(self, output: Output, seconds: float) -> None:
        manifest = {
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
        write_json(output.path / MANIFEST, manifest)
        replace_folder(output.path, self.folder)
        for stale in self.folder.parent.glob(f"{self.folder.name}.tmp-*"):
            shutil.rmtree(stale)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a stage's folder. Raises ArtifactError where the folder is not ours."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        assert isinstance(manifest, dict) and "fingerprint" in manifest
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"{folder}: exists but has no {MANIFEST}, so nlift did not write it; move it away or choose another output_dir"
        ) from None
    except (ValueError, AssertionError):
        raise ArtifactError(f"{folder / MANIFEST}: not a manifest of nlift; remove {folder} to compute it again") from None
    return manifest


def read_rows(folder: Path, row_type: type, name: str = "rows.parquet") -> list[Any]:
    """The rows of a complete stage's folder. Raises ArtifactError or DataError."""
    path = _rows_file(folder, name)
    table = check_table(read_parquet(path), row_type, path)
    columns = [table.column(field).to_pylist() for field in table.column_names]
    return [row_type(*values) for values in zip(*columns, strict=True)]


def rows_on_disk(folder: Path, row_type: type, name: str = "rows.parquet") -> pads.Dataset:
    """The rows of a complete stage's folder, not read yet. Raises ArtifactError or DataError."""
    path = _rows_file(folder, name)
    check_table(parquet_file(path).schema_arrow.empty_table(), row_type, path)
    return pads.dataset(str(path), schema=arrow_schema(row_type), format="parquet")


def _rows_file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage {folder.name} first")
    return path


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file's table, or some columns of it. Raises ArtifactError where it is corrupt."""
    opened = parquet_file(path)
    try:
        return opened.read(columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise _corrupt(path, error) from None


def parquet_rows(path: Path | RemoteFile) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, read a piece at a time. Raises ArtifactError where it is corrupt."""
    opened = parquet_file(path)
    try:
        for batch in opened.iter_batches():
            yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise _corrupt(path, error) from None


def parquet_file(path: Path | RemoteFile) -> pq.ParquetFile:
    """An open Parquet file, its rows not read yet. Raises ArtifactError where it is none."""
    try:
        return pq.ParquetFile(path.binary() if isinstance(path, RemoteFile) else path)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise _corrupt(path, error) from None


def _corrupt(path: Path | RemoteFile, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})")


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSON object per line."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Add a line to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines that runs append to; [] where there is none. A line that a kill cut is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def replace_folder(new: Path, old: Path) -> None:
    """Rename `new` over `old`."""
    if old.exists():
        gone = old.with_name(f"{old.name}.tmp-old")
        shutil.rmtree(gone, ignore_errors=True)
        old.rename(gone)
        new.rename(old)
        shutil.rmtree(gone)
    else:
        new.rename(old)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ArtifactError(f"{folder.parent}: a file stands where a folder is needed; choose another output_dir") from None
    except PermissionError:
        raise ArtifactError(f"{folder.parent}: no permission to write here; choose another output_dir") from None


@lru_cache(maxsize=1)
def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
