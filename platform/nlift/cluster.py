"""`connect()`: the only place that starts or joins Ray."""

import errno
import logging
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import nlift
from nlift import errors, machines, progress
from nlift.errors import MemoryShortageError, NliftError, ResourceError, first_line
from nlift.settings import ClusterConfig

Result = TypeVar("Result")
ROOM = Path(nlift.__file__).parents[1]
SAID = re.compile(r"nlift\.errors\.(\w+Error): (.+)")  # in a traceback
RESTARTS = 5  # of an actor that was ended, as the operating system does where memory is full
FROM_OUTSIDE = "as the operating system and Ray do where memory is full"
NO_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "memoryerror")  # as torch and CTranslate2 say it


def in_job() -> bool:
    """Whether this process is the entrypoint of a submitted Ray job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def python_path() -> str | None:
    """PYTHONPATH for workers, so that they import the same nlift as this process.

    In a job the checkout is Ray's copy of the working directory, at another place on each node:
    the path is relative, and Ray enters the working directory first.
    """
    if ROOM.name != "platform":
        return None  # installed from a wheel, as on the workers
    rooms = [ROOM, ROOM.parent / "serve"]
    if in_job() and ROOM.is_relative_to(Path.cwd()):
        rooms = [room.relative_to(Path.cwd()) for room in rooms]
    return os.pathsep.join(map(str, rooms))


def connect(config: ClusterConfig) -> None:
    """Start a local Ray or join a cluster; nothing happens where this process has one.

    Raises ResourceError where no cluster answers, it has another token, or a machine of it another nlift.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of other tasks, once one has said its line
    os.environ.setdefault("RAY_task_oom_retries", "1")  # for ever, else: what is too large once is so again
    os.environ.setdefault("RAY_TRAIN_ENABLE_CONTROLLER_LOGGING", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's banner, of endlessly many trials in a folder that goes
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative paths mean the same in a trial of Tune
    joining = config.address != "local" or in_job() or "RAY_ADDRESS" in os.environ
    if joining:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "4")  # tries of what answers, and refuses
    import ray
    from ray._private.authentication import authentication_token_setup

    if ray.is_initialized():
        return
    variables = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    path = python_path()
    if path:
        variables["PYTHONPATH"] = path
    authentication_token_setup.logger.addFilter(_is_warning)
    at_stop = signal.getsignal(signal.SIGTERM)
    try:
        if joining:
            if not machines.answers(config.address):  # Ray itself would try for minutes
                raise ConnectionError("nothing listens there")
            # as Ray does by itself for a cluster that it finds on this machine
            authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        with progress.waiting("Ray starts" if not joining else "the cluster answers"):
            ray.init(
                address=(None if config.address == "local" else config.address) if joining else "local",
                num_cpus=None if joining else config.num_cpus,
                # without it Ray Train never frees what a stopped trial held, and the next one waits for ever
                include_dashboard=None if joining else True,
                runtime_env={"env_vars": variables, "worker_process_setup_hook": _worker_setup()},
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
    except Exception as error:
        refusal = _refusal(config.address, error)
        if refusal is None:
            raise
        raise refusal from None
    # what raylets say of workers that they end would stand on the screen; the error that comes of it is said by us
    ray._private.worker.print_to_stdstream = _keep_to_the_log
    if callable(at_stop) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, at_stop)  # Ray's own would end this process without a word
    if joining:
        with progress.waiting("the machines of the cluster are asked for their nlift"):
            machines.check()


