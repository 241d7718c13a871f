"""Unfinished work under a URI: one run at a time has it, and one that died leaves it to another, of any machine.

Who has it writes a beat every few seconds. Whoever comes watches for one: work whose beat stands still is gone on with,
beside work that is alive something of one's own is begun.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nlift import uris
from nlift.data import conditional_write, transfer
from nlift.data.conditional_write import changed
from nlift.errors import NliftError

CLAIM = "claim.json"
BEAT_S, DEAD_S = 20.0, 120.0
POLL_S = 1.0
logger = logging.getLogger("nlift")


class _TakenError(Exception):
    """Somebody else has it."""


@contextmanager
def claimed(uri: str) -> Iterator[str]:
    """The URI of the work to do: `uri`, with what a run that died has left there, else one of this machine's own.

    Until the block ends nobody else gets it. Raises ResourceError.
    """
    if not conditional_write.is_possible(uri):
        yield _own(uri)
        return
    before = _read(uri)
    if before is not None and before["owner"] != uris.cache_id() and _is_alive(uri, before):
        yield _own(uri)
        return
    try:
        changed(transfer.joined(uri, CLAIM), lambda content: _claim(content, before))
    except _TakenError:
        yield _own(uri)
        return
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(uri, ended), daemon=True)
    beating.start()
    try:
        yield uri
    finally:
        ended.set()
        beating.join()


def remove(uri: str) -> None:
    """Remove what this machine has had of a work. Raises NliftError."""
    claim = _read(uri)
    if claim is not None and claim["owner"] == uris.cache_id():
        transfer.remove(uri)
    transfer.remove(_own(uri))


def _own(uri: str) -> str:
    return f"{uri}-{uris.cache_id()}"


def _read(uri: str) -> dict[str, Any] | None:
    content = transfer.read(transfer.joined(uri, CLAIM))
    return None if content is None else dict(json.loads(content))


def _is_alive(uri: str, before: dict[str, Any]) -> bool:
    """Whether the beat goes on; it is waited for as long as one may take."""
    logger.info("%s: another machine has begun this; waiting up to %.0f s to see whether it is at it", uri, DEAD_S)
    end_s = time.monotonic() + DEAD_S
    while time.monotonic() < end_s:
        time.sleep(POLL_S)
        if _read(uri) != before:
            return True
    return False


def _claim(content: bytes | None, before: dict[str, Any] | None) -> bytes:
    """This machine's claim, in place of the one that was seen. Raises _TakenError where there is another by now."""
    there = None if content is None else json.loads(content)
    if there != before:
        raise _TakenError
    return json.dumps({"owner": uris.cache_id(), "beat": 0 if there is None else there["beat"] + 1}).encode()


def _beat(uri: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        try:
            changed(transfer.joined(uri, CLAIM), _next)
        except (_TakenError, NliftError) as error:  # the work itself will say what is wrong
            logger.debug("%s: no beat: %s", uri, error)


def _next(content: bytes | None) -> bytes:
    there: dict[str, Any] = json.loads(content or b"{}")
    if there.get("owner") != uris.cache_id():
        raise _TakenError
    return json.dumps({**there, "beat": there["beat"] + 1}).encode()
