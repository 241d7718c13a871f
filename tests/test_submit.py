"""The pipeline as a submitted Ray job, as the README says it, on a machine without a token and on one that has it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nlift import cluster
from nlift.cli import jobs
from nlift.errors import ConfigError, ResourceError
from nlift.settings import ClusterConfig
from nlift.submit import submit

ROOT = Path(__file__).parents[1]
RAY = str(Path(sys.executable).parent / "ray")


@pytest.mark.parametrize("script", ["run_pipeline.py", "run_tune.py", "run_study.py"])
def test_a_job_script_is_short_and_says_its_mistakes(script, tmp_path):
    path = ROOT / "jobs" / script
    assert len(path.read_text().splitlines()) <= 15
    done = subprocess.run([sys.executable, str(path), "nothing.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "nothing.yaml: no such" in done.stderr


def test_a_job_script_takes_what_the_command_takes():
    command = [sys.executable, "jobs/run_pipeline.py", "jobs/experiments/demo.yaml", "--only", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "--only nothing: no such stage" in done.stderr


def test_workers_of_a_job_find_the_library_in_rays_copy(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cluster.python_path() == f"{ROOT / 'platform'}{os.pathsep}{ROOT / 'serve'}"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert cluster.python_path() == f"platform{os.pathsep}serve"


def test_submitting_outside_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResourceError, match="run nlift submit from the root of a checkout"):
        submit("pipeline", "http://127.0.0.1:1", ["a.yaml"], print)


def test_submitting_where_no_cluster_answers(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ResourceError, match=r"--address http://127\.0\.0\.1:1: ") as caught:
        submit("pipeline", "http://127.0.0.1:1", ["a.yaml"], print)
    assert "\n" not in str(caught.value)


DEMO, STUDY = ROOT / "jobs" / "experiments" / "demo.yaml", ROOT / "jobs" / "experiments" / "studies" / "ablation.yaml"


def test_the_job_is_what_the_file_is():
    assert (jobs.job_of(DEMO), jobs.job_of(STUDY), jobs.job_of(DEMO, "tune")) == ("pipeline", "study", "tune")
    with pytest.raises(ConfigError, match="is a study"):
        jobs.job_of(STUDY, "tune")
    with pytest.raises(ConfigError, match="is an experiment"):
        jobs.job_of(DEMO, "study")
    with pytest.raises(ConfigError, match="expected pipeline, tune, study"):
        jobs.job_of(DEMO, "sweep")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([DEMO], "output_dir runs: in a job this must be absolute"),
        ([STUDY, "--only", "train"], "--only: of a pipeline alone"),
        ([DEMO, "--job", "study"], "is an experiment"),
        (["nothing.yaml"], "no such experiment file"),
    ],
)
def test_what_a_job_would_refuse_is_not_submitted(arguments, said):
    command = ["submit", *map(str, arguments), "--address", "http://127.0.0.1:1"]
    done = subprocess.run(
        [sys.executable, "-m", "nlift.cli", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT / 'serve'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and said in done.stderr and "127.0.0.1" not in done.stderr


def test_where_the_report_is(tmp_path):
    folder = jobs.folder_of("pipeline", DEMO, [f"output_dir={tmp_path}"])
    assert folder == tmp_path / "demo" and jobs.folder_of("tune", DEMO, [f"output_dir={tmp_path}"]) == folder
    assert "on the cluster" in jobs.where_report(folder)
    folder.mkdir()
    assert "no report yet" in jobs.where_report(folder)
    (folder / "report.html").write_text("<p>")
    assert jobs.where_report(folder) == f"report: {folder / 'report.html'}"


@pytest.mark.slow
def test_a_cluster_that_is_not_there():
    code = (
        "from nlift import cluster; from nlift.settings import ClusterConfig\n"
        "try: cluster.connect(ClusterConfig(address='127.0.0.1:1'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = {**os.environ, "RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_NUM_REDIS_GET_RETRIES": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert ResourceError.__name__ in done.stdout and "ray start --head" in done.stdout, done.stderr[-500:]
    assert ClusterConfig().address == "local"


@pytest.mark.slow
@pytest.mark.parametrize("token_before", [False, True])
def test_the_pipeline_as_a_ray_job(address_of_another_ray, tiny_run, tmp_path, token_before):
    if token_before:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("0123456789abcdef0123456789abcdef")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "HOME": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_TMPDIR": "/tmp",
        "RAY_ADDRESS": "http://127.0.0.1:8267",
    }

    raw = tiny_run.model_dump(mode="json") | {
        "name": "job",
        "index": None,
        "evaluate": {"sets": []},
        "output_dir": "runs",
    }
    raw["train"] |= {"dev": None, "epochs": 1}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(raw))

    subprocess.run([RAY, "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    start = [RAY, "start", "--head", "--block", "--num-cpus=2", "--port=6391", "--dashboard-port=8267"]
    start += ["--dashboard-agent-listen-port=52399"]  # the usual one is the session's Ray's
    start_environment = {key: value for key, value in environment.items() if key != "RAY_ADDRESS"}
    head = subprocess.Popen(start, env=start_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        command = [RAY, "job", "submit", "--working-dir", ".", "--", "python", "jobs/run_pipeline.py"]
        command += [str(tmp_path / "job.yaml"), "--set", f"output_dir={tmp_path / 'runs'}"]
        for _ in range(30):
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            if not any(text in done.stderr.lower() for text in ("connect", "no available agent")):  # not up yet
                break
            time.sleep(2)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert (tmp_path / "runs" / "job" / "train" / "encoder" / "model.safetensors").is_file()
    finally:
        head.terminate()
        head.wait(60)
