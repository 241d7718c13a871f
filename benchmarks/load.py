"""Requests over HTTP in a closed loop: each of so many connections asks again as soon as it is answered."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Load:
    """What came of it."""

    seconds: float = 0.0
    times_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Requests that were answered, per second."""
        return len(self.times_ms) / self.seconds

    def percentile(self, share: float) -> float:
        """Of the times, in ms."""
        return float(np.percentile(self.times_ms, share)) if self.times_ms else float("nan")

    def __str__(self) -> str:
        figures = (
            f"{self.per_second:7.1f} requests/s, p50 {self.percentile(50):7.1f} ms, p99 {self.percentile(99):7.1f} ms"
        )
        return f"{figures}, {len(self.failures)} failed of {len(self.times_ms) + len(self.failures)}"


async def closed_loop(
    port: int,
    bodies: Iterable[dict[str, object]],
    connections: int,
    seconds: float,
    *,
    path: str = "/v1/search",
    least: int = 0,
    check: Callable[[bytes], str | None] = lambda content: None,
) -> Load:
    """Ask for so long, and at least so often, a body after the other; `check` says what is wrong with an answer."""
    load, began = Load(), time.perf_counter()
    payloads = (_request(path, body) for body in bodies)

    async def connection() -> None:
        reader = writer = None
        while time.perf_counter() - began < seconds or len(load.times_ms) < least:
            start = time.perf_counter()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert reader is not None
                writer.write(next(payloads))
                status, content, closes = await _answer(reader)
                if closes:  # the server says that it ends this connection, as HAProxy does when its backends change
                    writer.close()
                    writer = None
                wrong = check(content) if status == 200 else f"status {status}: {content[:100]!r}"
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                wrong, writer = f"{type(error).__name__}: {error}", None
            if wrong is None:
                load.times_ms.append(1000 * (time.perf_counter() - start))
            else:
                load.failures.append(wrong)
                await asyncio.sleep(0.01)
        if writer is not None:
            writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    load.seconds = time.perf_counter() - began
    return load


def _request(path: str, body: dict[str, object]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status and content, and whether the connection ends with it."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status, closes = int(head.split(" ", 2)[1]), "\nconnection: close" in head
    length = next((line.partition(":")[2] for line in head.split("\r\n") if line.startswith("content-length:")), None)
    if length is not None:
        return status, await reader.readexactly(int(length)), closes
    content = b""  # in chunks
    while size := int((await reader.readline()).strip() or b"0", 16):
        content += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return status, content, closes
