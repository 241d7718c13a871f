"""A run logged to a real local store of MLflow: what is there afterwards, once, also where logging was cut halfway."""

import json
import math
import shutil
import sys

import pytest
from conftest import RETRIEVAL, STS, encoder_metrics
from typer.testing import CliRunner

from nlift.cli import app
from nlift.data.files import write_json
from nlift.pipeline.stage_folder import StageFolder
from nlift.report import logged_runs, mlflow_store
from nlift.report.mlflow_store import key_of

pytest.importorskip("mlflow")
# SQLAlchemy says that of MLflow's own tables
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A database of MLflow's with its tables and nothing in them; to make them takes long."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    """The URI of an empty store, which the environment names."""
    monkeypatch.chdir(tmp_path)  # MLflow puts files below the working directory
    uri = f"sqlite:///{shutil.copy(empty_store, tmp_path)}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


ODD = ["org/name", "a@b", "a_b", "a b/../c", "..", "x" * 100, "żółw", "'; --", "%"]


@pytest.fixture
def run(tmp_path):
    """A run with a training, a sweep and an evaluation."""
    folder = tmp_path / "runs" / "demo"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<title>demo</title>")
    config = {"learning_rate": 0.5, "base_model": "embedded", "revision": None, "guard": ["a"]}
    with StageFolder("train", folder / "train", {"config": config, "seed": 3}).writing() as output:
        (output.path / "encoder").mkdir()
        (output.path / "encoder" / "README.md").write_text("# card")
        rows = [{"step": step, "loss": 1 / step, "time": 1000.5 + step} for step in range(1, 1501)]
        rows[7]["loss"] = math.nan
        (output.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        dev = {"step": 9, "ndcg@10": 0.25, "time": 1009.0}
        (output.path / "dev.jsonl").write_text(json.dumps(dev) + "\n")
        output.rows_in, output.rows_out = 12, 10
        output.notes = {"steps": 1500, "metrics": {"ndcg@10": 0.25}, "guard": None}
    trials = [
        {"config": {"train.temperature": 0.05}, "seed": 1, "status": "finished", "value": 0.5, "steps": 6, "seconds": 2}
        | {"error": None, "history": [[3, 0.25], [6, 0.5]]},
        {"config": {"train.temperature": 9.0}, "seed": 1, "status": "failed", "value": None, "steps": None}
        | {"seconds": None, "error": "no number", "history": []},
    ]
    with StageFolder("tune", folder / "tune", {"tune": {"space": {"a.b": 1}}}).writing() as output:
        write_json(output.path / "trials.json", {"metric": "ndcg@10", "configurations": [], "trials": trials})
        (output.path / "best.yaml").write_text("seed: 1\n")
    trained = json.loads((folder / "train" / "manifest.json").read_text())["fingerprint"]
    with StageFolder("evaluate", folder / "evaluate", {"inputs": [trained]}).writing() as output:
        encoders = {
            "tuned": encoder_metrics({"pairs": STS}, dict.fromkeys(ODD, RETRIEVAL)),
            "org/e": encoder_metrics({}, {"places": RETRIEVAL}),
        }
        metrics = {"encoders": encoders, "translation": {"wmt": {"org/m": {"chrf": 0.5, "pairs": 3}}}}
        write_json(output.path / "metrics.json", metrics)
        write_json(output.path / "comparisons.json", [])
    return folder


def call(*arguments):
    return CliRunner().invoke(app, ["log", *map(str, arguments)])


def logged(uri, name="demo"):
    """The client, and what is there by name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    return client, {row.info.run_name: row for row in client.search_runs([experiment.experiment_id])}


def files_of(client, row):
    return {file.path for file in client.list_artifacts(row.info.run_id)}


def test_every_stage_is_there(run, store):
    result = call(run, "--to", "mlflow")
    assert result.exit_code == 0 and "logged: train, tune, evaluate\n" in result.output, result.output
    client, rows = logged(store)
    train, evaluate = rows["train"], rows["evaluate"]
    manifest = json.loads((run / "train" / "manifest.json").read_text())
    assert train.info.status == "FINISHED" and train.info.end_time > 0
    tags = {key: value for key, value in train.data.tags.items() if key.startswith("nlift.")}
    known = {"nlift.stage": "train", "nlift.version": manifest["nlift"], "nlift.fingerprint": manifest["fingerprint"]}
    assert known.items() <= tags.items() and tags.get("nlift.git_commit") == manifest["git_commit"]
    assert train.data.params == {
        "config.learning_rate": "0.5",
        "config.base_model": "embedded",
        "config.revision": "null",
        "config.guard": '["a"]',
        "seed": "3",
    }
    figures = train.data.metrics
    assert (figures["rows_out"], figures["seconds"], figures["steps"]) == (10, manifest["seconds"], 1500)
    assert figures["best/ndcg_at_10"] == figures["dev/ndcg_at_10"] == 0.25
    curve = client.get_metric_history(train.info.run_id, "train/loss")
    assert len(curve) == 1500 and {row.step: row.value for row in curve}[4] == 0.25
    assert {row.timestamp for row in curve if row.step == 2} == {1002500}
    assert files_of(client, train) == {"manifest.json", "report.html", "README.md"}
    card = {"manifest.json", "report.html", "README.md", "metrics.json", "comparisons.json"}
    assert files_of(client, evaluate) == card
    assert evaluate.data.metrics["pairs/tuned/spearman"] == STS["spearman"]


def test_trials_are_nested(run, store):
    call(run, "--to", "mlflow")
    client, rows = logged(store)
    good, bad = rows["train.temperature 0.05, seed 1"], rows["train.temperature 9, seed 1"]
    parent = rows["tune"].info.run_id
    assert good.data.tags["mlflow.parentRunId"] == bad.data.tags["mlflow.parentRunId"] == parent
    assert (good.info.status, bad.info.status) == ("FINISHED", "FAILED") and bad.data.tags["nlift.error"] == "no number"
    assert good.data.params == {"train.temperature": "0.05", "seed": "1"}
    assert [row.value for row in client.get_metric_history(good.info.run_id, "dev/ndcg_at_10")] == [0.25, 0.5]
    assert {"best.yaml", "trials.json"} <= files_of(client, rows["tune"])


def test_odd_names_stay_apart(run, store):
    result = call(run, "--to", "mlflow")
    assert result.exit_code == 0, result.output
    figures = logged(store)[1]["evaluate"].data.metrics
    keys = [key for key in figures if key.endswith("/tuned/ndcg_at_10")]
    assert len(keys) == len(ODD) and {"a_b/tuned/ndcg_at_10", "żółw/tuned/ndcg_at_10"} <= set(keys)
    assert all(key.count("/") == 2 for key in keys)
    assert [key for key in figures if key.startswith("places/org_e-")]
    assert [key for key in figures if key.startswith("wmt/org_m-")]


def test_a_second_time_logs_nothing(run, store):
    call(run, "--to", "mlflow")
    before = {name: row.info.run_id for name, row in logged(store)[1].items()}
    result = call(run, "--to", "mlflow")
    assert result.exit_code == 0 and "nothing to log" in result.output
    client, rows = logged(store)
    assert {name: row.info.run_id for name, row in rows.items()} == before and len(before) == 5
    assert len(client.get_metric_history(rows["train"].info.run_id, "train/loss")) == 1500


def test_what_is_new_is_added(run, store):
    shutil.move(run / "evaluate", run.parent / "evaluate")
    assert "logged: train, tune\n" in call(run, "--to", "mlflow").output
    shutil.move(run.parent / "evaluate", run / "evaluate")
    assert "logged: evaluate\n" in call(run, "--to", "mlflow").output
    with StageFolder("train", run / "train", {"seed": 4}).writing() as output:
        output.rows_out = 11
    assert "logged: train\n" in call(run, "--to", "mlflow").output


def test_what_was_cut_is_replaced(run, store):
    call(run, "--to", "mlflow")
    client, rows = logged(store)
    tune = rows["tune"].info
    for name in ("tune", "train.temperature 9, seed 1"):
        client.delete_run(rows[name].info.run_id)
    (_, stage, _) = logged_runs.read(run)
    half = mlflow_store._begin(client, tune.experiment_id, stage)
    mlflow_store._begin(client, tune.experiment_id, stage.trials[0], {"mlflow.parentRunId": half})
    assert "logged: tune\n" in call(run, "--to", "mlflow").output
    runs = client.search_runs([tune.experiment_id])
    assert half not in [row.info.run_id for row in runs]
    assert [row.info.run_name for row in runs].count("tune") == 1
    new = next(row.info.run_id for row in runs if row.info.run_name == "tune")
    assert sum(row.data.tags.get("mlflow.parentRunId") == new for row in runs) == 2


def test_the_store_of_the_environment_and_the_option(run, store, tmp_path, monkeypatch):
    """The option wins; a password is not shown."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    refused = call(run, "--to", "mlflow")
    assert refused.exit_code == 2 and "secret" not in refused.output
    assert refused.output.startswith("error: MLflow at http://127.0.0.1:9: ") and refused.output.count("\n") == 1
    assert call(run, "--to", "mlflow", "--tracking-uri", store).exit_code == 0
    assert "train" in logged(store)[1]


def test_the_store_where_nothing_names_one(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_store.store_uri(None) == "sqlite:///mlflow.db"


def assert_one_line(result, *parts):
    assert result.exit_code == 2, result.output
    assert result.output.startswith("error: ") and result.output.count("\n") == 1
    assert all(part in result.output for part in parts)


def test_mistakes(run, store, tmp_path):
    assert_one_line(call("nothing", "--to", "mlflow"), "nothing: no such folder")
    assert_one_line(call(run.parent, "--to", "mlflow"), "no finished stage", "one of the runs in it: demo")
    assert_one_line(call(run / "train", "--to", "mlflow"), "no finished stage", "as runs/demo")
    assert_one_line(call(run, "--to", "wandb"), "--to wandb: expected mlflow")
    assert_one_line(call(run, "--to", "mlflow", "--tracking-uri", "odd://x"), "MLflow at odd://x")
    (run / "tune" / "manifest.json").write_text("{")
    assert_one_line(call(run, "--to", "mlflow"), "not a manifest of nlift")
    assert call(run).exit_code == 2


def test_without_mlflow(run, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert_one_line(call(run, "--to", "mlflow"), "MLflow is not installed", "pip install mlflow-skinny")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (("a", "ndcg@10"), "a/ndcg_at_10"),
        (("recall@100",), "recall_at_100"),
        (("train", "x y"), "train/x y"),
    ],
)
def test_allowed_names_can_be_read(name, key):
    assert key_of(name, "/") == key


def test_a_long_key_is_cut():
    keys = {key_of(("x" * 79, "y" * 79, "z" * 79, "w" * 70, str(i)), ".") for i in range(3)}
    assert len(keys) == 3 and {len(key) for key in keys} == {250}
