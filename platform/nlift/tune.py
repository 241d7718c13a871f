"""Stage `tune`: a sweep on Ray Tune, each trial a whole Ray Train run.

Trials are compared on the dev part of `train.dev`, stopped early by ASHA (arXiv 1810.05934), and
the best configuration is kept with the encoder of its best seed.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from nlift import report, search, stages, train, trials
from nlift.artifacts import Output, Stage, append_jsonl, read_jsonl, write_json
from nlift.config import Experiment
from nlift.errors import ConfigError, ModelError, NliftError
from nlift.search import Values
from nlift.sections import TuneConfig, direction
from nlift.trials import Trial

DRIVER_CPUS = 0.1  # a trial's driver only waits; a whole CPU for it would deadlock two cores
WORKER_CPUS = 0.9


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    config = config_of(experiment)
    identity = {**train.identity(experiment), "tune": config.model_dump(mode="json", exclude={"promote"})}
    identity["variants"] = {  # the content of every model and file that a choice names
        key: [train.stage(one).fingerprint for one in variants(experiment, key)] for key in config.space
    }
    return Stage("tune", experiment.folder / "tune", identity)


def config_of(experiment: Experiment) -> TuneConfig:
    """The experiment's section `tune`. Raises ConfigError where there is none."""
    if experiment.tune is None:
        raise ConfigError(f"{experiment.name}: no section tune; add one with space and num_trials to sweep")
    return experiment.tune


def variants(experiment: Experiment, key: str) -> list[Experiment]:
    """The experiment with each choice of a swept key, or with both bounds, the other keys at their first value."""
    space = config_of(experiment).space
    first = {name: one.extremes[0] for name, one in space.items()}
    return [experiment.override({"tune": None, **first, key: value}) for value in space[key].extremes]


def seeds(experiment: Experiment) -> list[int]:
    """The seeds that every configuration is trained with."""
    return config_of(experiment).seeds or [experiment.seed]


def write(experiment: Experiment, output: Output) -> None:
    """Run the sweep; write trials.json, best.yaml, report.html and the best trial's encoder."""
    config = config_of(experiment)
    ended = sweep(experiment, output.path)
    found = [trial.summary() for trial in ended]
    ranking = trials.ranked(found, config.lower_is_better)
    best = next((trial for trial in ended if [trial.values, trial.seed] == [ranking[0]["config"], ranking[0]["best_seed"]]), None)
    if best is None:
        raise ModelError(f"tune: all {len(found)} trials failed; the first: {found[0]['error']}")
    if best.encoder is None:
        raise ModelError(f"tune: the best trial ({best.text}) left no encoder in {best.folder}; remove that folder and go on")
    shutil.rmtree(output.path / "encoder", ignore_errors=True)
    shutil.copytree(best.encoder, output.path / "encoder")
    chosen = experiment.override({**best.values, "seed": best.seed})
    text = yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (output.path / "best.yaml").write_text(text, encoding="utf-8")
    content = {"metric": config.metric, "configurations": ranking, "trials": found}
    write_json(output.path / "trials.json", content)
    report.write_sweep(experiment, output.path)
    for name in ("ray", "trials"):
        shutil.rmtree(output.path / name, ignore_errors=True)
    (output.path / "asked.jsonl").unlink(missing_ok=True)
    for folder in variant_folders(experiment):
        shutil.rmtree(folder)
    output.rows_in = output.rows_out = len(found)
    failed = sum(one["status"] == "failed" for one in found)
    output.notes = {"best": {**ranking[0], config.metric: ranking[0]["mean"]}, "failed": failed}


def sweep(experiment: Experiment, folder: Path) -> list[Trial]:
    """All trials of the sweep, ended; those that ended before the sweep was killed are not trained again."""
    import ray.tune

    from nlift.feed import Feed

    config = config_of(experiment)
    planned: list[Trial] = []
    ready = prepared(experiment, plan(experiment, folder, planned))
    if config.search != "optuna":
        ready = iter(list(ready))  # what trials share is made before the first trial takes the cluster
    mode = direction(config.metric)
    shutil.rmtree(folder / "ray", ignore_errors=True)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(run_trial, {"CPU": DRIVER_CPUS}),
        tune_config=ray.tune.TuneConfig(
            num_samples=-1,
            max_concurrent_trials=concurrent_trials(experiment),
            scheduler=scheduler(experiment, folder, mode),
            search_alg=Feed(ready, config.metric, mode, search.count(config) * len(seeds(experiment))),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=ray.tune.RunConfig(name="sweep", storage_path=str(folder / "ray"), verbose=0),
    )
    tuner.fit()
    return planned


