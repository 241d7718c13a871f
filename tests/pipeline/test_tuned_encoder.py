"""Which encoder counts as tuned: the sweep's where it is promoted and no worse than train's on the same queries."""

import pytest

from nlift.config import Experiment
from nlift.pipeline import train, tune
from nlift.pipeline.tuned_encoder import Promotion, finished_sweep, promotion, tuned_encoder, tuned_stage

JUDGED = {"name": "60 dev queries of places", "metric": "ndcg@10", "queries": 60}


@pytest.fixture
def experiment(tmp_path):
    """An experiment with a sweep; nothing has been run."""
    sets = [{"name": "places", "kind": "retrieval", "path": "embedded:poquad_pl"}]
    sweep = {"space": {"train.temperature": {"choice": [0.04, 0.1]}}}
    raw = {"name": "promoted", "output_dir": str(tmp_path), "nli": {"path": "embedded"}, "tune": sweep}
    return Experiment.model_validate({**raw, "evaluate": {"sets": sets}, "train": {"dev": "places"}})


def verdict(figure, judged=JUDGED, chosen="25% base"):
    """A comparison whose kept encoder has a figure; the others have more, and less."""
    rows = [("tuned", 0.9), ("25% base", 0.1), ("base", 0.8)]
    candidates = [{"name": name, "figures": [figure if name == chosen else other, 0.99]} for name, other in rows]
    return {"chosen": chosen, "sets": [judged, {**JUDGED, "name": "another"}], "candidates": candidates}


def finish(stage, experiment, guard):
    """The folder of a stage as if it had been run, with its comparison."""
    with stage.folder(experiment).writing() as output:
        output.notes = {"guard": guard}


def finished(experiment, trained, swept):
    finish(train.STAGE, experiment, trained)
    finish(tune.STAGE, experiment, swept)
    return experiment


@pytest.mark.parametrize(
    ("trained", "swept", "taken"), [(0.5, 0.6, "tune"), (0.5, 0.4999, "train"), (0.5, 0.5, "tune")]
)
def test_the_sweeps_encoder_counts_where_it_is_no_worse(experiment, trained, swept, taken):
    finished(experiment, verdict(trained), verdict(swept, chosen="base"))
    assert promotion(experiment) == Promotion(JUDGED["name"], "ndcg@10", trained, swept)
    assert promotion(experiment).promoted == (taken == "tune")
    assert tuned_stage(experiment).name == taken
    assert tuned_encoder(experiment) == experiment.folder / taken / "encoder"


@pytest.mark.parametrize(
    ("trained", "swept"),
    [
        (verdict(0.5), None),
        (None, verdict(0.1)),
        (None, None),
        (verdict(0.5), verdict(0.1, {**JUDGED, "name": "70 pairs made of the corpus"})),
        (verdict(0.5), verdict(0.1, {**JUDGED, "metric": "spearman"})),
        (verdict(0.5), verdict(0.1, {**JUDGED, "queries": 61})),
    ],
)
def test_what_was_not_compared_on_the_same_is_taken_as_it_was_asked_for(experiment, trained, swept):
    finished(experiment, trained, swept)
    assert promotion(experiment) is None and tuned_stage(experiment) is tune.STAGE


def test_without_promotion_trains_encoder_counts(experiment):
    kept = experiment.override({"tune.promote": False})
    finished(kept, verdict(0.1), verdict(0.9))
    assert promotion(kept).promoted and tuned_stage(kept) is train.STAGE


def test_before_the_sweep_is_done_trains_encoder_counts(experiment):
    finish(train.STAGE, experiment, verdict(0.5))
    assert finished_sweep(experiment) is None and promotion(experiment) is None
    assert tuned_stage(experiment) is train.STAGE
    assert tuned_stage(experiment.override({"tune": None})) is train.STAGE


def test_before_training_is_done_the_sweeps_encoder_counts(experiment):
    finish(tune.STAGE, experiment, verdict(0.5))
    assert finished_sweep(experiment).path == experiment.folder / "tune"
    assert promotion(experiment) is None and tuned_stage(experiment) is tune.STAGE


@pytest.mark.parametrize("changes", [{"train.epochs": 9}, {"tune.num_trials": 9}], ids=str)
def test_what_belongs_to_other_settings_is_not_compared(experiment, changes):
    finished(experiment, verdict(0.9), verdict(0.1))
    assert tuned_stage(experiment) is train.STAGE
    changed = experiment.override(changes)
    assert finished_sweep(changed) is None and promotion(changed) is None
