"""What is said of plans that make no sense, and what is assumed of data that is not here."""

from pathlib import Path

import pytest

from nlift.config import Experiment, load_experiment
from nlift.cost import rates
from nlift.cost.assumptions import assumed
from nlift.cost.doubts import doubts, duration, too_large
from nlift.cost.machines import Machines, NodeType
from nlift.cost.prediction import Predictor
from nlift.pipeline.stage import DataSize
from nlift.pipeline.workload import NamedModel, Pass

LABELS = ["entailment", "contradiction"]
PAPER = Path(__file__).parents[2] / "jobs" / "experiments" / "paper_pl.yaml"
SMALL = DataSize(rows=1000, rows_in=1000, sentences=2000, sample=["a b c d"], triplets=500, with_negative=500)


def here(cpus, memory=None):
    return Machines("here", NodeType("machine", cpus, memory=memory), is_here=True)


def lines(made, size, machines):
    predictor = Predictor(made, size, machines, [rates.shipped()])
    return list(doubts(predictor, predictor.planned()))


def small(folder, **changes):
    raw = {"name": "a", "output_dir": str(folder), "nli": {"path": "embedded"}, "translate": None, "score": None}
    return Experiment.model_validate({**raw, **changes})


def test_the_paper_on_two_cpus_takes_days_and_days(tmp_path):
    made = load_experiment(PAPER, [f"output_dir={tmp_path}"])
    size, line = assumed(made, DataSize(), None)
    assert "550,152 rows are assumed" in line
    (doubt,) = [line for line in lines(made, size, here(2)) if "makes little sense" in line]
    days = float(doubt.partition(" days on 2 CPUs")[0])
    assert days > 7 and "translate takes the most of it" in doubt and "GPUs" in doubt


def test_a_sensible_plan_gives_no_doubts(tmp_path):
    assert lines(small(tmp_path, train={"num_workers": 2, "global_batch_size": 50}), SMALL, here(2, 2**34)) == []


def test_workers_without_work(tmp_path):
    made = small(tmp_path, translate={"model": "embedded", "shard_size": 1000})
    many = DataSize(rows=30_000, rows_in=30_000, sentences=2900, sample=["a b " * 300], triplets=500, with_negative=500)
    assert "translate: no more than 3 of 8 CPUs have something to do" in lines(made, many, here(8))


def test_training_that_leaves_machines_idle(tmp_path):
    made = small(tmp_path, train={"num_workers": 2, "global_batch_size": 50})
    machines = Machines("x", NodeType("head", 0), (NodeType("gpu", 4, 1, 4),), 4)
    (line,) = [line for line in lines(made, SMALL, machines) if line.startswith("training")]
    assert line.startswith("training takes 2 of 4 GPUs, as train.num_workers says; ")
    assert line.endswith("train.global_batch_size 50 splits over 2 of them at most")


def test_more_training_workers_than_places(tmp_path):
    made = small(tmp_path, train={"num_workers": 4, "global_batch_size": 8})
    assert "train.num_workers 4: there are 2 CPUs" in lines(made, SMALL, here(2))


def test_models_that_do_not_fit():
    """mBART-50 has 611 million weights of 4 bytes; HerBERT in training four times its 124 million."""
    mbart = Pass("translate", NamedModel("facebook/mbart-large-50-many-to-many-mmt", "translator"), 1.0)
    assert "4 copies of facebook/mbart" in too_large(mbart, here(4, 8 * 2**30))
    assert too_large(mbart, here(2, 8 * 2**30)) is None
    assert too_large(mbart, here(4)) is None  # nobody knows
    herbert = Pass("train", NamedModel("allegro/herbert-base-cased", "encoder"), 1.0, most_workers=1)
    assert "allegro/herbert-base-cased takes" in too_large(herbert, here(4, 2**30))
    assert too_large(herbert, here(4, 4 * 2**30)) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2.0 minutes"),
        (7200, "2.0 hours"),
        (3 * 86400, "3.0 days"),
        (15e5, "2.5 weeks"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_what_is_assumed_of_data_that_is_not_here(tmp_path):
    made = small(tmp_path, nli={"dataset": "stanfordnlp/snli", "limit": 3000, "labels": LABELS})
    size, _ = assumed(made, DataSize(), None)
    assert (size.rows_in, size.rows, size.triplets, size.with_negative, size.sentences) == (
        3000,
        2000,
        1000,
        1000,
        2400,
    )
    said, line = assumed(small(tmp_path, nli={"dataset": "a/b"}), DataSize(), 900)
    assert said.triplets == 300 and "900 rows are assumed" in line
    nothing, line = assumed(small(tmp_path, nli={"dataset": "a/b"}), DataSize(), None)
    assert nothing.rows == 0 and "--rows" in line
    assert assumed(made, SMALL, 5) == (SMALL, None)
