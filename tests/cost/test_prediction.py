"""Times by hand-computed sums, and what holds of every prediction."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.config import Experiment
from nlift.cost.machines import Machines, NodeType
from nlift.cost.model_size import size_of
from nlift.cost.prediction import Predictor
from nlift.cost.rates import Rate, Rates, content_of
from nlift.pipeline import score, train, translate
from nlift.pipeline.stage import DataSize
from nlift.pipeline.workload import NamedModel

SIZE = DataSize(rows=1000, rows_in=1000, sentences=2000, sample=["a b c d"], triplets=500, with_negative=500)
KINDS = {"translate": "translator", "score": "comet", "embed": "encoder", "train": "encoder"}


def here(cpus, gpus=0):
    return Machines("here", NodeType("machine", cpus, gpus), is_here=True)


def experiment(folder, **changes):
    raw = {
        "name": "a",
        "output_dir": str(folder),
        "nli": {"path": "embedded"},
        "translate": {"model": "embedded", "num_beams": 1, "shard_size": 100},
        "score": {"model": "embedded", "shard_size": 100},
        "train": {"base_model": "embedded", "global_batch_size": 50, "epochs": 1, "base_share": 0},
    }
    return Experiment.model_validate({**raw, **changes})


def rates(tokens_per_s=100.0, start_s=7.0, ray_start_s=3.0, uses=tuple(KINDS), device="cpu", beside=1):
    measured = []
    for use in uses:
        model = NamedModel("embedded", KINDS[use])
        size = size_of(model)
        measured.append(
            Rate(
                use,
                "embedded",
                content_of(model),
                "",
                device,
                "",
                1,
                beside,
                tokens_per_s,
                start_s,
                size.operations(),
                size.parameters,
            )
        )
    return Rates(tuple(measured), ray_start_s)


def by_name(prediction):
    return {stage.name: stage for stage in prediction.stages}


def test_stages_by_hand(tmp_path):
    """Two workers share the tokens; Ray starts once, models once a stage; joins are nobody's to share."""
    made = experiment(
        tmp_path,
        train={"base_model": "embedded", "global_batch_size": 50, "epochs": 1, "num_workers": 2, "base_share": 0},
    )
    stages = by_name(Predictor(made, SIZE, here(2), [rates()]).planned())
    (translation,) = translate.STAGE.workload(made, SIZE).passes
    assert stages["translate"].start_s == 7 + 3 and stages["score"].start_s == 7
    assert stages["translate"].shared_s == pytest.approx(translation.tokens / 100 / 2)
    assert stages["translate"].serial_s == pytest.approx(1000 * translate.S_PER_ROW)
    assert stages["translate"].seconds == pytest.approx(10 + 1000 * translate.S_PER_ROW + translation.tokens / 200)
    (training,) = train.STAGE.workload(made, SIZE).passes
    assert stages["train"].shared_s == pytest.approx(training.tokens / 100 / 2)
    assert list(stages) == ["nli", "translate", "score", "triplets", "train"]


def test_no_more_workers_share_than_there_are_shards(tmp_path):
    made = experiment(tmp_path, score={"model": "embedded", "shard_size": 1000})
    stages = by_name(Predictor(made, SIZE, here(8), [rates()]).planned())
    (scoring,) = score.STAGE.workload(made, SIZE).passes
    assert stages["score"].shared_s == pytest.approx(scoring.tokens / 100 / 2)  # 2,000 sentences


def test_one_training_worker_has_all_threads_of_this_machine_and_one_elsewhere(tmp_path):
    made = experiment(tmp_path)
    (training,) = train.STAGE.workload(made, SIZE).passes
    alone = by_name(Predictor(made, SIZE, here(4), [rates()]).planned())["train"]
    assert alone.shared_s == pytest.approx(training.tokens / 400)
    elsewhere = Machines("x", NodeType("head", 4))
    assert by_name(Predictor(made, SIZE, elsewhere, [rates()]).planned())["train"].shared_s == pytest.approx(
        training.tokens / 100
    )


