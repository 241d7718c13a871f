"""What `nlift submit` does around a job: the file is checked first, and said at the end is where the report lies."""

import signal
from functools import partial
from pathlib import Path
from typing import Any, cast

from nlift import study_config
from nlift.cli.app import STOPS
from nlift.config import load_experiment
from nlift.errors import ConfigError
from nlift.submit import SCRIPTS, Job
from nlift.submit import submit as submit_job
from nlift.yaml_keys import read_yaml


def submit(
    path: Path, job: str | None, address: str, overrides: list[str], only: list[str], stop_on_interrupt: bool
) -> int:
    """The job's exit code. Raises NliftError for what the job would refuse at once, before it is submitted."""
    wanted = job_of(path, job)
    if only and wanted != "pipeline":
        raise ConfigError(f"--only: of a pipeline alone, and this is {wanted}")
    folder = folder_of(wanted, path, overrides)
    arguments = [str(path)]
    for option, values in (("--only", only), ("--set", overrides)):
        for value in values:
            arguments += [option, value]
    for number in STOPS:
        signal.signal(number, _interrupted)
    show = partial(print, end="", flush=True)
    code = submit_job(wanted, address, arguments, show, stop_on_interrupt=stop_on_interrupt)
    if code == 0:
        print(where_report(folder))
    return code


def job_of(path: Path, job: str | None = None) -> Job:
    """The job that is wanted; by what the file is where nobody says. Raises ConfigError for one that is none."""
    if job is not None and job not in SCRIPTS:
        raise ConfigError(f"--job {job}: expected {', '.join(SCRIPTS)}")
    raw = read_yaml(path)[0] if path.is_file() else {}
    is_study = isinstance(raw, dict) and "experiment" in raw and "nli" not in raw
    if job is None:
        return "study" if is_study else "pipeline"
    if is_study != (job == "study"):
        raise ConfigError(f"--job {job}: {path} is {'a study' if is_study else 'an experiment'}")
    return cast(Job, job)


def folder_of(job: Job, path: Path, overrides: list[str]) -> Path | str:
    """Where the job's report is going to be, a folder or a URI.

    Raises ConfigError where the file is wrong, or of no use in a job.
    """
    if job == "study":
        experiment = study_config.runs_of(study_config.load_study(path), overrides)[0].experiment
    else:
        experiment = load_experiment(path, overrides)
    if job == "tune" and experiment.tune is None:
        raise ConfigError(f"{path}: no section tune; add one with space and num_trials to sweep")
    if experiment.store is None and not Path(experiment.output_dir).is_absolute():
        raise ConfigError(
            f"output_dir {experiment.output_dir}: in a job this must be absolute, as the working directory is Ray's "
            "throw-away copy; add --set output_dir=$PWD/runs"
        )
    if experiment.store is not None:
        return experiment.store if job == "study" else str(experiment.folder_store)
    return experiment.root if job == "study" else experiment.folder


def where_report(folder: Path | str) -> str:
    """The report where this machine has the job's folder, else where it lies on the cluster, or in a bucket."""
    if isinstance(folder, str):
        return f"report: {folder}/report.html"
    report = folder / "report.html"
    if report.is_file():
        return f"report: {report}"
    if folder.is_dir():
        return f"no report yet; what there is: {folder}"
    return f"report: {report} on the cluster; ray rsync-down cluster.yaml {folder}/ {folder.name}/ brings it here"


def _interrupted(number: int, frame: Any) -> None:
    """Leave the job to itself, or stop it, as the submission says."""
    for other in STOPS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt(number)
