"""A Ray of several nodes on this machine, whose nodes can be killed, drained and slowed; token authentication is on.

Every node is a raylet with its own workers; a node's CPUs and GPUs are what it says of itself. The driver is a
process of its own (tests/programs), so that the Ray of the test session is not touched.
"""

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

WATCHED_S = float(os.environ.get("NLIFT_WATCHED_S", "120"))  # without progress a run has failed
QUICK_DEATHS = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
PERIOD_S = 0.2  # of a slowed node: stopped and let go


class Nodes:
    """A head without CPUs, and nodes that are added; use it as a context."""

    def __init__(self, dashboard=False, **head):
        self.head = {"num_cpus": 0, "include_dashboard": dashboard, **head}
        self._arguments = {}

    def __enter__(self):
        self.start_head()
        return self

    def __exit__(self, *exception):
        for node in [*self.cluster.worker_nodes]:
            self.kill(node)
        if self.cluster.head_node is not None:
            self.kill_head()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def start_head(self):
        """A head that runs no work."""
        from ray._common.utils import get_ray_address_file
        from ray._private.authentication import authentication_token_setup
        from ray.cluster_utils import Cluster

        authentication_token_setup._enable_token_auth()  # as a local Ray does, for what this process starts
        authentication_token_setup.ensure_token_if_auth_enabled(None, create_token_if_missing=True)
        ports = {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}
        # a folder of its own: the usual one has the address of the machine's last Ray, by which jobs find theirs
        self.temporary = tempfile.mkdtemp(prefix="nlift-", dir="/tmp")
        head = {**ports, "temp_dir": self.temporary, "_system_config": QUICK_DEATHS, **self.head}
        note = Path(get_ray_address_file(None))
        note.parent.mkdir(parents=True, exist_ok=True)  # on a machine that had no Ray yet
        noted = note.read_text() if note.exists() else None
        self.cluster = _in_time(lambda: Cluster(True, head_node_args=head))
        Path(get_ray_address_file(self.temporary)).write_text(self.address)
        note.unlink(missing_ok=True) if noted is None else note.write_text(noted)

    @property
    def address(self):
        return self.cluster.address

    @property
    def workers(self):
        """The nodes that work, in the order that they were added."""
        return [node for node in self._arguments if node in self.cluster.worker_nodes]

    @property
    def dashboard_url(self):
        return f"http://{self.cluster.head_node.webui_url}"

    def add(self, cpus=1, gpus=0, variables=None, **arguments):
        """A node; GPUs are what it says it has, and its workers have these environment variables."""
        before = os.environ.copy()
        os.environ.update(variables or {})
        try:
            node = _in_time(lambda: self.cluster.add_node(num_cpus=cpus, num_gpus=gpus, **arguments))
        finally:
            os.environ.clear()
            os.environ.update(before)
        self._arguments[node] = {"cpus": cpus, "gpus": gpus, "variables": variables, **arguments}
        return node

    def kill(self, node):
        """SIGKILL of everything that the node runs, at once, as where a machine loses its power."""
        raylet = _raylet(node)
        for pid in [raylet, *descendants(raylet)]:
            _signal(pid, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)

    def kill_head(self):
        """SIGKILL of everything that the head runs."""
        head = self.cluster.head_node
        for pid in descendants(_raylet(head)):
            _signal(pid, signal.SIGKILL)
        self.cluster.remove_node(head, allow_graceful=False)

    def start_again(self, node):
        """A killed node, started anew: another one to Ray."""
        return self.add(**self._arguments.pop(node))

    def drain(self, node, notice_s):
        """Announce that a node goes, as a cloud does before it takes a spot machine back."""
        from ray.core.generated import autoscaler_pb2

        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = int((time.time() + notice_s) * 1000)
        gcs = self.cluster.head_node.get_gcs_client()
        accepted, why = gcs.drain_node(node.node_id, reason, "spot", deadline_ms)
        assert accepted, why

    @contextmanager
    def stopped(self, node):
        """Inside, the node's workers stand still."""
        workers = worker_pids(node)
        for pid in workers:
            _signal(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                _signal(pid, signal.SIGCONT)

    @contextmanager
    def slowed(self, node, times=10):
        """Inside, the node's workers run a tenth of the time."""
        ended = threading.Event()

        def slow():
            while not ended.is_set():
                with self.stopped(node):
                    ended.wait(PERIOD_S * (1 - 1 / times))
                ended.wait(PERIOD_S / times)

        thread = threading.Thread(target=slow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _in_time(start, tries=4):
    """What `start` returns; tried again where it took longer than Ray waits, as on a busy machine."""
    before = set(children(os.getpid()))
    for left in reversed(range(tries)):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error) or not left:
                raise
            for pid in set(children(os.getpid())) - before:  # it may be there after all, a moment too late
                for started in [pid, *descendants(pid)]:
                    _signal(started, signal.SIGKILL)
    raise AssertionError


def worker_pids(node):
    """The workers of a node: what its raylet started, without Ray's agents."""
    return [pid for pid in children(_raylet(node)) if "agent" not in command_of(pid)]


def watched(process, output, progress, limit_s=WATCHED_S):
    """The exit code of a process; fails where `progress()` gives the same for so long, and ends the process."""
    before, since_s = progress(), time.monotonic()
    while process.poll() is None:
        time.sleep(0.2)
        now = progress()
        if now != before:
            before, since_s = now, time.monotonic()
        if time.monotonic() - since_s > limit_s:
            process.kill()
            raise AssertionError(f"no progress for {limit_s} s:\n{output.read_text()[-3000:]}")
    return process.returncode


def size_of(folder):
    """How much stands under a folder, by file: it grows where work goes on."""
    sizes = []
    for parent, _, names in os.walk(folder):  # passes over what is renamed meanwhile
        for name in names:
            with suppress(OSError):
                sizes.append((os.path.join(parent, name), os.stat(os.path.join(parent, name)).st_size))
    return sizes


def free_port():
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(pid):
    """The processes that a process started itself."""
    try:
        tasks = [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid):
    """Everything that comes from a process."""
    own = children(pid)
    return [*own, *(below for child in own for below in descendants(child))]


def _raylet(node):
    return node.all_processes["raylet"][0].process.pid


def command_of(pid):
    """The command line of a process, as it is now."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "agent"  # gone


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