def test_a_cluster_has_started_ray_already(tmp_path):
    stages = by_name(Predictor(experiment(tmp_path), SIZE, Machines("x", NodeType("head", 2)), [rates()]).planned())
    assert stages["translate"].start_s == 7


def test_what_is_not_known_is_said_and_the_rest_counted(tmp_path):
    known = rates(uses=("translate", "score"))
    planned = Predictor(experiment(tmp_path), SIZE, here(2), [known]).planned()
    assert planned.missing == ["train: no rate of embedded on a CPU"]
    assert by_name(planned)["train"].shared_s == 0 and planned.seconds > 0


def test_rates_measured_here_come_first(tmp_path):
    made, slow = experiment(tmp_path), rates(tokens_per_s=1.0)
    both = Predictor(made, SIZE, here(1), [rates(uses=("translate",)), slow]).planned()
    assert by_name(both)["translate"].shared_s < by_name(both)["score"].shared_s / 50


def test_money(tmp_path):
    machines = Machines("x", NodeType("head", 8), (NodeType("gpu", 4, 1, 4),), 4).with_prices(["head=0.5", "gpu=2"])
    predictor = Predictor(experiment(tmp_path), SIZE, machines, [rates(device="gpu")])
    runs = predictor.scaled()
    assert [run.workers for run in runs] == [1, 2, 4]
    assert runs[0].money == pytest.approx(2.5 * runs[0].seconds / 3600)
    assert runs[2].money == pytest.approx(8.5 * runs[2].seconds / 3600)
    assert predictor.planned().money == pytest.approx(8.5 * predictor.planned().seconds / 3600)


@pytest.mark.parametrize(
    ("places", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_numbers_of_workers(tmp_path, places, counts):
    assert [run.workers for run in Predictor(experiment(tmp_path), SIZE, here(places), [rates()]).scaled()] == counts


def test_only_what_is_shared_falls(tmp_path):
    runs = Predictor(experiment(tmp_path), SIZE, here(16), [rates()]).scaled()
    for before, after in pairwise(runs):
        for stage_before, stage_after in zip(before.stages, after.stages, strict=True):
            assert stage_after.shared_s <= stage_before.shared_s
            assert (stage_after.start_s, stage_after.serial_s) == (stage_before.start_s, stage_before.serial_s)
        assert after.seconds < before.seconds


def test_training_takes_as_many_workers_as_the_batch_splits_over(tmp_path):
    predictor = Predictor(experiment(tmp_path), SIZE, Machines("x", NodeType("head", 3)), [rates()])
    (training,) = train.STAGE.workload(experiment(tmp_path), SIZE).passes
    assert by_name(predictor.with_workers(3))["train"].shared_s == pytest.approx(training.tokens / 200)  # 50 in two


def test_stages_that_are_done_take_no_time(tmp_path):
    made = experiment(tmp_path)
    predictor = Predictor(made, SIZE, here(2), [rates()])
    with predictor.undone()[0].folder(made).writing():
        pass
    assert "nli" not in by_name(predictor.planned())


@given(
    sentences=st.integers(0, 10**9),
    triplets=st.integers(0, 10**9),
    workers=st.integers(1, 500),
    tokens_per_s=st.floats(1e-3, 1e9),
    start_s=st.floats(0, 1e4),
    beside=st.integers(1, 64),
)
@settings(deadline=None, max_examples=50)
def test_every_prediction_is_a_time(tmp_path_factory, sentences, triplets, workers, tokens_per_s, start_s, beside):
    size = DataSize(
        rows=sentences,
        rows_in=sentences,
        sentences=sentences,
        sample=["a b"],
        triplets=triplets,
        with_negative=triplets // 2,
    )
    known = rates(tokens_per_s, start_s, start_s, beside=beside)
    predictor = Predictor(experiment(tmp_path_factory.getbasetemp() / "none"), size, here(workers), [known])
    seconds = [run.seconds for run in (predictor.planned(), *predictor.scaled())]
    assert all(math.isfinite(value) and value >= 0 for value in seconds)
    assert seconds[1:] == sorted(seconds[1:], reverse=True)
