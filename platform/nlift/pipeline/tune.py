"""Stage `tune`: a sweep on Ray Tune, each trial a whole Ray Train run.

Trials are compared on the dev part of `train.dev`, stopped early by ASHA (arXiv 1810.05934), and the best configuration
is kept with the encoder of its best seed.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nlift import cluster, machines
from nlift.config import Experiment
from nlift.data import transfer
from nlift.data.files import append_jsonl, read_jsonl, write_json, write_text
from nlift.data.schema import Triplet
from nlift.errors import ConfigError, ModelError, NliftError, first_line
from nlift.models.encoder import Encoder
from nlift.pipeline import guard, train
from nlift.pipeline.saved_experiment import as_yaml
from nlift.pipeline.stage import Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.trial_data import remove_variants, with_training_data
from nlift.pipeline.workload import NamedModel
from nlift.settings import TuneConfig, direction
from nlift.training import trainer
from nlift.tuning import samplers, trials
from nlift.tuning.samplers import Values
from nlift.tuning.trials import Trial, TrialFolder

DRIVER_CPUS = 0.1  # a trial's driver only waits; a whole CPU for it would deadlock two cores
TRIALS_FILE = "trials.json"


class Tune(Stage):
    """The best encoder of a sweep."""

    name = "tune"
    reads = Triplet
    writes = Encoder
    needs_ray = True
    to_spare_memory = train.TO_SPARE_MEMORY
    on_request = True

    def enabled(self, experiment: Experiment) -> bool:
        """Whether there is a section tune."""
        return experiment.tune is not None

    def models(self, experiment: Experiment) -> list[NamedModel]:
        """Every base model of the sweep."""
        models = (model for variant in all_variants(experiment) for model in train.STAGE.models(variant))
        return list(dict.fromkeys(models))

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """What train depends on, the section, and the content of every model and file that a choice names."""
        config = config_of(experiment)
        fingerprints = {
            key: [train.STAGE.folder(variant).fingerprint for variant in variants(experiment, key)]
            for key in config.space
        }
        sweep = config.model_dump(mode="json", exclude={"promote"})
        return {**train.STAGE.identity(experiment), "tune": sweep, "variants": fingerprints}

    def run(self, experiment: Experiment, output: Output) -> None:
        """Run the sweep; write trials.json, best.yaml and the best trial's encoder."""
        config = config_of(experiment)
        ended = Sweep(experiment, output.path, output.store).run()
        summaries = [trial.summary() for trial in ended]
        ranking = trials.ranked(summaries, config.lower_is_better)
        winner = [ranking[0]["config"], ranking[0]["best_seed"]]
        best = next((trial for trial in ended if [trial.values, trial.seed] == winner), None)
        if best is None:
            raise ModelError(f"tune: all {len(ended)} trials failed; the first: {summaries[0]['error']}")
        verdict = _keep(experiment, best, output)
        content = {"metric": config.metric, "configurations": ranking, "trials": summaries}
        write_json(output.path / TRIALS_FILE, content)
        for name in ("ray", "trials"):
            shutil.rmtree(output.path / name, ignore_errors=True)
        (output.path / "asked.jsonl").unlink(missing_ok=True)
        remove_variants(experiment)
        output.rows_in = output.rows_out = len(ended)
        failed = sum(summary["status"] == "failed" for summary in summaries)
        best_row = {**ranking[0], config.metric: ranking[0]["mean"]}
        output.notes = {"best": best_row, "failed": failed, "guard": verdict}


STAGE = Tune()


def config_of(experiment: Experiment) -> TuneConfig:
    """The experiment's section `tune`. Raises ConfigError where there is none."""
    if experiment.tune is None:
        raise ConfigError(f"{experiment.name}: no section tune; add one with space and num_trials to sweep")
    return experiment.tune


def variants(experiment: Experiment, key: str) -> list[Experiment]:
    """The experiment with each choice of a swept key, or both bounds, the other keys at their first value."""
    space = config_of(experiment).space
    first = {name: values.extremes[0] for name, values in space.items()}
    return [experiment.override({"tune": None, **first, key: value}) for value in space[key].extremes]


