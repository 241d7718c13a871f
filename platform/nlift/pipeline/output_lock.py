"""The lock of an output_dir: runs write into it beside each other, `nlift clean` does while nobody writes.

It is the operating system's: a run that was killed holds it no longer.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from nlift import uris
from nlift.config import Experiment
from nlift.errors import ArtifactError

LOCK = ".nlift.lock"


@contextmanager
def in_use(experiment: Experiment) -> Iterator[None]:
    """Let nothing be cleaned away under an experiment's output_dir, and where its memories are, until the block ends.

    Waits where it is being cleaned.
    """
    shared = [] if uris.is_remote(experiment.memories) else [Path(experiment.memories).absolute()]
    with ExitStack() as held:
        for root in dict.fromkeys([experiment.root, *shared]):
            root.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(_opened(root / LOCK))
            with suppress(OSError):  # of a file system that has no locks
                fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let no run write under an output_dir until the block ends. Raises ArtifactError where one does so now."""
    with _opened(root / LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(f"{root}: another run writes there; nothing was removed, wait until it ends") from None
        yield


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a+")
    except PermissionError:  # another person's, under an output_dir that several share
        return path.open()
