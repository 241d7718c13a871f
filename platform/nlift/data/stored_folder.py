"""A folder that stands under a URI, and its copies on the machines that read it.

Its content has an address of its own, `<uri>/<hash>/`, with `files.json` beside the files: name, size and sha256 of
each, whose hash is that of the address. What is written there never changes. `<uri>/folder.json`, written last, says
which content counts: a folder is there whole or not at all, and who reads one while another takes its place keeps it.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlift import uris
from nlift.data import transfer
from nlift.data.files import link_or_copy, replace_folder, write_json
from nlift.errors import ArtifactError

POINTER, LISTING, MARK = "folder.json", "files.json", ".stored.json"
ADDRESS = re.compile(r"[0-9a-f]{32}")
Files = dict[str, tuple[int, str]]


@dataclass(frozen=True)
class StoredFolder:
    """A folder under a URI."""

    uri: str

    def about(self) -> dict[str, Any] | None:
        """What was written down with its content; None where there is none."""
        pointer = self._pointer()
        return None if pointer is None else pointer["about"]

    def counting(self) -> str | None:
        """The name of the content that counts; None where there is none."""
        pointer = self._pointer()
        return None if pointer is None else str(pointer["folder"])

    def publish(self, folder: Path, about: dict[str, Any], leave: Collection[str] = (), mark: bool = True) -> str:
        """Let it have the content of a folder of this machine, all of it before anybody sees any; its address.

        Files that an upload that was cut has left there already are not sent again. `leave` are names in the folder
        that stay here; `mark` lets `place` know the folder, which then must not become a part of another one. Raises
        ResourceError.
        """
        files = _listed(folder, leave)
        text = _as_text(files)
        address = f"{self.uri}/{_hash(text)}"
        there = transfer.sizes(address)
        missing = [name for name, (size, _) in files.items() if there.get(name) != size]
        transfer.beside(missing, lambda name: transfer.put(folder / name, transfer.joined(address, name)))
        transfer.write(f"{address}/{LISTING}", text.encode())
        pointer = {"folder": _hash(text), "about": about}
        transfer.write(f"{self.uri}/{POINTER}", json.dumps(pointer, ensure_ascii=False, indent=2).encode())
        if mark:
            write_json(folder / MARK, {"address": address})
        if not leave:
            _keep(folder, files, _hash(text))
        return address

    def fetch(self, target: Path) -> None:
        """Let a folder of this machine be a copy of it, checked, in place of what was there.

        Raises ArtifactError where nothing is there, or it is not what was written; ResourceError.
        """
        pointer = self._pointer()
        if pointer is None:
            raise ArtifactError(f"{self.uri}: no {POINTER} there: nlift stored nothing, or not all of it")
        address = f"{self.uri}/{pointer['folder']}"
        copy = local_copy(address)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex}.tmp")
        shutil.copytree(copy, temporary, copy_function=link_or_copy)
        (temporary / LISTING).unlink()
        write_json(temporary / MARK, {"address": address})
        try:
            replace_folder(temporary, target)
        except OSError:  # another process of this machine was first
            shutil.rmtree(temporary, ignore_errors=True)
            if place(target) != address:
                raise

    def _pointer(self) -> dict[str, Any] | None:
        content = transfer.read(f"{self.uri}/{POINTER}")
        if content is None:
            return None
        try:
            pointer = json.loads(content)
            if not ADDRESS.fullmatch(pointer["folder"]) or not isinstance(pointer["about"], dict):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise ArtifactError(f"{self.uri}/{POINTER}: not written by nlift; remove it, and run again") from None
        return dict(pointer)


def place(path: Path) -> str:
    """Where a worker of any machine finds a file or folder: the address of its content, else the path as it is."""
    path = path.absolute()
    for folder in (path, *path.parents):
        with suppress(OSError, ValueError):
            address = json.loads((folder / MARK).read_text(encoding="utf-8"))["address"]
            inner = path.relative_to(folder).as_posix()
            return str(address) if inner == "." else transfer.joined(address, inner)
    return str(path)


def local_copy(text: str | Path) -> Path:
    """The path, on this machine, of what a path or URI means: what a URI has is fetched once, and checked.

    A URI is a stored folder's, an address, or that of what is in one of these. Raises ArtifactError where nothing is
    there, or it is not what was written; ResourceError.
    """
    if not uris.is_remote(str(text)):
        return Path(text)
    address, inner = _address(str(text).rstrip("/"))
    copy = uris.cache_folder() / "folders" / address.rpartition("/")[2]
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not _is_whole(copy):
        with copy.with_suffix(".lock").open("w") as lock:
            with suppress(OSError):  # of a file system that has no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_whole(copy):
                _download(address, copy)
    if not (copy / inner).exists():
        raise ArtifactError(f"{text}: no such file or folder in {address}")
    return copy / inner


def _address(uri: str) -> tuple[str, str]:
    """The address that a URI begins with, and what follows; a stored folder's is looked up."""
    parts = uri.split("/")
    for end, part in enumerate(parts):
        if end > 2 and ADDRESS.fullmatch(part):
            return "/".join(parts[: end + 1]), "/".join(parts[end + 1 :])
    for end in range(len(parts), 3, -1):
        pointer = StoredFolder("/".join(parts[:end]))._pointer()
        if pointer is not None:
            return "/".join([*parts[:end], pointer["folder"]]), "/".join(parts[end:])
    raise ArtifactError(
        f"{uri}: nlift stored no such folder there, or not all of it; expected that of a finished stage"
    )


