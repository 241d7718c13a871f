"""Files that a URI names (s3://, gs://, file://), read by Arrow's file systems.

Credentials come from the environment, as the cloud's own tools take them.
"""

import hashlib
import io
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TextIO, cast
from urllib.parse import quote

from nlift.errors import DataError, first_line

WILD = "*?["


@dataclass(frozen=True)
class RemoteFile:
    """A file of a URI; opens as a `Path` does."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.uri).suffix

    def open(self, encoding: str, errors: str = "strict", newline: str | None = None) -> TextIO:
        """The file as a stream of text, not read beforehand. Raises DataError where it cannot be opened."""
        return io.TextIOWrapper(self.binary(), encoding=encoding, errors=errors, newline=newline)

    def binary(self) -> BinaryIO:
        """The file as bytes, with seek. Raises DataError where it cannot be opened."""
        files, path = filesystem(self.uri)
        try:
            return cast(BinaryIO, files.open_input_file(path))
        except OSError as error:
            raise _unreadable(self.uri, error) from None

    def fingerprint(self) -> str:
        """Hash of name, size and time of change, 16 hexadecimal digits: the content is not fetched for it."""
        files, path = filesystem(self.uri)
        info = files.get_file_info(path)
        return hashlib.sha256(f"{self.uri}\0{info.size}\0{info.mtime_ns}".encode()).hexdigest()[:16]


def filesystem(uri: str) -> tuple[Any, str]:
    """Arrow's file system of a URI or of an absolute path, and the path in it.

    Raises DataError for a URI of no known kind.
    """
    from pyarrow.fs import FileSystem
    from pyarrow.lib import ArrowInvalid

    try:
        return FileSystem.from_uri(uri)
    except (ArrowInvalid, OSError) as error:
        raise _unreadable(uri, error) from None


def is_local(files: Any) -> bool:
    """Whether a file system is this machine's."""
    from pyarrow.fs import LocalFileSystem

    return isinstance(files, LocalFileSystem)


def listed(files: Any, folder: str) -> list[str]:
    """The paths of the files in a folder, sorted; [] where there is none. Raises DataError where it cannot be read."""
    from pyarrow.fs import FileSelector, FileType

    try:
        infos = files.get_file_info(FileSelector(folder, allow_not_found=True))
    except OSError as error:
        raise _unreadable(folder, error) from None
    return sorted(info.path for info in infos if info.type == FileType.File)


def find(uri: str) -> list[RemoteFile]:
    """The file of a URI, or all that match where its name has wild cards. Raises DataError where there is none."""
    from pyarrow.fs import FileSelector, FileType

    scheme, _, rest = uri.partition("://")
    parts = rest.split("/")
    fixed = next((i for i, part in enumerate(parts) if any(character in part for character in WILD)), len(parts))
    files, base = filesystem(f"{scheme}://{'/'.join(parts[:fixed])}")
    try:
        pattern = "/".join([base.rstrip("/"), *parts[fixed:]])
        if files.get_file_info(pattern).type == FileType.File:  # whatever brackets and stars its name holds
            paths = [pattern]
        elif fixed == len(parts):
            paths = []
        else:
            infos = files.get_file_info(FileSelector(base, recursive=True))
            paths = sorted(info.path for info in infos if info.type == FileType.File and fnmatch(info.path, pattern))
        prefix = f"{scheme}://{'/'.join(parts[:fixed])}".rstrip("/")
        names = [path[len(base.rstrip("/")) + 1 :] for path in paths]
        uris = [f"{prefix}/{quote(name)}" if name else prefix for name in names]
    except OSError as error:
        raise _unreadable(uri, error) from None
    if not uris:
        raise DataError(f"{uri}: no such file")
    return [RemoteFile(uri) for uri in uris]


def remove_folder(uri: str) -> None:
    """Remove a folder and all that is in it. Raises DataError where that cannot be done."""
    files, path = filesystem(uri)
    try:
        files.delete_dir(path)
    except OSError as error:
        raise DataError(f"{uri}: cannot be removed: {first_line(error)}") from None


def _unreadable(uri: str, error: Exception) -> DataError:
    return DataError(f"{uri}: cannot be read: {first_line(error)}")