def plan(experiment: Experiment, folder: Path, planned: list[Trial]) -> Iterator[Trial]:
    """Every configuration with every seed. What was planned is in `planned` too, as Optuna learns from it."""
    config = config_of(experiment)

    def with_seeds(values: Values) -> list[Trial]:
        found = [Trial.of(values, seed, folder / "trials") for seed in seeds(experiment)]
        planned.extend(found)
        return found

    if config.search != "optuna":
        drawn = search.grid(config) if config.search == "grid" else search.at_random(config, experiment.seed)
        for values in drawn:
            yield from with_seeds(values)
        return
    asked, told, optuna = folder / "asked.jsonl", set(), search.Optuna(config, experiment.seed)
    for values in read_jsonl(asked):
        yield from with_seeds(values)
    while len(planned) < config.num_trials * len(seeds(experiment)):
        for row in trials.ranked([one.summary() for one in planned if one.result()], config.lower_is_better):
            if row["seeds"] == len(seeds(experiment)) and search.same(row["config"]) not in told:
                told.add(search.same(row["config"]))
                optuna.tell(row["config"], row["mean"])
        fresh = optuna.ask()
        if fresh is None:
            return
        append_jsonl(asked, fresh)
        yield from with_seeds(fresh)


def prepared(experiment: Experiment, planned: Iterator[Trial]) -> Iterator[Trial]:
    """The trials that have not ended, each with its training data there; where it cannot be made the trial has failed."""
    for trial in planned:
        status = trial.result().get("status")
        if status in ("finished", "stopped"):
            continue
        if status == "failed":  # before the sweep was killed: tried again
            trial.forget()
        try:
            variant = with_data(experiment, trial)
            metric = config_of(experiment).metric
            keeps = direction(metric) if variant.train.metric == metric else None
            trial.start(variant, train.planned_steps(variant), keeps)
        except Exception as error:
            trial.end("failed", line_of(error))
            continue
        yield trial


def with_data(experiment: Experiment, trial: Trial) -> Experiment:
    """The experiment of a trial, all stages before training done.

    A trial that trains on other data than the experiment has a folder of its own beside the
    experiment's, shared by all trials of the same data. Stages whose content is somewhere already
    are links.
    """
    values = {**trial.values, "seed": trial.seed, "tune": None, "output_dir": str(experiment.root)}
    changed = experiment.override(values)
    data = train.data(changed)
    if data.done():
        return changed
    variant = changed.override({"name": f"{experiment.name}.tune-{data.fingerprint[:8]}"})
    variant.folder.mkdir(parents=True, exist_ok=True)
    for name, module in stages.before_training(variant).items():
        wanted: Stage = module.stage(variant)
        if wanted.folder.is_symlink():
            wanted.folder.unlink()
        elif wanted.done():
            continue
        others = [experiment.folder, *variant_folders(experiment)]
        same = next((one for one in others if replace(wanted, folder=one / name).done()), None)
        if same is not None:
            wanted.folder.symlink_to(Path("..", same.name, name))
            continue
        print(f"  {name} with {trials.described(trial.values)}", flush=True)
        stages.run_stage(variant, name, module, overwrite=True)
    return variant


def variant_folders(experiment: Experiment) -> list[Path]:
    """The folders of the training data that trials have of their own."""
    return sorted(experiment.root.glob(f"{experiment.name}.tune-{'[0-9a-f]' * 8}"))


def scheduler(experiment: Experiment, folder: Path, mode: str) -> Any:
    """The scheduler. ASHA goes on from what trials reported that ended before the sweep was killed."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    config = config_of(experiment)
    if config.scheduler == "none":
        return FIFOScheduler()
    asha = ASHAScheduler(
        time_attr="step",
        metric=config.metric,
        mode=mode,
        max_t=10**9,
        grace_period=config.grace_reports * max(values_of(experiment, "train.checkpoint_every_steps")),
        reduction_factor=config.reduction_factor,
    )
    for path in sorted((folder / "trials").glob("*/result.json")):
        ended, seen = Trial({}, 0, path.parent), SimpleNamespace(trial_id=path.parent.name)
        asha.on_trial_add(None, seen)
        for row in ended.history():
            asha.on_trial_result(None, seen, {"step": row["step"], config.metric: row["value"]})
    return asha


def concurrent_trials(experiment: Experiment) -> int:
    """How many trials the cluster can run at a time without one waiting for another for ever."""
    import ray

    workers = max(values_of(experiment, "train.num_workers"))
    cpus, gpus = ray.cluster_resources().get("CPU", 1), ray.cluster_resources().get("GPU", 0)
    room = []
    for use in values_of(experiment, "train.use_gpu"):
        on_gpus = gpus >= workers if use is None else use
        room.append(min(cpus / DRIVER_CPUS, gpus / workers) if on_gpus else cpus / (DRIVER_CPUS + WORKER_CPUS * workers))
    return max(1, int(min(room)))


def values_of(experiment: Experiment, key: str) -> list[Any]:
    """The values that a key of `train` takes in the sweep."""
    space = config_of(experiment).space.get(key)
    return space.extremes if space else [getattr(experiment.train, key.removeprefix("train."))]


def run_trial(given: dict[str, Any]) -> None:
    """What a trial's driver runs: the training of the experiment in its folder."""
    from ray.tune.integration.ray_train import TuneReportCallback

    trial = Trial({}, 0, Path(given["folder"]))
    try:
        train.fit(trial.experiment(), storage=trial.folder, log=None, callbacks=[TuneReportCallback()])
    except Exception as error:
        trial.end("failed", line_of(error))
        raise
    trial.end("finished")


def line_of(error: Exception) -> str:
    """An error as one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if isinstance(error, NliftError) else lines[-1].strip()
