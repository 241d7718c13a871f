"""`nlift submit`: the same as `ray job submit` with one of the project's job scripts."""

import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from nlift.errors import ResourceError, first_line

Job = Literal["pipeline", "tune", "study"]
SCRIPTS: dict[str, Path] = {job: Path(f"jobs/run_{job}.py") for job in ("pipeline", "tune", "study")}
POLL_S = 1.0
NO_AGENT = "No available agent"  # what a head says that is still starting, or busy
NO_AGENT_HINT = (
    " (where another Ray on the head's machine has the port of its job agent, 52365, start the head with "
    "`ray start --head --dashboard-agent-listen-port` and another one)"
)
AGENT_WAIT_S = 60.0


def submit(
    job: Job,
    address: str,
    arguments: Sequence[str],
    write: Callable[[str], object],
    *,
    stop_on_interrupt: bool = False,
) -> int:
    """The exit code of a submitted job, whose log goes to `write` as it grows.

    Args:
        job: Which of the job scripts.
        address: That of the dashboard of the cluster's head.
        arguments: What the script gets.
        write: Takes pieces of the log, and of what is said of the job.
        stop_on_interrupt: Whether KeyboardInterrupt, while the log is followed, stops the job; else it goes on.

    Returns:
        0 where the job succeeded, 1 where it did not, or was stopped.

    Raises:
        ResourceError: The job cannot be submitted.
    """
    script = SCRIPTS[job]
    if not script.is_file():
        raise ResourceError(f"{script} is not in {Path.cwd()}; run nlift submit from the root of a checkout")
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # the job client does not turn tokens on by itself
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        name = _submitted(client, f"python {script} {shlex.join(arguments)}")
    except AuthenticationError:
        raise ResourceError(
            f"--address {address}: wants a token; make one with `ray get-auth-token --generate`, "
            "the same on the cluster and here"
        ) from None
    except (ConnectionError, RuntimeError) as error:
        hint = NO_AGENT_HINT if NO_AGENT in str(error) else ""
        raise ResourceError(f"--address {address}: {first_line(error)}{hint}") from None
    write(f"job {name} on {address}\n")
    try:
        return _follow(client, name, {JobStatus.SUCCEEDED: 0, JobStatus.FAILED: 1, JobStatus.STOPPED: 1}, write)
    except KeyboardInterrupt:
        _interrupted(client, name, address, write, stop_on_interrupt)
        raise


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


def _interrupted(client: Any, job: str, address: str, write: Callable[[str], object], stop: bool) -> None:
    """Stop the job, or say how to follow and to stop it."""
    if stop:
        client.stop_job(job)
        write(f"\njob {job} is stopped: what it finished is kept, the same command goes on from there\n")
        return
    write(
        f"\njob {job} goes on\n"
        f"  follow it: ray job logs --follow --address {address} {job}\n"
        f"  stop it:   ray job stop --address {address} {job}\n"
    )
