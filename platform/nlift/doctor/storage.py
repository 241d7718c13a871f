"""Folders that are written to: space, rights, and the memory that Ray's objects are shared in."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nlift.data import transfer
from nlift.doctor.finding import Finding
from nlift.errors import NliftError
from nlift.visible import size_text

SHARED_MEMORY = Path("/dev/shm")
LITTLE, TOO_LITTLE = 5 * 2**30, 2**30  # bytes; the demo writes 0.6 GB
FEW_FILES = 10_000
SHARE_OF_RAY = 0.3  # of the memory: what Ray's object store takes


def folder(path: Path, setting: str) -> Iterator[Finding]:
    """Whether a folder that a setting names can be made and written to, and what room there is."""
    there = next((parent for parent in (path, *path.parents) if _exists(parent)), Path("/"))
    if not there.is_dir():
        yield Finding("wrong", setting, f"{there} is a file where a folder is needed", f"choose another {setting}")
        return
    try:
        with tempfile.TemporaryFile(dir=there) as file:  # tried: bits of rights are not all
            file.write(b".")
    except OSError as error:
        yield Finding("wrong", setting, f"{there}: {os.strerror(error.errno or 0)}", f"choose another {setting}")
        return
    free, files = shutil.disk_usage(there).free, os.statvfs(there)
    fix = f"free some (`nlift clean`), or choose another {setting}"
    if files.f_files and files.f_favail < FEW_FILES:
        yield Finding("wrong", setting, f"{path}: {files.f_favail} more files fit, by their number (inodes)", fix)
    state = "wrong" if free < TOO_LITTLE else "note" if free < LITTLE else "ok"
    yield Finding(state, setting, f"{path}: {size_text(free)} free", "" if state == "ok" else fix)  # type: ignore[arg-type]


def store(uri: str, setting: str) -> Finding:
    """Whether anything can be written under the URI that a setting names."""
    try:
        transfer.probe(uri, setting)
    except NliftError as error:
        return Finding("wrong", setting, str(error).removeprefix(f"{setting} "), f"choose another {setting}")
    return Finding("ok", setting, f"{uri}: can be written to")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def shared_memory(memory: int, path: Path = SHARED_MEMORY) -> Finding:
    """Whether Ray's objects have room in shared memory; `memory` is the machine's, bytes."""
    if not path.is_dir():
        return Finding("ok", "shared memory", f"no {path} here: Ray keeps objects in its temporary folder")
    free, wanted = shutil.disk_usage(path).free, SHARE_OF_RAY * memory
    if free < wanted:
        text = f"{path} has {size_text(free)} free, Ray wants {size_text(wanted)}: it keeps objects in /tmp, slower"
        return Finding("note", "shared memory", text, "in a container, start it with more, as docker run --shm-size=8g")
    return Finding("ok", "shared memory", f"{path}, {size_text(free)} free")
