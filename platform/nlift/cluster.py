"""`connect()`: the only place that starts or joins Ray."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nlift
from nlift.errors import NliftError, ResourceError, first_line
from nlift.settings import ClusterConfig

ROOM = Path(nlift.__file__).parents[1]


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

    Raises ResourceError where `address` is `auto` and no cluster answers.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_CONTROLLER_LOGGING", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's banner, of endlessly many trials in a folder that goes
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative paths mean the same in a trial of Tune
    import ray

    if ray.is_initialized():
        return
    variables = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    path = python_path()
    if path:
        variables["PYTHONPATH"] = path
    joining = config.address != "local" or in_job() or "RAY_ADDRESS" in os.environ
    try:
        ray.init(
            address=(None if config.address == "local" else config.address) if joining else "local",
            num_cpus=None if joining else config.num_cpus,
            # without it Ray Train never frees what a trial held that a sweep stopped, and the next one waits for ever
            include_dashboard=None if joining else True,
            runtime_env={"env_vars": variables, "worker_process_setup_hook": _worker_setup()},
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except ConnectionError as error:
        raise ResourceError(
            f"cluster.address {config.address}: no Ray cluster answers ({first_line(error)}); "
            "start one with `ray start --head`, or use address local"
        ) from None


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

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # ours are shown instead
    context.print_on_execution_start = False
    count, resources = actors(wanted)
    return {"compute": ray.data.ActorPoolStrategy(size=max(1, min(count, tasks))), **resources}


@contextmanager
def user_errors() -> Iterator[None]:
    """Let a user's mistake that a worker met surface here as itself, not wrapped in Ray's errors."""
    try:
        yield
    except Exception as error:  # Ray's own class for a task's NliftError is one too, its text a traceback
        mistake = _find_user_error(error)
        if mistake is None or mistake is error:
            raise
        raise mistake from None


def get(reference: Any) -> Any:
    """`ray.get`, a user's mistake raised as itself."""
    import ray

    with user_errors():
        return ray.get(reference)


def _find_user_error(error: BaseException | None, depth: int = 0) -> NliftError | None:
    if error is None or depth > 10:
        return None
    if isinstance(error, NliftError):
        # Ray raises a class made on the fly of its own error and the cause's
        cause = getattr(error, "cause", error)
        return cause if isinstance(cause, NliftError) else error
    inner = [getattr(error, "cause", None), error.__cause__, error.__context__]
    failures = getattr(error, "worker_failures", None)
    inner += list(failures.values()) if isinstance(failures, dict) else []
    for cause in inner:
        mistake = _find_user_error(cause, depth + 1) if isinstance(cause, BaseException) else None
        if mistake is not None:
            return mistake
    return None
