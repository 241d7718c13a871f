"""`nlift clean` of an output_dir that is a URI: contents that do not count any more, and work that was cut.

No lock tells who is at work there, so only what is a day old is listed, or older.
"""

import re
import time
from dataclasses import dataclass, field

from nlift.data import transfer
from nlift.data.stored_folder import ADDRESS, POINTER, StoredFolder
from nlift.errors import ArtifactError
from nlift.pipeline.clean import DAY_S
from nlift.pipeline.output_folder import STAGE_NAMES

LEAST_DAYS = 1.0
WORK = re.compile(rf"({'|'.join(STAGE_NAMES)})\.tmp-[0-9a-f]{{8}}(-[0-9a-f]{{8}})?")


@dataclass
class StoredLeftover:
    """What nothing uses under a URI."""

    uri: str
    why: str
    frees: int = 0
    """Bytes."""
    changed: float = field(default=0.0, repr=False)
    """When, in seconds since 1970."""


def clean(uri: str, older_than: float | None = None, *, remove: bool = False) -> list[StoredLeftover]:
    """What nothing uses under the URI of an output_dir, or of a run, and where `remove` says so without it afterwards.

    `older_than` are days. Raises ArtifactError where nlift wrote nothing there.
    """
    files = transfer.details(uri)
    if not any(name.endswith(f"/{POINTER}") for name in files):
        raise ArtifactError(f"{uri}: nothing of nlift there; expected an output_dir, as s3://bucket/runs")
    by_name: dict[str, StoredLeftover] = {}
    counting: dict[str, str | None] = {}
    for name, (size, changed) in files.items():
        parts = name.split("/")
        for end, part in enumerate(parts[:-1]):
            inner, above = "/".join(parts[: end + 1]), "/".join(parts[:end])
            if WORK.fullmatch(part):
                _add(by_name, uri, inner, "left by work that was cut", size, changed)
                break
            if ADDRESS.fullmatch(part):
                if above not in counting:
                    counting[above] = StoredFolder(transfer.joined(uri, above)).counting()
                if counting[above] != part:
                    _add(by_name, uri, inner, "another result has taken its place", size, changed)
                break
    newest = time.time() - max(older_than or 0.0, LEAST_DAYS) * DAY_S
    leftovers = [leftover for _, leftover in sorted(by_name.items()) if leftover.changed < newest]
    for leftover in leftovers if remove else ():
        transfer.remove(leftover.uri)
    return leftovers


def _add(by_name: dict[str, StoredLeftover], uri: str, name: str, why: str, size: int, changed: float) -> None:
    leftover = by_name.setdefault(name, StoredLeftover(transfer.joined(uri, name), why))
    leftover.frees += size
    leftover.changed = max(leftover.changed, changed)
