"""Which configurations a sweep tries: drawn at random, all of a grid, or chosen by Optuna."""

import itertools
import json
import math
import random
import warnings
from typing import Any

from nlift.settings import SearchSpace, TuneConfig

Values = dict[str, Any]
"""A configuration: the swept keys and their values."""
TRIES = 100  # draws of a configuration that was not there yet


def count(config: TuneConfig) -> int:
    """Configurations that the sweep tries, where the space has that many."""
    sizes = [len(space.choice) if space.choice is not None else None for space in config.space.values()]
    whole = math.prod(size for size in sizes if size is not None)
    if config.search == "grid":
        return whole
    return config.num_trials if None in sizes else min(config.num_trials, whole)


def key_of(values: Values) -> str:
    """A text that is equal for equal configurations."""
    return json.dumps(values, sort_keys=True)


def grid(config: TuneConfig) -> list[Values]:
    """All combinations of the choices, the last key changing fastest."""
    choices = [space.extremes for space in config.space.values()]
    return [dict(zip(config.space, values, strict=True)) for values in itertools.product(*choices)]


def at_random(config: TuneConfig, seed: int) -> list[Values]:
    """`num_trials` different configurations, fewer where the space has no more; equal for an equal seed."""
    rng = random.Random(seed)
    drawn: dict[str, Values] = {}
    for _ in range(TRIES * config.num_trials):
        values = {key: _draw(space, rng) for key, space in config.space.items()}
        drawn.setdefault(key_of(values), values)
        if len(drawn) == config.num_trials:
            break
    return list(drawn.values())


def _draw(space: SearchSpace, rng: random.Random) -> Any:
    if space.choice is not None:
        return rng.choice(space.choice)
    if space.randint is not None:
        return rng.randint(*space.randint)
    if space.uniform is not None:
        return rng.uniform(*space.uniform)
    low, high = space.bounds or (1.0, 1.0)
    return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)


class Optuna:
    """Configurations by Optuna's tree-structured Parzen estimator (Bergstra et al., NIPS 2011)."""

    def __init__(self, config: TuneConfig, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.config = config
        self.seen: dict[str, Any] = {}  # optuna's trial of a configuration, None where its value is known
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constant_liar, which keeps trials at the same time apart, counts as new
            startup = max(2, min(10, config.num_trials // 3))
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
        direction = "minimize" if config.lower_is_better else "maximize"
        self.study = optuna.create_study(sampler=sampler, direction=direction)
        self.distributions = {key: _distribution(space) for key, space in config.space.items()}

    def ask(self) -> Values | None:
        """A configuration that was not there yet; None where it finds none."""
        from optuna.trial import TrialState

        for _ in range(TRIES):
            trial = self.study.ask(self.distributions)
            values = {key: self._value(key, parameter) for key, parameter in trial.params.items()}
            if key_of(values) not in self.seen:
                self.seen[key_of(values)] = trial
                return values
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def tell(self, values: Values, result: float | None) -> None:
        """What a configuration reached; None where it failed. It need not be one that was asked for here."""
        import optuna
        from optuna.trial import TrialState

        state = TrialState.FAIL if result is None else TrialState.COMPLETE
        asked = self.seen.get(key_of(values))
        self.seen[key_of(values)] = None
        if asked is not None:
            self.study.tell(asked, result, state=state)
        else:
            params = {key: self._parameter(key, value) for key, value in values.items()}
            trial = optuna.trial.create_trial(
                params=params, distributions=self.distributions, value=result, state=state
            )
            self.study.add_trial(trial)

    def _value(self, key: str, parameter: Any) -> Any:
        choice = self.config.space[key].choice
        return parameter if choice is None else choice[parameter]

    def _parameter(self, key: str, value: Any) -> Any:
        choice = self.config.space[key].choice
        return value if choice is None else choice.index(value)


def _distribution(space: SearchSpace) -> Any:
    """Optuna's form of a space. A choice is one of its positions, as values need not be plain."""
    from optuna import distributions

    if space.choice is not None:
        return distributions.CategoricalDistribution(range(len(space.choice)))
    if space.randint is not None:
        return distributions.IntDistribution(*space.randint)
    low, high = space.bounds or (0.0, 1.0)
    return distributions.FloatDistribution(low, high, log=space.loguniform is not None)
