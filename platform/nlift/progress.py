"""What is said while work goes on: bars on standard error, lines by way of logging.

From Python all of it is silent. The command line calls `show()`: bars appear, and the lines that the library logs go to
standard output, its warnings to standard error. Until something moves, what is waited for is said instead of a bar.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nlift.visible import visible

logger = logging.getLogger("nlift")
logger.addHandler(logging.NullHandler())
_handler: "_Lines | None" = None  # there once `show` was called
POLL_S = 0.5
LINE_EVERY_S = 10.0  # where standard error is no terminal
PATIENCE_S = 3.0  # what takes longer is said where standard error is no terminal
SURE_AFTER_S = 5.0  # and from this share on, the rate so far says how long the rest takes
SURE_FROM = 0.02
COUNT = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit} "
COUNTED = COUNT + "[{elapsed}{postfix}]"
ESTIMATED = COUNT + "[{elapsed}, {remaining} left, {rate_noinv_fmt}{postfix}]"


class _Lines(logging.Handler):
    """Lines that leave a bar whole."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stdout if record.levelno < logging.WARNING else sys.stderr
        tqdm.write(f"  {visible(self.format(record))}", file=stream)
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


@lru_cache(maxsize=1024)
def notice(text: str) -> None:
    """Say what a person should know about their data or model: once, however often it is met."""
    logger.warning(text)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what is waited for, and how long already, while the block runs."""
    patience = _Waiting(what)
    try:
        yield
    finally:
        patience.end()


class _Waiting:
    """A line that says what is waited for: with its seconds on a terminal, else once, where it takes long."""

    def __init__(self, what: str) -> None:
        self.what, self.ended, self.began_s = what, threading.Event(), time.monotonic()
        self.thread = threading.Thread(target=self._say, daemon=True)
        if _handler is not None:
            self.thread.start()

    def _say(self) -> None:
        if not sys.stderr.isatty():
            if not self.ended.wait(PATIENCE_S):
                tqdm.write(f"  {self.what} ...", file=sys.stderr)
            return
        while not self.ended.wait(1.0):
            sys.stderr.write(f"\r  {self.what} ... {time.monotonic() - self.began_s:.0f} s")
            sys.stderr.flush()

    def end(self) -> None:
        """Nothing is waited for any more; the line is gone from a terminal."""
        if self.ended.is_set():
            return
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()
        if _handler is not None and sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Bar:
    """A bar of a step of `total` units; until the first is done it says what it waits for.

    Its clock starts with the first unit, so that a rate and what is left do not count what was waited for.
    """

    def __init__(self, title: str, total: int, unit: str, waits_for: str, done: int = 0) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.postfix = ""
        self.shown: tqdm | None = None
        self.waiting = _Waiting(f"{title:<9} {waits_for}") if total else None

    def advance(self, units: int) -> None:
        """So many more are done."""
        if units <= 0:
            return
        self.done += units
        if self.shown is None:
            if self.waiting is not None:
                self.waiting.end()
            self.shown = self._tqdm()
        else:
            elapsed_s = self.shown.format_dict["elapsed"]
            sure = elapsed_s > SURE_AFTER_S and self.done - self.shown.initial > SURE_FROM * self.total
            self.shown.bar_format = ESTIMATED if sure else COUNTED
            self.shown.set_postfix_str(self.postfix, refresh=False)
            self.shown.update(units)

    def end(self) -> None:
        """Nothing more comes."""
        if self.waiting is not None:
            self.waiting.end()
        if self.shown is not None:
            self.shown.close()

    def _tqdm(self) -> tqdm:
        terminal = sys.stderr.isatty()
        interval_s = 0.2 if terminal else LINE_EVERY_S
        return tqdm(
            file=sys.stderr if terminal else _NoTerminal(),
            total=self.total,
            initial=self.done,  # before the clock started: no part of the rate
            desc=f"  {self.title:<9}",
            unit=f" {self.unit}",
            bar_format=COUNTED,
            smoothing=0,  # work is sorted by length, so that the last rate says little of the rest
            mininterval=interval_s,
            maxinterval=interval_s,
            disable=_handler is None or self.total == 0,
            dynamic_ncols=terminal,
            leave=terminal,
        )


@contextmanager
def bar(title: str, total: int, unit: str, waits_for: str = "models load") -> Iterator[Callable[[int], None]]:
    """A bar for a step of `total` units; yields the function that moves it on."""
    shown = Bar(title, total, unit, waits_for)
    try:
        yield shown.advance
    finally:
        shown.end()


@contextmanager
def following(log: Path, title: str, total: int, unit: str, waits_for: str = "workers start") -> Iterator[None]:
    """A bar that follows the steps, and the loss, that another process appends to a JSON-lines file."""
    ended = threading.Event()
    shown = Bar(title, total, unit, waits_for, _last(log).get("step", 0))

    def catch_up() -> None:
        last = _last(log)
        if "loss" in last:
            shown.postfix = f"loss {last['loss']:.3f}"
        shown.advance(last.get("step", 0) - shown.done)

    def follow() -> None:
        while not ended.wait(POLL_S):
            catch_up()
        catch_up()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        shown.end()


def _last(log: Path) -> dict[str, Any]:
    """The last whole line; {} where there is none."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except ValueError:  # a line being written
        return {}