def _refusal(address: str, error: Exception) -> ResourceError | None:
    """What an error of Ray's, where it was to start or be joined, says to a user."""
    said = f"{error} {error.__cause__}"
    if "InvalidAuthToken" in said or "RAY_AUTH_MODE" in said:
        return ResourceError(
            f"cluster.address {address}: the cluster has another token than this machine; copy the head's "
            "~/.ray/auth_token here, or name it by RAY_AUTH_TOKEN_PATH"
        )
    if "Version mismatch" in said:
        return ResourceError(
            f"cluster.address {address}: the cluster has another Ray or Python than this machine "
            f"({' '.join(str(error).split())}); use the same on all machines"
        )
    if isinstance(error, ConnectionError):
        return ResourceError(
            f"cluster.address {address}: no Ray cluster answers ({first_line(error)}); "
            "start one with `ray start --head`, or use address local"
        )
    if "timed out during startup" in said:
        return ResourceError("Ray did not start in time: this machine is too busy; run again when it is less")
    return None


def _keep_to_the_log(said: dict[str, Any], **kwargs: Any) -> None:
    logging.getLogger("nlift.ray").debug("%s", " ".join(map(str, said.get("lines", []))))


def _is_warning(record: logging.LogRecord) -> bool:
    """Whether Ray's word on tokens is one: that they are on is as it should be."""
    return "is enabled for this Ray cluster" not in record.getMessage()


def _worker_setup() -> Callable[[], None]:
    """What every worker does first: it notes the address of its own Ray.

    Where Ray Train asks for the state of a trial, to free what a stopped one held, it would take the address of
    the last `ray start` on this machine, which may be another Ray or one that is gone. Ray sends a local function
    as it is, so that no worker imports this module for it.
    """

    def note_address() -> None:
        import os

        import ray

        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address

    return note_address


def actors(wanted: int | None) -> tuple[int, dict[str, float]]:
    """How many copies of a model to run, and what each takes: a GPU where there are any, else a CPU."""
    import ray

    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    if gpus:
        return wanted or gpus, {"num_gpus": 1}
    return min(wanted or cpus, cpus), {"num_cpus": 1}


def actor_pool(wanted: int | None, tasks: int) -> dict[str, Any]:
    """Arguments of `map_batches` for a pool of model actors, started all at once."""
    import ray.data

    quieten_ray_data()
    count, resources = actors(wanted)
    # an actor is given a task when it is done with the one before: what waited behind a slow machine's would wait on
    pool = ray.data.ActorPoolStrategy(size=max(1, min(count, tasks)), max_tasks_in_flight_per_actor=1)
    return {"compute": pool, **resources}


def quieten_ray_data() -> None:
    """Let Ray Data of this process say nothing by itself."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised as well
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # ours are shown instead
    context.print_on_execution_start = False


def check_restarts() -> None:
    """Raise MemoryShortageError in an actor of a pool that was ended too often; else Ray would start it for ever.

    An actor calls it first of all. It does not know how often it was started: a file says so, on its machine. Where
    that was lost, the actor starts anew on another one, and its count too.
    """
    import ray

    if not ray.is_initialized():
        return
    context = ray.get_runtime_context()
    if not context.get_actor_id() or not context.was_current_actor_reconstructed:
        return
    starts = Path(tempfile.gettempdir()) / f"nlift-restarts-{context.get_actor_id()}-{context.get_node_id()}"
    with starts.open("a") as stream:
        stream.write("x")
    if starts.stat().st_size > RESTARTS:
        starts.unlink()
        raise MemoryShortageError(f"a worker was ended {RESTARTS} times, {FROM_OUTSIDE}")


@contextmanager
def user_errors() -> Iterator[None]:
    """Let a user's mistake that a worker met surface here as itself, not wrapped in Ray's errors.

    So do what is no mistake, but the user's matter: memory and disk space that did not suffice, a worker that died.
    """
    try:
        yield
    except Exception as error:  # Ray's own class for a task's NliftError is one too, its text a traceback
        kinds = (_mistake, _shortage, _said, _absent, _death)
        mistake = next((candidate for kind in kinds if (candidate := _find(error, kind))), None)
        if mistake is None or mistake is error:
            raise
        raise mistake from None


def in_thread(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, done by a thread of its own.

    Ray Train and Tune take Ctrl-C for themselves where they are run by the main thread, and then end without a word.
    """
    results: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)  # with a limit, so that Ctrl-C is heard
    if failures:
        raise failures[0]
    return results[0]


