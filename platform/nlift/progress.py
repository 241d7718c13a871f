"""Progress bars with rate and time left; lines at intervals where the output is no terminal."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm


class _Lines:
    """Standard error where it is no terminal: a bar's updates as lines of their own."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(text.strip("\r\n") + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def say(line: str) -> None:
    """A line on standard error that leaves a bar whole."""
    tqdm.write(f"  {line}", file=sys.stderr)


@contextmanager
def bar(title: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """A bar for a step of `total` units; yields the function that moves it on."""
    terminal = sys.stderr.isatty()
    interval_s = 0.2 if terminal else 10.0
    with tqdm(
        file=sys.stderr if terminal else _Lines(),
        total=total,
        desc=f"  {title:<9}",
        unit=f" {unit}",
        mininterval=interval_s,
        maxinterval=interval_s,
        disable=total == 0,
        dynamic_ncols=terminal,
        leave=terminal,
    ) as shown:
        yield shown.update


@contextmanager
def following(log: Path, title: str, total: int, unit: str) -> Iterator[None]:
    """A bar that follows the steps that another process appends to a JSON-lines file."""
    ended = threading.Event()
    with bar(title, total, unit) as advance:

        def follow() -> None:
            shown = 0
            while not ended.wait(0.5):
                step = _last_step(log)
                advance(max(step - shown, 0))
                shown = max(step, shown)
            advance(max(_last_step(log) - shown, 0))

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _last_step(log: Path) -> int:
    if not log.exists():
        return 0
    lines = log.read_text(encoding="utf-8").splitlines()
    try:
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except ValueError:  # a line being written
        return 0
