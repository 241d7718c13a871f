"""`nlift submit`: the same as `ray job submit` with the project's job script."""

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlift.errors import ResourceError, first_line

SCRIPT = Path("jobs/run_pipeline.py")
POLL_S = 1.0
NO_AGENT = "No available agent"  # what a head says that is still starting, or busy
AGENT_WAIT_S = 60.0


def submit(experiment: Path, address: str, overrides: list[str], write: Callable[[str], object]) -> int:
    """The exit code of the submitted job, whose log goes to `write` as it grows.

    `address` is that of the head's dashboard. Raises ResourceError where the job cannot be submitted.
    """
    if not SCRIPT.is_file():
        raise ResourceError(f"{SCRIPT} is not in {Path.cwd()}; run nlift submit from the root of a checkout")
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # the job client does not turn tokens on by itself
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    arguments = [str(experiment)]
    for override in overrides:
        arguments += ["--set", override]
    entrypoint = f"python {SCRIPT} {shlex.join(arguments)}"
    try:
        client = JobSubmissionClient(address)
        job = _submitted(client, entrypoint)
    except AuthenticationError:
        raise ResourceError(
            f"--address {address}: wants a token; make one with `ray get-auth-token --generate`, "
            "the same on the cluster and here"
        ) from None
    except (ConnectionError, RuntimeError) as error:
        raise ResourceError(f"--address {address}: {first_line(error)}") from None
    write(f"job {job} on {address}\n")
    return _follow(client, job, {JobStatus.SUCCEEDED: 0, JobStatus.FAILED: 1, JobStatus.STOPPED: 1}, write)


def _submitted(client: Any, entrypoint: str) -> str:
    """The id of the job; a head that has no agent for it yet is asked again for a while."""
    end_s = time.monotonic() + AGENT_WAIT_S
    while True:
        try:
            job: str = client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": "."})
            return job
        except RuntimeError as error:
            if NO_AGENT not in str(error) or time.monotonic() > end_s:
                raise
        time.sleep(POLL_S)


def _follow(client: Any, job: str, exit_codes: dict[Any, int], write: Callable[[str], object]) -> int:
    shown = 0
    while True:
        status = client.get_job_status(job)
        log = client.get_job_logs(job)
        write(log[shown:])
        shown = len(log)
        if status in exit_codes:
            return exit_codes[status]
        time.sleep(POLL_S)
