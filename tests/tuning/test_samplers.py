"""Which configurations a sweep tries."""

from math import log10

import pytest

from nlift.settings import TuneConfig
from nlift.tuning import samplers

SPACE = {"train.temperature": {"choice": [0.03, 0.05, 0.1]}, "triplets.filter.min_score": {"choice": [None, 0.2]}}
RANGES = {
    "train.learning_rate": {"loguniform": [1e-5, 1e-3]},
    "train.epochs": {"randint": [1, 4]},
    "train.base_share": {"uniform": [0.1, 0.9]},
}


def test_a_grid_has_every_combination_once():
    config = TuneConfig(space=SPACE, search="grid")
    grid = samplers.grid(config)
    assert len(grid) == 6 == samplers.count(config) == len({samplers.key_of(values) for values in grid})


def test_random_configurations_differ_repeat_by_seed_and_stay_in_their_ranges():
    config = TuneConfig(space=RANGES, num_trials=30)
    drawn = samplers.at_random(config, 1)
    assert drawn == samplers.at_random(config, 1) != samplers.at_random(config, 2)
    assert len({samplers.key_of(values) for values in drawn}) == 30
    for values in drawn:
        assert 1e-5 <= values["train.learning_rate"] <= 1e-3
        assert values["train.epochs"] in (1, 2, 3, 4)
        assert 0.1 <= values["train.base_share"] <= 0.9
    below = sum(values["train.learning_rate"] < 1e-4 for values in drawn)
    assert 5 < below < 25  # half of them, in the logarithm


def test_a_space_with_fewer_configurations_than_wanted():
    config = TuneConfig(space=SPACE, num_trials=50)
    assert len(samplers.at_random(config, 1)) == 6 == samplers.count(config)


@pytest.mark.parametrize(("metric", "sign"), [("map", 1), ("uniformity", -1)])
def test_optuna_learns_where_the_best_is(metric, sign):
    """The nearer the learning rate is to 1e-4 the better: late proposals are nearer than early ones."""
    config = TuneConfig(space=RANGES, num_trials=40, search="optuna", metric=metric)
    early, late = [], []
    for seed in range(5):
        optuna, distances = samplers.Optuna(config, seed), []
        for _ in range(40):
            values = optuna.ask()
            distances.append(abs(log10(values["train.learning_rate"]) + 4))
            optuna.tell(values, -sign * distances[-1])
        early += distances[:10]
        late += distances[-10:]
    assert sum(late) < 0.6 * sum(early)


def test_optuna_takes_what_it_did_not_ask_for_and_what_failed():
    config = TuneConfig(space=SPACE, num_trials=6, search="optuna")
    optuna = samplers.Optuna(config, 1)
    known = {"train.temperature": 0.05, "triplets.filter.min_score": None}
    optuna.tell(known, 0.5)
    optuna.tell({**known, "train.temperature": 0.1}, None)
    fresh = [optuna.ask() for _ in range(4)]
    assert len({samplers.key_of(values) for values in [known, *fresh]}) == 5
    assert optuna.ask() is None
