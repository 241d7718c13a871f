"""All stages with an output_dir that is a bucket, no folder shared between driver and workers; kills, and two at once.

Every run is a process with its own Ray: it finds the bucket as a cloud's job does.
"""

import json
import os
import signal
import time

import pytest
from conftest import started

from nlift import pipeline
from nlift.data import transfer
from nlift.data.sources import EMBEDDED
from nlift.data.stored_folder import StoredFolder, local_copy
from nlift.models.encoder import Encoder
from nlift.pipeline import train
from nlift.pipeline.stage_folder import read_manifest
from nlift.report import html, run_folder
from nlift.search import bundle_store
from nlift.search.bundle import Bundle
from nlift.training.trainer import RUN

# the session's Ray first: of those that are killed here one would keep its job agent's port for half a minute
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
LIMIT_S = 1200
TUNE = {
    "space": {"train.temperature": {"uniform": [0.04, 0.1]}, "triplets.side": {"choice": ["source"]}},
    "num_trials": 2,
    "metric": "spearman",
    "scheduler": "none",
}


@pytest.fixture
def experiment(tiny_experiment, bucket, tmp_path):
    """The tiny one in a bucket, watched on pairs that are enough to compare base and tuned on."""
    lines = (EMBEDDED / "data" / "stsb_pl.tsv").read_text().splitlines()[:201]
    (tmp_path / "sts.tsv").write_text("\n".join(lines) + "\n")
    sets = [config.model_dump(mode="json") for config in tiny_experiment.evaluate.sets]
    sets[1]["path"] = str(tmp_path / "sts.tsv")
    changes = {"output_dir": f"{bucket}/runs", "evaluate.sets": sets, "train.dev": "pairs", "cluster.num_cpus": 2}
    return tiny_experiment.override({**changes, "train.checkpoint_every_steps": 1})


def start(kind, experiment, folder, monkeypatch):
    """A run on a machine of its own, its workers on another."""
    folder.mkdir(exist_ok=True)
    (folder / "experiment.json").write_text(experiment.model_dump_json())
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "driver"))
        return started(
            "run_experiment.py", folder, kind, folder / "experiment.json", "--workers-cache", folder / "workers"
        )


def finish(process, folder):
    assert process.wait(LIMIT_S) == 0, (folder / "output").read_text()[-5000:]


def wait_for(name, uri, process, folder):
    """Wait until there is a file under a URI whose path has a name in it."""
    end = time.monotonic() + LIMIT_S
    while not [path for path in transfer.sizes(uri) if name in path]:
        assert process.poll() is None and time.monotonic() < end, (folder / "output").read_text()[-5000:]
        time.sleep(0.1)


def nothing_is_left(experiment):
    return not [path for path in transfer.sizes(experiment.store) if ".tmp" in path.partition("/")[2].split("/")[0]]


def test_kill_9_of_the_driver_and_another_machine_takes_over(experiment, tmp_path, monkeypatch):
    folder = tmp_path / "first"
    process = start("all", experiment, folder, monkeypatch)
    wait_for(f"/{RUN}/checkpoint_", experiment.folder_store, process, folder)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)  # Ray's processes see that their driver is gone
    assert StoredFolder(f"{experiment.folder_store}/train").about() is None
    translated = transfer.sizes(f"{experiment.store}/translations")
    process = start("all", experiment, folder, monkeypatch)
    finish(process, folder)
    assert transfer.sizes(f"{experiment.store}/translations") == translated and nothing_is_left(experiment)
    assert {path.name for path in (folder / "workers" / "nlift").iterdir()} >= {"folders", "output"}

    # this process is a third machine: nothing is here, and nothing has to be done
    assert not experiment.root.exists()
    assert [result.seconds for result in pipeline.run(experiment)] == [0.0] * len(pipeline.stages(experiment))
    manifest = read_manifest(train.STAGE.path(experiment))
    assert manifest["guard"]["chosen"] and manifest["steps"] == manifest["planned_steps"]
    logged = (train.STAGE.path(experiment) / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in logged] == list(range(1, manifest["steps"] + 1))
    uri = f"{experiment.folder_store}/index"
    assert Bundle.load(uri).search(["Kto?"], 3)[0] and bundle_store.read_aliases(uri).keys() == {"production"}
    assert Encoder.load(f"{experiment.folder_store}/train/encoder").dim == Encoder.load("embedded").dim
    assert html.redraw(run_folder.here(experiment.folder_store)).is_file()


def test_two_runs_at_once(experiment, tmp_path, monkeypatch):
    """Of one experiment, on two machines: both end, and what is kept is one of both, whole."""
    folders = [tmp_path / "first", tmp_path / "second"]
    stages = ["nli", "translate", "score", "triplets", "train"]
    processes = [start(",".join(stages), experiment, folder, monkeypatch) for folder in folders]
    for process, folder in zip(processes, folders, strict=True):
        finish(process, folder)
    assert nothing_is_left(experiment)
    assert Encoder.load(local_copy(f"{experiment.folder_store}/train") / "encoder")
    assert [result.seconds for result in pipeline.run(experiment, stages)] == [0.0] * len(stages)


def test_a_sweep(experiment, tmp_path, monkeypatch):
    """Trials of other triplets than the experiment's, their checkpoints in the bucket."""
    swept = experiment.override({"tune": TUNE, "train.num_workers": 1})
    process = start("tune", swept, tmp_path / "first", monkeypatch)
    finish(process, tmp_path / "first")
    tuned = local_copy(f"{swept.folder_store}/tune")
    content = json.loads((tuned / "trials.json").read_text())
    assert [trial["status"] for trial in content["trials"]] == ["finished"] * 2
    assert Encoder.load(tuned / "encoder") and nothing_is_left(swept)
    assert transfer.folders(swept.store) == ["scores", "tiny", "translations"]