def _download(address: str, copy: Path) -> None:
    """Fetch and check a content; what is there afterwards is whole."""
    listing = transfer.read(f"{address}/{LISTING}")
    if listing is None or _hash(listing.decode()) != address.rpartition("/")[2]:
        raise ArtifactError(f"{address}/{LISTING}: missing or changed; remove {address}, and run again what made it")
    files: Files = json.loads(listing)
    temporary = copy.with_name(f".{copy.name}-{uuid.uuid4().hex}.tmp")

    def fetched(name: str) -> None:
        for _ in range(2):  # a transfer may have gone wrong
            if transfer.get(transfer.joined(address, name), temporary / name) == files[name][1]:
                return
        raise ArtifactError(
            f"{transfer.joined(address, name)}: missing, or not what was written (checksum differs); remove {address}, "
            "and run again what made it"
        )

    try:
        temporary.mkdir()
        transfer.beside(files, fetched)
        (temporary / LISTING).write_bytes(listing)
        shutil.rmtree(copy, ignore_errors=True)  # damaged
        temporary.rename(copy)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _keep(folder: Path, files: Files, name: str) -> None:
    """Let workers of this machine find what was just sent without fetching it, by links."""
    copy = uris.cache_folder() / "folders" / name
    if copy.exists():
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    temporary = copy.with_name(f".{copy.name}-{uuid.uuid4().hex}.tmp")
    for inner in files:
        (temporary / inner).parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(folder / inner, temporary / inner)
    temporary.mkdir(exist_ok=True)
    (temporary / LISTING).write_text(_as_text(files), encoding="utf-8")
    with suppress(OSError):  # another process was first
        temporary.rename(copy)
    shutil.rmtree(temporary, ignore_errors=True)


def _is_whole(copy: Path) -> bool:
    """Whether a copy has all files in their sizes; their content was checked when they came."""
    try:
        files = json.loads((copy / LISTING).read_text(encoding="utf-8"))
        return all(os.stat(copy / name).st_size == size for name, (size, _) in files.items())
    except (OSError, ValueError):
        return False


def _listed(folder: Path, leave: Collection[str]) -> Files:
    """Size and sha256 of a folder's files by name, in order."""
    files: Files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in leave and path.name != MARK:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            files[name.as_posix()] = (path.stat().st_size, digest)
    return files


def _as_text(files: Files) -> str:
    return json.dumps(files, sort_keys=True)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
