"""A folder of bundles under a URI: versions are stored folders, names are changed by writes with a condition.

What is asked of it is a folder of this machine that has the versions that are wanted.
"""

import json
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlift import uris
from nlift.data import transfer
from nlift.data.conditional_write import changed
from nlift.data.files import read_jsonl, write_json
from nlift.data.stored_folder import StoredFolder
from nlift.errors import ArtifactError
from nlift.search import aliases
from nlift.search.aliases import ALIASES, LOG, PRODUCTION
from nlift.search.bundle_format import INFO, read_info


def copies(uri: str) -> Path:
    """Where this machine has what it needs of a folder of bundles."""
    return uris.mirror(uri, "bundles")


def resolve(path: Path | str, alias: str = PRODUCTION) -> Path:
    """The bundle that a path or a URI means, on this machine: itself, or a version of a folder of bundles.

    Raises ArtifactError as `aliases.resolve`, ResourceError where the store does not answer.
    """
    if not uris.is_remote(str(path)):
        return aliases.resolve(Path(path), alias)
    uri = str(path).rstrip("/")
    names = read_aliases(uri)
    if not names and INFO in transfer.sizes(uri):
        raise ArtifactError(f"{uri}: expected the folder of bundles that it is in, {uri.rpartition('/')[0]}")
    if alias not in names:
        known = f"; there is {', '.join(sorted(names))}" if names else ": no folder of bundles"
        raise ArtifactError(f"{uri}: no alias {alias!r} in {ALIASES}{known}")
    return fetched(uri, names[alias], copies(uri))


def read_aliases(uri: str) -> dict[str, str]:
    """Versions by alias; {} where there is no aliases.json."""
    return _parsed(transfer.read(transfer.joined(uri, ALIASES)), uri)


def versions(uri: str) -> dict[str, dict[str, Any]]:
    """What bundle.json says of every version, the newest last."""
    infos = {}
    for name in transfer.folders(uri):
        info = StoredFolder(transfer.joined(uri, name)).about()
        if info is not None and info.get("version") == name:
            infos[name] = info
    return dict(sorted(infos.items(), key=lambda item: (str(item[1].get("created", "")), item[0])))


def fetched(uri: str, version: str, into: Path) -> Path:
    """A version's folder in one of this machine. Raises ArtifactError where there is no such version."""
    folder = into / version
    if not version or version.startswith(".") or "/" in version:
        raise ArtifactError(f"{uri}: no version {version!r}")
    if not (folder / INFO).is_file():
        store = StoredFolder(transfer.joined(uri, version))
        if store.about() is None:
            raise ArtifactError(f"{uri}: no version {version!r}; found {', '.join(versions(uri)) or 'none'}")
        store.fetch(folder)
    return folder


def fetch(uri: str, into: Path, wanted: Collection[str] = ()) -> None:
    """Let a folder of this machine have what names mean, those versions, the newest, and the versions in `wanted`."""
    into.mkdir(parents=True, exist_ok=True)
    names = read_aliases(uri)
    for version in {*names.values(), *list(versions(uri))[-1:], *wanted}:
        fetched(uri, version, into)
    log = transfer.read(transfer.joined(uri, LOG))
    (into / LOG).write_bytes(log or b"")
    write_json(into / ALIASES, names)


def carry_over(bundles: Path | str, into: Path) -> None:
    """Let a new folder of bundles have versions of another one, of a path or a URI, and what they are called.

    Of a path it is all that are whole, of a URI those that names mean and the newest.
    """
    if uris.is_remote(str(bundles)):
        fetch(str(bundles), into)
    else:
        aliases.carry_over(Path(bundles), into)


def publish(bundles: Path, uri: str) -> None:
    """Let a URI have the versions of a folder of this machine, and then the names that were changed in it."""
    for version in aliases.versions(bundles, whole=True):
        store = StoredFolder(transfer.joined(uri, version))
        if store.about() is None:
            store.publish(bundles / version, read_info(bundles / version))
    _change_names(bundles, uri)


@contextmanager
def building(path: Path | str) -> Iterator[tuple[Path, str | None]]:
    """A folder of this machine to build a version in, and the URI by which workers get and leave files.

    What is built is taken where the path leads, if it is a URI; the second is None where it is none.
    """
    if not uris.is_remote(str(path)):
        yield Path(path), None
        return
    uri = str(path).rstrip("/")
    transfer.probe(uri, "--output")
    folder, work = copies(uri), f"{uri}.tmp-{uris.cache_id()}"
    fetch(uri, folder)
    yield folder, work
    publish(folder, uri)
    transfer.remove(work)


@contextmanager
def listed(path: Path | str) -> Iterator[Path]:
    """A folder of bundles as one of this machine to look at: of a URI it has names, and bundle.json of each version."""
    if not uris.is_remote(str(path)):
        yield Path(path)
        return
    uri = str(path).rstrip("/")
    infos = versions(uri)
    if not infos:
        raise ArtifactError(f"{uri}: no bundles there; expected a folder of bundles as s3://bucket/runs/demo/index")
    with tempfile.TemporaryDirectory() as name:
        for version, info in infos.items():
            Path(name, version).mkdir()
            write_json(Path(name, version, INFO), info)
        write_json(Path(name, ALIASES), read_aliases(uri))
        yield Path(name)


@contextmanager
def changing(path: Path | str, *wanted: str) -> Iterator[Path]:
    """A folder of bundles as a folder of this machine, with some versions; what names mean after the block counts."""
    if not uris.is_remote(str(path)):
        yield Path(path)
        return
    uri = str(path).rstrip("/")
    folder = copies(uri)
    fetch(uri, folder, wanted)
    yield folder
    _change_names(folder, uri)


def _change_names(bundles: Path, uri: str) -> None:
    """Let a URI have the rows that this machine's log of names has and its own has not, and what they say."""
    log = transfer.joined(uri, LOG)
    known = _rows(transfer.read(log))
    rows = [row for row in read_jsonl(bundles / LOG) if row not in known]
    names = {row["alias"]: row["version"] for row in rows}
    if not rows:
        return

    def named(before: bytes | None) -> bytes:
        return (json.dumps({**_parsed(before, uri), **names}, indent=2) + "\n").encode()

    def logged(before: bytes | None) -> bytes:
        there = _rows(before)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row not in there)
        return (before or b"") + "".join(lines).encode()

    changed(transfer.joined(uri, ALIASES), named)
    changed(log, logged)


def _rows(content: bytes | None) -> list[Any]:
    return [json.loads(line) for line in (content or b"").decode().split("\n") if line.strip()]


def _parsed(content: bytes | None, uri: str) -> dict[str, str]:
    try:
        names = json.loads(content or b"{}")
        if not isinstance(names, dict) or not all(isinstance(version, str) for version in names.values()):
            raise ValueError
    except ValueError:
        raise ArtifactError(f"{uri}/{ALIASES}: not a JSON object of names and versions; {aliases.ADVICE}") from None
    return names