def get(reference: Any) -> Any:
    """`ray.get`, a user's mistake raised as itself."""
    import ray

    with user_errors():
        return ray.get(reference)


def _find(
    error: BaseException | None, kind: Callable[[BaseException], NliftError | None], depth: int = 0
) -> NliftError | None:
    """The first error that `kind` knows, of an error and all that led to it."""
    if error is None or depth > 10:
        return None
    known = kind(error)
    if known is not None:
        return known
    inner = [getattr(error, "cause", None), error.__cause__, error.__context__]
    for failures in ("worker_failures", "training_failed_error", "controller_failure"):
        failure = getattr(error, failures, None)
        inner += list(failure.values()) if isinstance(failure, dict) else [failure]
    mistakes = (_find(cause, kind, depth + 1) for cause in inner if isinstance(cause, BaseException))
    return next((mistake for mistake in mistakes if mistake is not None), None)


def _mistake(error: BaseException) -> NliftError | None:
    if not isinstance(error, NliftError):
        return None
    # Ray raises a class made on the fly of its own error and the cause's
    cause = getattr(error, "cause", error)
    return cause if isinstance(cause, NliftError) else error


def _shortage(error: BaseException) -> NliftError | None:
    """What an error says of memory or disk space that did not suffice."""
    from ray import exceptions

    text = str(error).lower()
    if isinstance(error, exceptions.OutOfMemoryError):
        return MemoryShortageError("this machine's memory was nearly full, and Ray ended a worker")
    # of what an operator of Ray Data raised, the text alone comes here
    in_data = isinstance(error, exceptions.UserCodeException)
    said = isinstance(error, RuntimeError) or in_data
    if (said and any(words in text for words in NO_MEMORY)) or isinstance(error, MemoryError):
        return MemoryShortageError("memory did not suffice")
    if isinstance(error, exceptions.OutOfDiskError):
        return ResourceError("no space left on the disk of Ray's temporary files; free some and run again")
    if isinstance(error, OSError) and (error.errno == errno.ENOSPC or "no space left on device" in text):
        return disk_full(error)
    return disk_full(OSError()) if in_data and "no space left on device" in text else None


def _said(error: BaseException) -> NliftError | None:
    """A mistake of which there is no more than the text: of an actor that did not start, of an operator of Ray Data."""
    from ray import exceptions

    if not (getattr(error, "actor_init_failed", False) or isinstance(error, exceptions.UserCodeException)):
        return None
    said = SAID.findall(str(error))
    kind, message = said[-1] if said else ("", "")
    return getattr(errors, kind)(message.strip()) if said else None


def _absent(error: BaseException) -> NliftError | None:
    """What an error says of a machine, perhaps one that came later, on which there is no nlift to import."""
    from ray import exceptions

    missing = isinstance(error, exceptions.RayError) and "No module named 'nlift" in str(error)
    return ResourceError(f"a machine of the cluster has no nlift; {machines.SAME}") if missing else None


def _death(error: BaseException) -> NliftError | None:
    """What an error says of a worker that died."""
    from ray import exceptions

    if isinstance(error, exceptions.NodeDiedError):
        return ResourceError(f"a machine of the cluster was lost ({first_line(error)}); run again")
    if getattr(error, "actor_init_failed", False):
        return None
    if isinstance(error, exceptions.WorkerCrashedError | exceptions.ActorDiedError):
        return MemoryShortageError(f"a worker was ended from outside, {FROM_OUTSIDE}")
    return None


def disk_full(error: OSError) -> ResourceError:
    """What is said of a full disk."""
    where = f"{error.filename}: " if error.filename else ""
    return ResourceError(f"{where}no space left on the disk; free some and run again, what was finished is kept")
