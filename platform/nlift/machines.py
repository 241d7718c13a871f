"""The machines of a cluster that was joined: that each has this nlift and the right time, and that one was lost."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from nlift import __version__, progress
from nlift.errors import ResourceError

ASKED_S = 60.0  # for an answer; a machine that is late is not waited for
APART_S = 5.0  # of two clocks: more is no chance
POLL_S = 5.0
CONNECT_S = 5.0
HOST_AND_PORT = re.compile(r"(?P<host>[^/\s]+):(?P<port>\d+)")
SAME = f"install nlift {__version__} on every machine, or let Ray bring it: `nlift submit` from a checkout"


def answers(address: str) -> bool:
    """Whether something listens at HOST:PORT; an address of another form is not asked."""
    parts = HOST_AND_PORT.fullmatch(address)
    if parts is None:
        return True
    with suppress(OSError), socket.create_connection((parts["host"].strip("[]"), int(parts["port"])), CONNECT_S):
        return True
    return False


def check() -> None:
    """Ask every machine that works for its nlift and its time; say whose clock is off.

    Raises ResourceError for one that has no nlift, or another.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look() -> tuple[str | None, float]:  # here, so that Ray sends it as it is: a worker may have no nlift
        import time

        try:
            from nlift import __version__
        except ImportError:
            return None, time.time()
        return __version__, time.time()

    task, asked_s = ray.remote(num_cpus=0, max_retries=0)(look), time.time()
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(): node
        for node in _alive()
        if _works(node)
    }
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ASKED_S) if asked else ([], [])
    for reference in ready:
        try:
            version, its_s = ray.get(reference)
        except ray.exceptions.RayError:  # it was lost, or has no room: whoever works there will say so
            continue
        name, now_s = asked[reference]["NodeManagerAddress"], time.time()
        if version != __version__:
            has = "no nlift" if version is None else f"nlift {version}"
            raise ResourceError(f"machine {name} has {has}, this one {__version__}; {SAME}")
        off_s = min(its_s - asked_s, 0) or max(its_s - now_s, 0)
        if abs(off_s) > APART_S:
            progress.notice(f"machine {name}: its clock is {off_s:+.0f} s from this one's; set both by NTP")


@contextmanager
def watched(what: str) -> Iterator[None]:
    """Say where a machine of the cluster is lost, or comes, while the block runs."""
    import ray

    if not ray.is_initialized() or len(_alive()) < 2:
        yield
        return
    ended, known = threading.Event(), {node["NodeID"]: node for node in _alive()}

    def watch() -> None:
        before = known
        while not ended.wait(POLL_S):
            try:
                now = {node["NodeID"]: node for node in _alive()}
            except Exception:  # of Ray's head, which is gone: the work itself will say so
                return
            for name in before.keys() ^ now.keys():
                became, node = ("was lost", before) if name in before else ("is there", now)
                address = node[name]["NodeManagerAddress"]
                progress.notice(f"{what}: machine {address} ({name[:6]}) {became}; {_left(now)}")
            before = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _left(nodes: dict[str, Any]) -> str:
    resources = [node["Resources"] for node in nodes.values()]
    cpus, gpus = (int(sum(node.get(kind, 0) for node in resources)) for kind in ("CPU", "GPU"))
    return f"the cluster has {cpus} CPUs and {gpus} GPUs, what needs more waits"


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def own_node() -> dict[str, Any]:
    """What Ray says of the machine that this process is on."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next(node for node in ray.nodes() if node["NodeID"] == own)


def _works(node: dict[str, Any]) -> bool:
    return any(node["Resources"].get(kind, 0) for kind in ("CPU", "GPU"))
