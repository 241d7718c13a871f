"""A folder of bundles: which version each name means, and which it meant before."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nlift.data.files import append_jsonl, link_or_copy, read_jsonl, write_json
from nlift.errors import ArtifactError, first_line
from nlift.search.bundle_format import INFO, is_whole, read_info, verify

PRODUCTION, CANDIDATE = "production", "candidate"
ALIASES, LOG, LOCK = "aliases.json", "aliases.log.jsonl", ".aliases.lock"
ADVICE = "delete it, and `nlift promote` sets the names again"
ROLLBACK = "rollback"


def promote(bundles: Path, version: str, alias: str = PRODUCTION, *, by: str = "promote", **why: Any) -> None:
    """Let `alias` mean `version` from now on, and write into the log since when, what it meant before, and `why`.

    Raises ArtifactError where there is no such version, or the alias's name is none.
    """
    check_version(bundles, version)
    if not alias.isidentifier():
        raise ArtifactError(f"alias {alias!r}: expected a name of letters, digits and _, as candidate")
    with alone(bundles):
        aliases = read_aliases(bundles)
        write_json(bundles / ALIASES, {**aliases, alias: version})
        row = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "by": by, "alias": alias}
        append_jsonl(bundles / LOG, {**row, "version": version, "before": aliases.get(alias), **why})


@contextmanager
def alone(bundles: Path) -> Iterator[None]:
    """Let nobody else change what names mean until the block ends."""
    with (bundles / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def rollback(bundles: Path, alias: str = PRODUCTION) -> str:
    """Let an alias mean the version that it meant before; that version.

    Called again it goes one version further back. Raises ArtifactError where there is none before.
    """
    meant = history(bundles, alias)
    if len(meant) < 2:
        now = f"{alias} is {meant[0]}" if meant else f"there is no alias {alias!r}"
        raise ArtifactError(f"{bundles / LOG}: {now}, and no version before; `nlift promote` sets another")
    check_version(bundles, meant[-2])
    verify(bundles / meant[-2], read_info(bundles / meant[-2]))
    promote(bundles, meant[-2], alias, by=ROLLBACK)
    return meant[-2]


def history(bundles: Path, alias: str) -> list[str]:
    """The versions that an alias meant, each after the one it replaced, the current one last.

    What was rolled back is not among them.
    """
    versions: list[str] = []
    for row in read_jsonl(bundles / LOG):
        if not isinstance(row, dict) or row.get("alias") != alias:
            continue
        if row.get("by") == ROLLBACK:
            versions = versions[:-1]
        elif versions[-1:] != [row["version"]]:
            versions.append(row["version"])
    current = read_aliases(bundles).get(alias)
    if current is not None and versions[-1:] != [current]:  # set by hand, or the log is gone
        versions.append(current)
    return versions


def versions(bundles: Path, *, whole: bool = False) -> list[str]:
    """The versions in a folder of bundles, the newest last; `whole`: those alone that can be loaded.

    Raises ArtifactError where there is no such folder.
    """
    if not bundles.is_dir():
        raise ArtifactError(f"{bundles}: no such folder; expected a folder of bundles as runs/demo/index")
    folders = [path.parent for path in bundles.glob(f"*/{INFO}") if not path.parent.name.startswith(".")]
    created = {folder.name: _created(folder) for folder in folders if not whole or is_whole(folder)}
    return sorted(created, key=lambda name: (created[name], name))


def _created(folder: Path) -> str:
    try:
        return str(read_info(folder).get("created", ""))
    except ArtifactError:
        return ""


def read_aliases(bundles: Path) -> dict[str, str]:
    """Versions by alias; {} where there is no aliases.json."""
    path = bundles / ALIASES
    if not path.is_file():
        return {}
    try:
        aliases = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:  # the folder is being replaced
        return {}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not readable as JSON ({first_line(error)}); {ADVICE}") from None
    if not isinstance(aliases, dict) or not all(isinstance(version, str) for version in aliases.values()):
        raise ArtifactError(f"{path}: not a JSON object of names and versions; {ADVICE}")
    return aliases


def resolve(path: Path, alias: str = PRODUCTION) -> Path:
    """The bundle that a path means: itself, or a bundles folder's version of `alias`."""
    if (path / INFO).is_file():
        return path
    if not path.is_dir():
        raise ArtifactError(f"{path}: no such folder; expected a bundle, or a folder of bundles as runs/demo/index")
    aliases = read_aliases(path)
    if alias not in aliases:
        known = f"; there is {', '.join(sorted(aliases))}" if aliases else ": neither bundle nor bundles folder"
        raise ArtifactError(f"{path}: no {INFO}, no alias {alias!r} in {ALIASES}{known}")
    folder = path / aliases[alias]
    if not (folder / INFO).is_file():
        raise ArtifactError(f"{path / ALIASES}: {alias} is {aliases[alias]!r}, which is not in {path}")
    return folder


def carry_over(bundles: Path, into: Path) -> None:
    """Let a new folder of bundles have the whole versions of another one, by links, and what they are called."""
    if not bundles.is_dir():
        return
    kept = [name for name in versions(bundles, whole=True) if not (into / name).exists()]
    for name in kept:
        shutil.copytree(bundles / name, into / f".{name}.tmp", copy_function=link_or_copy, dirs_exist_ok=True)
        (into / f".{name}.tmp").rename(into / name)
    if (bundles / LOG).is_file():
        shutil.copy2(bundles / LOG, into / LOG)
    there = {alias: version for alias, version in read_aliases(bundles).items() if (into / version / INFO).is_file()}
    write_json(into / ALIASES, there)


def check_version(bundles: Path, version: str) -> None:
    """Raise ArtifactError where a folder of bundles has no such version."""
    if not version or version.startswith(".") or "/" in version or not (bundles / version / INFO).is_file():
        known = ", ".join(sorted(path.parent.name for path in bundles.glob(f"*/{INFO}"))) or "none"
        raise ArtifactError(f"{bundles}: no version {version!r}; found {known}")
