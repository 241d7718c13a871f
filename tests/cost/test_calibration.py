"""Rates measured for real, on the session's Ray, with tiny models."""

import math
from dataclasses import replace
from functools import partial

import pytest

from nlift.config import Experiment
from nlift.cost import calibration, rates
from nlift.cost.calibration import Task
from nlift.cost.machines import Machines, NodeType
from nlift.cost.prediction import Predictor
from nlift.pipeline.survey import survey
from nlift.pipeline.workload import NamedModel


@pytest.fixture
def quick(ray_session, monkeypatch):
    """Short measurements, on one CPU: this is about what is measured, not about how well."""
    node = calibration._node()
    monkeypatch.setattr(calibration, "_node", lambda: replace(node, places=1))
    monkeypatch.setattr(calibration, "WORK_S", 0.0)
    monkeypatch.setattr(calibration, "MOST_TEXTS", 16)
    monkeypatch.setattr(calibration, "MOST_ROWS", 4)
    return node


def experiment(folder, model):
    return Experiment.model_validate(
        {
            "name": "a",
            "output_dir": str(folder / "runs"),
            "nli": {"path": "embedded", "limit": 100},
            "translate": None,
            "score": None,
            "triplets": {"require_negative": False},
            "train": {"base_model": str(model), "global_batch_size": 10, "epochs": 1, "base_share": 0},
        }
    )


def test_an_experiments_models_are_measured_and_its_time_predicted(quick, bert, tmp_path):
    made = experiment(tmp_path, bert)
    result = calibration.calibrate([made])
    assert result.ray_start_s is None and not result.failures  # Ray was there already
    assert [(rate.use, rate.device, rate.threads, rate.beside) for rate in result.rates] == [
        ("embed", "cpu", 1, 1),
        ("train", "cpu", 1, 1),
    ]
    for rate in result.rates:
        assert rate.model == str(bert) and rate.hardware == rates.cpu_name()
        assert rate.tokens_per_s > 0 and math.isfinite(rate.tokens_per_s) and rate.start_s > 0
    machine = Machines("here", NodeType("machine", 1), is_here=True)
    planned = Predictor(made, survey(made), machine, [rates.Rates(result.rates, 1.0)]).planned()
    assert not planned.missing and {line for stage in planned.stages for line in stage.basis} == {"measured"}


@pytest.mark.slow
def test_workers_side_by_side(quick, bert, sentences):
    make = partial(calibration._embedder, str(bert), None, "float32", 64)
    task = Task("embed", NamedModel(str(bert), "encoder"), "float32", make, sentences)
    alone, together = calibration._measured(task, replace(quick, places=2))
    assert (alone.beside, together.beside) == (1, 2)
    assert alone.start_s == together.start_s and alone.key != together.key


def test_a_model_that_cannot_be_loaded_is_a_line(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_training", lambda *given: [])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    result = calibration.calibrate([experiment(tmp_path, tmp_path / "broken")])
    (line,) = result.failures
    assert str(tmp_path / "broken") in line and len(line.splitlines()) == 1 and not result.rates


def test_without_an_experiment_the_embedded_models_are_measured_in_every_way_that_ships():
    tasks = [task for made in calibration.default_experiments() for task in calibration._tasks(made, ["a b"])]
    shipped = {(rate.use, rate.settings) for rate in rates.shipped().measured}
    assert {(task.use, task.settings) for task in tasks} | {("train", "auto")} == shipped