def all_variants(experiment: Experiment) -> list[Experiment]:
    """The variants of every swept key."""
    return [variant for key in config_of(experiment).space for variant in variants(experiment, key)]


def seeds(experiment: Experiment) -> list[int]:
    """The seeds that every configuration is trained with."""
    return config_of(experiment).seeds or [experiment.seed]


def _keep(experiment: Experiment, best: Trial, output: Output) -> dict[str, Any] | None:
    """Save the best of base, the best trial's encoder and their averages, and the trial's whole configuration.

    Returns the comparison, as guard.json has it.
    """
    encoder = best.folder.encoder
    if encoder is None:
        where = best.folder.path
        raise ModelError(f"tune: the best trial ({best.text}) left no encoder in {where}; remove that folder and go on")
    chosen = experiment.override({**best.values, "seed": best.seed})
    verdict = guard.keep_best(chosen, encoder, output.path, output.store)
    write_text(output.path / "best.yaml", as_yaml(chosen))
    return verdict


class Sweep:
    """The trials of a sweep: planned, made ready one by one as Ray Tune has room, trained, ended.

    `trials` are those that were planned so far. Those that ended before a sweep was killed are not trained again.
    `store` is a URI for checkpoints, where workers do not see `folder`.
    """

    def __init__(self, experiment: Experiment, folder: Path, store: str | None = None) -> None:
        self.experiment, self.folder, self.store = experiment, folder, store
        self.config, self.seeds = config_of(experiment), seeds(experiment)
        self.trials: list[Trial] = []

    def run(self) -> list[Trial]:
        """All trials, ended."""
        import ray.tune

        from nlift.tuning.ray_searcher import TrialSearcher

        ready = self._prepared()
        if self.config.search != "optuna":
            ready = iter(list(ready))  # what trials share is made before the first trial takes the cluster
        mode = direction(self.config.metric)
        total = samplers.count(self.config) * len(self.seeds)
        shutil.rmtree(self.folder / "ray", ignore_errors=True)
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(run_trial, self._driver_resources()),
            tune_config=ray.tune.TuneConfig(
                num_samples=-1,
                max_concurrent_trials=concurrent_trials(self.experiment),
                scheduler=self._scheduler(mode),
                search_alg=TrialSearcher(ready, self.config.metric, mode, total),
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=ray.tune.RunConfig(
                name="sweep",
                storage_path=str(self.folder / "ray"),
                failure_config=ray.tune.FailureConfig(max_failures=self.experiment.train.max_failures),
                verbose=0,
            ),
        )
        cluster.in_thread(tuner.fit)
        return self.trials

    def _driver_resources(self) -> dict[str, float]:
        """What a trial's driver takes; where this machine alone sees the trials' folders, it runs here."""
        if self.store is None:
            return {"CPU": DRIVER_CPUS}
        own = machines.own_node()
        here = {f"node:{own['NodeManagerAddress']}": 0.001}
        return {"CPU": DRIVER_CPUS, **here} if own["Resources"].get("CPU") else here

    def _planned(self) -> Iterator[Trial]:
        """Every configuration with every seed, as they are chosen: Optuna learns from the trials before."""
        if self.config.search == "optuna":
            yield from self._asked()
            return
        seed = self.experiment.seed
        grid = self.config.search == "grid"
        for values in samplers.grid(self.config) if grid else samplers.at_random(self.config, seed):
            yield from self._with_seeds(values)

    def _asked(self) -> Iterator[Trial]:
        """The configurations that Optuna asks for; what it asked for before the sweep was killed comes first."""
        asked, told = self.folder / "asked.jsonl", set()
        optuna = samplers.Optuna(self.config, self.experiment.seed)
        for values in read_jsonl(asked):
            yield from self._with_seeds(values)
        while len(self.trials) < self.config.num_trials * len(self.seeds):
            ended = [trial.summary() for trial in self.trials if trial.folder.result()]
            for row in trials.ranked(ended, self.config.lower_is_better):
                key = samplers.key_of(row["config"])
                if row["seeds"] == len(self.seeds) and key not in told:
                    told.add(key)
                    optuna.tell(row["config"], row["mean"])
            fresh = optuna.ask()
            if fresh is None:
                return
            append_jsonl(asked, fresh)
            yield from self._with_seeds(fresh)

    def _with_seeds(self, values: Values) -> list[Trial]:
        planned = [Trial.of(values, seed, self.folder / "trials") for seed in self.seeds]
        self.trials.extend(planned)
        return planned

    def _prepared(self) -> Iterator[Trial]:
        """The trials that have not ended, each with its training data there.

        Where that cannot be made the trial has failed.
        """
        for trial in self._planned():
            status = trial.folder.result().get("status")
            if status in ("finished", "stopped"):
                continue
            if status == "failed":  # before the sweep was killed: tried again
                trial.folder.forget()
            try:
                variant = with_training_data(self.experiment, trial.values, trial.seed)
                keeps = direction(self.config.metric) if variant.train.metric == self.config.metric else None
                store = self.store and f"{self.store}/trials/{trial.folder.path.name}"
                trial.folder.start(variant.model_dump(mode="json"), train.planned_steps(variant), keeps, store)
            except Exception as error:
                trial.folder.end("failed", line_of(error))
                continue
            yield trial

    def _scheduler(self, mode: str) -> Any:
        """The scheduler. ASHA goes on from what trials reported that ended before the sweep was killed."""
        from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

        if self.config.scheduler == "none":
            return FIFOScheduler()
        every_steps = max(values_of(self.experiment, "train.checkpoint_every_steps"))
        asha = ASHAScheduler(
            time_attr="step",
            metric=self.config.metric,
            mode=mode,
            max_t=10**9,
            grace_period=self.config.grace_reports * every_steps,
            reduction_factor=self.config.reduction_factor,
        )
        for path in sorted((self.folder / "trials").glob("*/result.json")):
            ended, seen = TrialFolder(path.parent), SimpleNamespace(trial_id=path.parent.name)
            asha.on_trial_add(None, seen)
            for row in ended.history():
                asha.on_trial_result(None, seen, {"step": row["step"], self.config.metric: row["value"]})
        return asha


