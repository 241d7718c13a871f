"""Stage `tune`: a Ray Tune sweep over the training, each trial a whole Ray Train run.

Trials are compared on the dev part of `train.dev`, stopped early by ASHA (arXiv 1810.05934), and
the best one's encoder is kept with its configuration.
"""

import shutil
from pathlib import Path
from typing import Any

import yaml

from nlift import cluster, sources, train
from nlift.artifacts import Output, Stage, write_json
from nlift.config import Experiment, SearchSpace, TuneConfig
from nlift.errors import ConfigError, ModelError

DRIVER_CPUS = 0.1  # a trial's driver only waits; a whole CPU for it would deadlock two cores


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    identity = {**train.identity(experiment), "tune": config_of(experiment).model_dump(mode="json", exclude={"promote"})}
    models = experiment.tune.space.get("train.base_model") if experiment.tune else None
    if models is not None and models.choice:
        identity["models"] = [sources.model_fingerprint(str(name), "encoder") for name in models.choice]
    return Stage("tune", experiment.folder / "tune", identity)


def config_of(experiment: Experiment) -> TuneConfig:
    """The experiment's section `tune`. Raises ConfigError where there is none."""
    if experiment.tune is None:
        raise ConfigError(f"{experiment.name}: no section tune; add one with space and num_trials to sweep")
    return experiment.tune


def write(experiment: Experiment, output: Output) -> None:
    """Run the sweep; write trials.json, best.yaml and the best trial's encoder."""
    shutil.rmtree(output.path / "ray", ignore_errors=True)  # a sweep that was cut starts anew
    results = sweep(experiment, output.path / "ray")
    config = config_of(experiment)
    trials = [_trial(result, config.metric) for result in results]
    finished = [one for one in trials if one["value"] is not None]
    if not finished:
        raise ModelError(f"tune: all {len(trials)} trials failed; the first: {trials[0]['error']}")
    best = max(finished, key=lambda one: one["value"])
    shutil.copytree(Path(best["checkpoint"]) / "encoder", output.path / "encoder")
    chosen = experiment.override(best["config"])
    text = yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (output.path / "best.yaml").write_text(text, encoding="utf-8")
    for one in trials:
        del one["checkpoint"]
    write_json(output.path / "trials.json", {"metric": config.metric, "trials": trials})
    shutil.rmtree(output.path / "ray")
    output.rows_in = output.rows_out = len(trials)
    output.notes = {"best": {"config": best["config"], config.metric: best["value"]}, "failed": len(trials) - len(finished)}


def sweep(experiment: Experiment, storage: Path) -> Any:
    """Ray Tune's results of all trials."""
    import ray.tune
    from ray.tune.schedulers import ASHAScheduler

    config = config_of(experiment)
    scheduler = ASHAScheduler(
        time_attr="step",
        max_t=10**9,
        grace_period=config.grace_reports * experiment.train.checkpoint_every_steps,
        reduction_factor=config.reduction_factor,
    )
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(_driver(experiment, storage), {"CPU": DRIVER_CPUS}),
        param_space={key: _sampler(values) for key, values in config.space.items()},
        tune_config=ray.tune.TuneConfig(
            metric=config.metric,
            mode="max",
            num_samples=config.num_trials,
            scheduler=scheduler,
            search_alg=ray.tune.search.BasicVariantGenerator(
                random_state=experiment.seed, max_concurrent=concurrent_trials(experiment)
            ),
        ),
        run_config=ray.tune.RunConfig(name="sweep", storage_path=str(storage), verbose=1),
    )
    return tuner.fit()


def concurrent_trials(experiment: Experiment) -> int:
    """How many trials the cluster can run at a time without one waiting for another for ever."""
    import ray

    resources, workers = ray.cluster_resources(), experiment.train.num_workers
    by_cpu = int(resources.get("CPU", 1) / (DRIVER_CPUS + 0.9 * workers))
    gpus = resources.get("GPU", 0)
    return max(1, min(by_cpu, int(gpus / workers)) if gpus >= workers else by_cpu)


def _driver(experiment: Experiment, storage: Path) -> Any:
    here = experiment.override({"output_dir": str(experiment.root)})  # a trial may run in another directory

    def run_trial(changes: dict[str, Any]) -> None:
        import ray.tune
        from ray.tune.integration.ray_train import TuneReportCallback

        trial = here.override(changes)
        folder = storage / "trials" / ray.tune.get_context().get_trial_id()
        with cluster.user_errors():
            train.fit(trial, storage=folder, log=None, callbacks=[TuneReportCallback()])

    return run_trial


def _sampler(space: SearchSpace) -> Any:
    from ray import tune

    if space.choice is not None:
        return tune.choice(space.choice)
    return tune.uniform(*space.uniform) if space.uniform is not None else tune.loguniform(*(space.loguniform or ()))


def _trial(result: Any, metric: str) -> dict[str, Any]:
    metrics = result.metrics or {}
    return {
        "config": result.config,
        "value": metrics.get(metric),
        "steps": metrics.get("step"),
        "checkpoint": metrics.get("checkpoint_path"),
        "error": str(result.error).strip().splitlines()[-1] if result.error else None,
    }
