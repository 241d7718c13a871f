"""The routes over real HTTP on a port of their own, by a server in a thread, without Ray; free ports."""

import socket
import threading
import time
from contextlib import contextmanager

import uvicorn
from in_process import answered

from nlift_serve.app import api


def free_port():
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(bundle, limits):
    """Let a server answer from a bundle until the block ends; its address."""
    port = free_port()
    with answered(bundle, limits):
        server = uvicorn.Server(uvicorn.Config(api, port=port, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()