def concurrent_trials(experiment: Experiment) -> int:
    """How many trials the cluster can run at a time without one waiting for another for ever."""
    import ray

    workers = max(values_of(experiment, "train.num_workers"))
    cpus, gpus = ray.cluster_resources().get("CPU", 1), ray.cluster_resources().get("GPU", 0)
    cpus_each = DRIVER_CPUS + trainer.SWEEP_CPUS * workers
    gpus_each = workers * max(values_of(experiment, "train.gpus_per_worker"))
    room = []
    for use in values_of(experiment, "train.use_gpu"):
        on_gpus = gpus >= gpus_each if use is None else use
        room.append(min(cpus / DRIVER_CPUS, gpus / gpus_each) if on_gpus else cpus / cpus_each)
    return max(1, int(min(room)))


def values_of(experiment: Experiment, key: str) -> list[Any]:
    """The values that a key of `train` takes in the sweep."""
    space = config_of(experiment).space.get(key)
    return space.extremes if space else [getattr(experiment.train, key.removeprefix("train."))]


def run_trial(given: dict[str, Any]) -> None:
    """What a trial's driver runs: the training of the experiment in its folder.

    What fails is written down, not raised: Tune starts a trial again whose process died, as with a lost machine.
    """
    folder = TrialFolder(Path(given["folder"]))
    try:
        experiment = Experiment.model_validate(folder.experiment())
        settings = train.loop_settings(experiment, folder.path, in_sweep=True, store=folder.store)
        trainer.fit(settings, storage=folder.store or folder.path, cluster_config=experiment.cluster)
    except Exception as error:
        if folder.store is not None:
            transfer.download(train.log_store(folder.store), folder.path)
        folder.end("failed", line_of(error))
        return
    folder.end("finished")


def line_of(error: Exception) -> str:
    """An error as one line: the first of ours, the last of others, whose first ones say where and not what."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines and not isinstance(error, NliftError) else first_line(error)
