"""What is told of a URI without opening it, and where this machine keeps what it has of one."""

import os
import uuid
from contextlib import suppress
from pathlib import Path


def is_remote(path: str) -> bool:
    """Whether a path is a URI."""
    return "://" in path


def cache_folder() -> Path:
    """Where this machine keeps copies of what is elsewhere: `$XDG_CACHE_HOME/nlift`, else `~/.cache/nlift`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "nlift"


def cache_id() -> str:
    """What tells this machine's copies from those of others."""
    path = cache_folder() / "id"
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), path.open("x", encoding="utf-8") as stream:
        stream.write(uuid.uuid4().hex[:8])
    return path.read_text(encoding="utf-8") or "0"


def mirror(uri: str, room: str = "output") -> Path:
    """The folder of this machine in which what belongs under a URI is made and read; `room` tells uses apart."""
    scheme, _, rest = uri.rstrip("/").partition("://")
    return cache_folder() / room / scheme / rest.lstrip("/")
