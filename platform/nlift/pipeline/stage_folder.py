"""The folder of a stage's result, how it is written, and its manifest.

A stage writes into `<stage>.tmp-<fingerprint>`, its manifest last, and the folder is then renamed over `<stage>`: what
stands under a stage's name is complete and of one piece. The name of the temporary folder follows from the inputs and
settings alone, so a stage that can go on after a crash finds what it had.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nlift import __version__
from nlift.data import sources, work_claim
from nlift.data.files import PIECE, append_jsonl, replace_folder, write_json
from nlift.data.schema import arrow_schema, to_table
from nlift.data.stored_folder import StoredFolder
from nlift.errors import ArtifactError

LONGEST_NAME = 255  # of a file, on the systems of our users
MANIFEST = "manifest.json"
QUARANTINE = "quarantine.jsonl"
PACKAGES = ("ray", "torch", "transformers", "unbabel-comet", "numpy", "pyarrow")


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
        remaining = iter(rows)
        pieces = iter(lambda: list(islice(remaining, PIECE)), [])
        self.write_tables((to_table(piece, row_type) for piece in pieces), row_type, name)

    def write_tables(self, tables: Iterable[pa.Table], row_type: type, name: str = "rows.parquet") -> None:
        """Write tables of a row type's schema as one Parquet file, and count their rows."""
        self.rows_out = 0
        with pq.ParquetWriter(self.path / name, arrow_schema(row_type)) as writer:
            for table in tables:
                writer.write_table(table)
                self.rows_out += len(table)


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
