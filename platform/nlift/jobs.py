"""`nlift submit`: the same as `ray job submit` with the project's job script."""

import os
import shlex
import sys
from pathlib import Path

from nlift.errors import ResourceError

SCRIPT = Path("jobs/run_pipeline.py")


def submit(experiment: Path, address: str, overrides: list[str]) -> int:
    """Submit, follow the log, return the job's exit code. Raises ResourceError where that is impossible."""
    if not SCRIPT.is_file():
        raise ResourceError(f"{SCRIPT} is not in {Path.cwd()}; run nlift submit from the root of a checkout")
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # the job client does not turn tokens on by itself
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    arguments = [str(experiment)] + [part for one in overrides for part in ("--set", one)]
    try:
        client = JobSubmissionClient(address)
        job = client.submit_job(entrypoint=f"python {SCRIPT} {shlex.join(arguments)}", runtime_env={"working_dir": "."})
    except AuthenticationError:
        raise ResourceError(
            f"--address {address}: wants a token; make one with `ray get-auth-token --generate`, the same on the cluster and here"
        ) from None
    except (ConnectionError, RuntimeError) as error:
        raise ResourceError(f"--address {address}: {str(error).strip().splitlines()[0]}") from None
    print(f"job {job} on {address}", flush=True)
    return _follow(client, job, {JobStatus.SUCCEEDED: 0, JobStatus.FAILED: 1, JobStatus.STOPPED: 1})


def _follow(client: object, job: str, ends: dict[object, int]) -> int:
    import time

    shown = 0
    while True:
        status = client.get_job_status(job)  # type: ignore[attr-defined]
        log = client.get_job_logs(job)  # type: ignore[attr-defined]
        sys.stdout.write(log[shown:])
        sys.stdout.flush()
        shown = len(log)
        if status in ends:
            return ends[status]
        time.sleep(1.0)
