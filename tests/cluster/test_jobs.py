"""Pipeline, sweep and study as submitted jobs on three raylets with tokens: logs, exit codes, a job that is stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cluster_of_nodes import Nodes, size_of, watched
from experiment_on_nodes import small_experiment

from nlift.data.files import read_json
from nlift.pipeline.stage_folder import read_manifest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes():
    """A head and two nodes, started beside the `python` that jobs run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        with Nodes(dashboard=True) as nodes:
            nodes.add()
            nodes.add()
            yield nodes


@pytest.fixture(scope="module")
def file(nodes, bert, tmp_path_factory):
    """The experiment as a file; in a job the cluster is the job's."""
    folder = tmp_path_factory.mktemp("jobs")
    raw = small_experiment(folder, "local", bert).model_dump(mode="json")
    (folder / "x.yaml").write_text(yaml.safe_dump({**raw, "index": None}))
    return folder / "x.yaml"


def submitted(nodes, folder, file, *options):
    """`nlift submit` as a process; what it says goes to `folder/output`."""
    command = [
        "submit",
        str(file),
        "--address",
        nodes.dashboard_url,
        "--set",
        f"output_dir={folder / 'runs'}",
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT / 'serve'}"}
    with (folder / "output").open("a") as output:
        line = [sys.executable, "-m", "nlift.cli", *command]
        return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=output, stderr=output)


def ended(process, folder):
    """Its exit code, and all it said."""
    code = watched(process, folder / "output", lambda: size_of(folder))
    return code, (folder / "output").read_text()


def test_a_pipeline_that_is_stopped_goes_on(nodes, file, tmp_path):
    slow = ["--set", "translate.engine=transformers", "--set", "translate.num_beams=8", "--set", "nli.limit=800"]
    options = [*slow, "--set", "translate.num_actors=1", "--stop-on-interrupt", "--only", "nli", "--only", "translate"]
    process = submitted(nodes, tmp_path, file, *options)
    while not list(tmp_path.glob("runs/translations/*/*.parquet")):
        assert process.poll() is None, (tmp_path / "output").read_text()
    process.send_signal(signal.SIGINT)
    code, said = ended(process, tmp_path)
    assert code == 130 and "is stopped: what it finished is kept" in said
    code, said = ended(submitted(nodes, tmp_path, file, *options), tmp_path)
    assert code == 0 and "translate" in said and "no report yet" not in said.splitlines()[0]
    manifest = read_manifest(tmp_path / "runs" / "run" / "translate")
    assert 0 < manifest["translated_now"] < manifest["distinct_sentences"]


def test_a_sweep(nodes, file, tmp_path):
    code, said = ended(submitted(nodes, tmp_path, file, "--job", "tune"), tmp_path)
    assert code == 0, said[-3000:]
    trials = read_json(tmp_path / "runs" / "run" / "tune" / "trials.json")["trials"]
    assert [trial["status"] for trial in trials] == ["finished", "finished"]


def test_a_study(nodes, file, tmp_path):
    cells = [{"name": "plain"}, {"name": "pairs", "set": {"train.mode": "pairs"}}]
    study = {"name": "study", "experiment": str(file), "seeds": [1], "cells": cells, "set": {"tune": None}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    code, said = ended(submitted(nodes, tmp_path, tmp_path / "study.yaml"), tmp_path)
    assert code == 0, said[-3000:]
    assert (tmp_path / "runs" / "study" / "report.html").is_file() and "report: " in said


def test_a_job_that_fails_says_why_and_ends_as_it(nodes, file, tmp_path):
    code, said = ended(submitted(nodes, tmp_path, file, "--set", "nli.path=/nowhere.tsv"), tmp_path)
    assert code == 1 and "error: " in said and "/nowhere.tsv" in said and "Traceback" not in said
