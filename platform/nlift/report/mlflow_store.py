"""Logged runs in a store of MLflow: a database, or a server's.

A stage is known by the tag `nlift.fingerprint`: what is there is not logged again, and what was cut halfway is
replaced. An MLflow run counts as cut until it has been ended, which is the last thing that is written of it.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nlift.errors import NliftError, first_line
from nlift.report.logged_runs import LoggedRun, Name

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_URI = "sqlite:///mlflow.db"  # where `mlflow ui` looks, started in the same folder
FINGERPRINT = "nlift.fingerprint"
METRICS_AT_ONCE, PARAMS_AT_ONCE = 1000, 100  # what MLflow takes in one request
LONGEST_KEY, LONGEST_PART = 250, 80
NOT_ALLOWED = re.compile(r"[^\w.\- ]")
QUIET = {  # unless they are set: nothing is sent to MLflow's makers, and a server that is not there is told of soon
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


def store_uri(given: str | None) -> str:
    """The store that is meant: the one given, else MLFLOW_TRACKING_URI, else a file in the working directory."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def shown_uri(uri: str) -> str:
    """An URI without the password that may be in it."""
    return re.sub(r"//[^/@]*@", "//", uri)


def log(runs: Sequence[LoggedRun], experiment: str, uri: str) -> list[str]:
    """Log what the store has not yet into an MLflow experiment; the names of what is new, in order.

    Raises NliftError where MLflow is not installed, or its store refuses.
    """
    client = _client(uri)
    with _user_errors(uri):
        mlflow_experiment = client.get_experiment_by_name(experiment)
        place = mlflow_experiment.experiment_id if mlflow_experiment else client.create_experiment(experiment)
        return [run.name for run in runs if _log_stage(client, place, run)]


def _client(uri: str) -> "MlflowClient":
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
    except ImportError:
        raise NliftError(
            "--to mlflow: MLflow is not installed; pip install mlflow-skinny, or nlift with its extra mlflow"
        ) from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they tell how a new database is made
    with _user_errors(uri):
        return mlflow.MlflowClient(tracking_uri=uri)


@contextmanager
def _user_errors(uri: str) -> Iterator[None]:
    """What a store says of itself as a mistake of the user's: it is not there, or does not let us in."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise NliftError(f"MLflow at {shown_uri(uri)}: {shown_uri(first_line(error))}") from None


def _log_stage(client: "MlflowClient", place: str, run: LoggedRun) -> bool:
    """Log a stage and its trials, unless they are there; whether they were not."""
    for there in client.search_runs([place], f"tags.`{FINGERPRINT}` = '{run.fingerprint}'"):
        if there.info.end_time is not None:
            return False
        of_trials = f"tags.`mlflow.parentRunId` = '{there.info.run_id}'"
        while begun := client.search_runs([place], of_trials):
            for child in begun:
                client.delete_run(child.info.run_id)
        client.delete_run(there.info.run_id)
    run_id = _begin(client, place, run)
    for trial in run.trials:
        _end(client, _begin(client, place, trial, {"mlflow.parentRunId": run_id}), trial)
    _end(client, run_id, run)
    return True


def _begin(client: "MlflowClient", place: str, run: LoggedRun, more: dict[str, str] | None = None) -> str:
    """Log all of a run but its end; its id."""
    from mlflow.entities import Metric, Param

    tags = {**run.tags, FINGERPRINT: run.fingerprint, **(more or {})}
    if commit := run.tags.get("nlift.git_commit"):
        tags["mlflow.source.git.commit"] = commit
    begun = client.create_run(place, start_time=run.began_ms, tags=tags, run_name=run.name[:LONGEST_KEY])
    run_id: str = begun.info.run_id
    metrics = [Metric(key_of(row.name, "/"), row.value, row.time_ms, row.step) for row in run.figures]
    params = [Param(key_of(name, "."), value) for name, value in run.params.items()]
    for start in range(0, len(metrics), METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_AT_ONCE])
    for start in range(0, len(params), PARAMS_AT_ONCE):
        client.log_batch(run_id, params=params[start : start + PARAMS_AT_ONCE])
    for path in run.files:
        client.log_artifact(run_id, str(path))
    return run_id


def _end(client: "MlflowClient", run_id: str, run: LoggedRun) -> None:
    client.set_terminated(run_id, status="FAILED" if run.failed else "FINISHED", end_time=run.ended_ms)


def key_of(name: Name, between: str) -> str:
    """A name as MLflow allows it; what it does not allow becomes `_`, and a hash keeps apart what would be alike."""
    key = between.join(_part(part) for part in name)
    return key if len(key) <= LONGEST_KEY else f"{key[: LONGEST_KEY - 9]}-{_digest(key)}"


def _part(part: str) -> str:
    wanted = part.replace("@", "_at_")
    allowed = NOT_ALLOWED.sub("_", wanted).strip(" .")[:LONGEST_PART]
    return allowed if allowed == wanted else f"{allowed}-{_digest(part)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:8]
