"""Files taken to and from a URI: tried again where the network fails; what fails for good is a line with its fix."""

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from nlift.data import remote
from nlift.errors import NliftError, ResourceError, first_line

FULL = (errno.ENOSPC, errno.EDQUOT)
PIECE = 8 * 2**20  # bytes that are read or written at a time
AT_ONCE = 8  # files that travel beside each other
WAITS_S = (1.0, 4.0)  # before a second and a third try; Arrow's own tries take seconds too
FIXES = {  # what is in an error's text, and what to do about it
    "NO_SUCH_BUCKET": "there is no such bucket; create it, or name another",
    "does not exist": "there is no such bucket; create it, or name another",
    "ACCESS_DENIED": "no right to it; let the role or key that this process has read, write, list and delete there",
    "HTTP response code 403": "no right to it; let the role or key that this process has read and write there",
    "INVALID_ACCESS_KEY_ID": "the key is not known there; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "SIGNATURE_DOES_NOT_MATCH": "the secret is not the key's; set AWS_SECRET_ACCESS_KEY",
    "redentials": "no credentials; set them as the cloud's own tools take them, as AWS_PROFILE or a role",
}
NETWORK = "the network or the store does not answer; what was finished is kept here, run again to go on"
T = TypeVar("T")


def put(file: Path, uri: str) -> None:
    """Copy a file to a URI, where it appears when it is complete. Raises ResourceError."""
    with file.open("rb") as source:

        def copy(stream: Any) -> None:
            source.seek(0)
            while piece := source.read(PIECE):
                stream.write(piece)

        _tried(lambda: _written(uri, copy), uri)


def write(uri: str, content: bytes) -> None:
    """Let a URI hold these bytes, all or none of them. Raises ResourceError."""
    _tried(lambda: _written(uri, lambda stream: stream.write(content)), uri)


def read(uri: str) -> bytes | None:
    """What a URI holds; None where nothing is there. Raises ResourceError."""

    def whole() -> bytes | None:
        files, path = _place(uri)
        try:
            with files.open_input_file(path) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    return _tried(whole, uri)


def get(uri: str, target: Path) -> str | None:
    """Copy what a URI holds into a file, and its sha256; None where nothing is there. Raises ResourceError."""

    def copy() -> str | None:
        files, path = _place(uri)
        digest = hashlib.sha256()
        try:
            with files.open_input_stream(path) as source, target.open("wb") as stream:
                while piece := source.read(PIECE):
                    stream.write(piece)
                    digest.update(piece)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    target.parent.mkdir(parents=True, exist_ok=True)
    return _tried(copy, uri)


def sizes(uri: str) -> dict[str, int]:
    """The files under a URI, those in its folders too: bytes by name. Raises ResourceError."""
    return {name: size for name, (size, _) in details(uri).items()}


def details(uri: str) -> dict[str, tuple[int, float]]:
    """The files under a URI, those in its folders too: bytes, and when each was written, in seconds since 1970."""
    from pyarrow.fs import FileSelector, FileType

    def listed() -> dict[str, tuple[int, float]]:
        files, path = _place(uri)
        infos = files.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
        start = len(path.rstrip("/")) + 1
        return {
            info.path[start:]: (info.size, (info.mtime_ns or 0) / 1e9) for info in infos if info.type == FileType.File
        }

    return _tried(listed, uri)


def folders(uri: str) -> list[str]:
    """The names of the folders in one; [] where there is none. Raises ResourceError."""
    from pyarrow.fs import FileSelector, FileType

    def listed() -> list[str]:
        files, path = _place(uri)
        infos = files.get_file_info(FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in infos if info.type == FileType.Directory)

    return _tried(listed, uri)


def upload(folder: Path, uri: str) -> None:
    """Copy the files of a folder, those in its folders too. Raises ResourceError."""
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    beside(names, lambda name: put(folder / name, joined(uri, name)))


def download(uri: str, folder: Path) -> None:
    """Copy what stands under a URI into a folder. Raises ResourceError."""
    beside(sizes(uri), lambda name: get(joined(uri, name), folder / name))


def remove(uri: str) -> None:
    """Remove what stands under a URI; nothing where nothing does. Raises DataError."""
    if sizes(uri):
        remote.remove_folder(uri)


def remove_file(uri: str) -> None:
    """Remove a file; nothing where there is none. Raises ResourceError."""

    def gone() -> None:
        files, path = _place(uri)
        with suppress(FileNotFoundError):
            files.delete_file(path)

    _tried(gone, uri)


def probe(uri: str, setting: str) -> None:
    """Raise NliftError where nothing can be written under the URI of a setting, or removed."""
    probed = joined(uri, f".nlift-{uuid.uuid4().hex}")
    try:
        write(probed, b"")
        remove_file(probed)
    except NliftError as error:
        raise type(error)(f"{setting} {uri}: {str(error).removeprefix(f'{probed}: ')}") from None


def joined(uri: str, name: str) -> str:
    """The URI of a file or folder in one."""
    return f"{uri.rstrip('/')}/{quote(name)}"


def beside(names: Iterable[str], work: Callable[[str], object]) -> None:
    """Call a function with each name, some at a time; the first error is raised."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in threads.map(work, names):
            pass


def _written(uri: str, fill: Callable[[Any], object]) -> None:
    files, path = _place(uri)
    if not remote.is_local(files):
        with files.open_output_stream(path) as stream:
            fill(stream)
        return
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    files.create_dir(os.path.dirname(path))
    with files.open_output_stream(temporary) as stream:
        fill(stream)
    os.replace(temporary, path)


def _place(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path in it."""
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return remote.filesystem(uri)
    bucket, _, path = rest.partition("/")
    files, base = _files(f"{scheme}://{bucket}")
    return files, f"{base.rstrip('/')}/{unquote(path)}"


@lru_cache(maxsize=64)
def _files(bucket: str) -> tuple[Any, str]:
    return remote.filesystem(bucket)  # asks where the bucket is: once


def _tried(work: Callable[[], T], uri: str) -> T:
    """What a function returns; tried again where trying may help. Raises ResourceError."""
    for wait_s in (*WAITS_S, None):
        try:
            return work()
        except OSError as error:
            if error.errno in FULL or isinstance(error.filename, (str, os.PathLike)):
                raise  # of this machine
            text = first_line(error)
            fix = next((fix for part, fix in FIXES.items() if part in text), None)
            if fix is not None or wait_s is None:
                raise ResourceError(f"{uri}: {fix or NETWORK} ({text})") from None
            time.sleep(wait_s)
    raise AssertionError  # the last try returns or raises
