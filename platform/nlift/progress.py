"""What is said while work goes on: bars on standard error, lines by way of logging.

From Python all of it is silent. The command line calls `show()`: bars appear, and the lines that the library logs go to
standard output, its warnings to standard error.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

logger = logging.getLogger("nlift")
logger.addHandler(logging.NullHandler())
_handler: "_Lines | None" = None  # there once `show` was called


class _Lines(logging.Handler):
    """Lines that leave a bar whole."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stdout if record.levelno < logging.WARNING else sys.stderr
        tqdm.write(f"  {self.format(record)}", file=stream)
        stream.flush()


class _NoTerminal:
    """Standard error where it is no terminal: a bar's updates as lines of their own."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(text.strip("\r\n") + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def show() -> None:
    """Let this process say what it does: bars and lines."""
    global _handler  # noqa: PLW0603 - a process is silent or it is not
    if _handler is None:
        _handler = _Lines()
        logger.addHandler(_handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


@contextmanager
def bar(title: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """A bar for a step of `total` units; yields the function that moves it on."""
    with _tqdm(title, total, unit) as shown:
        yield shown.update


def _tqdm(title: str, total: int, unit: str, done: int = 0) -> tqdm:
    terminal = sys.stderr.isatty()
    interval_s = 0.2 if terminal else 10.0
    return tqdm(
        file=sys.stderr if terminal else _NoTerminal(),
        total=total,
        initial=done,  # by an earlier run: no part of the rate
        desc=f"  {title:<9}",
        unit=f" {unit}",
        mininterval=interval_s,
        maxinterval=interval_s,
        disable=_handler is None or total == 0,
        dynamic_ncols=terminal,
        leave=terminal,
    )


@contextmanager
def following(log: Path, title: str, total: int, unit: str) -> Iterator[None]:
    """A bar that follows the steps, and the loss, that another process appends to a JSON-lines file."""
    ended = threading.Event()
    with _tqdm(title, total, unit, _last(log).get("step", 0)) as shown:

        def catch_up() -> None:
            last = _last(log)
            if "loss" in last:
                shown.set_postfix_str(f"loss {last['loss']:.3f}", refresh=False)
            shown.update(max(last.get("step", 0) - shown.n, 0))

        def follow() -> None:
            while not ended.wait(0.5):
                catch_up()
            catch_up()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _last(log: Path) -> dict[str, Any]:
    """The last whole line; {} where there is none."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except ValueError:  # a line being written
        return {}
