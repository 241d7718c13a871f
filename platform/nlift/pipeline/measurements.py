"""Measurements: a contender on a set, computed once for all experiments under an output_dir.

A Ray task writes a measurement's folder (measurement_job.py); numbers alone come back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlift import cluster, progress
from nlift.data import sources
from nlift.data.files import read_json
from nlift.evaluation import evaluator, trec
from nlift.evaluation.datasets import RetrievalSet
from nlift.evaluation.set_rows import content_of
from nlift.pipeline import measurement_job
from nlift.pipeline.measurement_job import NUMBERS, Job, hashed, measuring_code, test_part
from nlift.settings import EvaluationSet

POLL_S = 0.5


@dataclass(frozen=True)
class Measurement:
    """What a name has on a set: metrics by group, and the file of its run where there is one."""

    name: str
    set_name: str
    groups: dict[str, dict[str, float]]
    queries: int = 0
    per_query: Path | None = None
    """What it has on every query, pair or example (per_query.py)."""
    run: Path | None = None
    deployed: dict[str, Any] | None = None
    """Of a hybrid: how the set's corpus would be searched, and what that gives."""
    picture: dict[str, Any] | None = None
    """What a page draws of an encoder's vectors (vector_picture.py)."""


def measured(jobs: Sequence[Job]) -> list[list[Measurement]]:
    """Of each job the measurements, in order: the contender's own, then its hybrid's. What is not there is computed.

    Raises NliftError for the user's mistakes.
    """
    todo = [job for job in {job.folder: job for job in jobs}.values() if not job.is_done()]
    if todo:
        with progress.bar("evaluate", sum(job.texts for job in todo), "texts") as advance:
            for done in _run(todo):
                advance(done)
    for job in todo:
        job.is_done()  # what another machine measured is fetched
    return [_read(job.folder, job.config.name) for job in jobs]


def folders(results: Sequence[Measurement]) -> list[str]:
    """The names of the folders that measurements are read from."""
    return sorted({result.per_query.parent.name for result in results if result.per_query is not None})


def judged_run(config: EvaluationSet, is_dev: bool, path: Path, measures: Sequence[str], root: Path) -> Measurement:
    """What a run of another tool has on a retrieval set; `root` is where measurements stand.

    Raises DataError as `trec.read_run` does.
    """
    dataset = test_part(config, is_dev)
    assert isinstance(dataset, RetrievalSet)
    tag, run = trec.read_run(path, dataset.queries, [document.doc_id for document in dataset.documents])
    run = {
        query: [hit for hit in hits if query not in dataset.own_documents or hit[0] != query]
        for query, hits in run.items()
    }
    result = evaluator.measure_run(tag, dataset, run)
    evaluator.measure_further(result, dataset, measures)
    identity = [sources.fingerprint(path), config.model_dump(mode="json"), content_of(config), is_dev, list(measures)]
    folder = root / hashed([identity, measuring_code()])
    measurement_job.write(folder, [result])
    return _read(folder, config.name)[0]


def _run(jobs: Sequence[Job]) -> Iterator[int]:
    """Run jobs as Ray tasks; yields how many texts were done since the last time."""
    import ray

    task = ray_task(measurement_job.measure)
    waiting, before = [task.remote(job) for job in jobs], 0
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, timeout=POLL_S)
            for reference in ready:
                cluster.get(reference)
            done = sum(job.texts if job.folder.exists() else min(_count(job.counted), job.texts) for job in jobs)
            yield max(done - before, 0)
            before = max(done, before)
    finally:
        for reference in waiting:
            ray.cancel(reference)
        for job in jobs:
            job.counted.unlink(missing_ok=True)


def ray_task(function: Callable[..., Any]) -> Any:
    """A function as a Ray task on a CPU, and a GPU where there are any."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0)
    return ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=2)(function)


def _count(path: Path) -> int:
    text = path.read_text() if path.exists() else ""
    return int(text) if text.isdigit() else 0


def _read(folder: Path, set_name: str) -> list[Measurement]:
    measured = []
    for i, row in enumerate(read_json(folder / NUMBERS)):
        run, queries = folder / f"{i}.trec", folder / f"{i}.parquet"
        trec_run = run if run.exists() else None
        measured.append(
            Measurement(
                row["name"],
                set_name,
                row["groups"],
                row["queries"],
                queries,
                trec_run,
                row["deployed"],
                row["picture"],
            )
        )
    return measured
