"""All stages in order: NLI pairs in, evaluated encoder and searchable bundle out."""

from types import ModuleType

from nlift import cluster, evaluate, index, nli, sources, train, translate, tune
from nlift.config import Experiment
from nlift.errors import ConfigError
from nlift.sets import load_corpus, load_set
from nlift.stages import Ran, before_training, run_stage


def stages(experiment: Experiment) -> dict[str, ModuleType]:
    """The stages that `nlift run` takes, in order."""
    chosen: dict[str, ModuleType] = {**before_training(experiment), "train": train}
    if experiment.evaluate.sets:
        chosen["evaluate"] = evaluate
    if experiment.index is not None:
        chosen["index"] = index
    return chosen


def run(experiment: Experiment, only: list[str] | None = None, overwrite: bool = True) -> list[Ran]:
    """Run every stage that is not done, in order. Raises NliftError before anything starts where it can."""
    chosen = select(stages(experiment), only)
    preflight(experiment)
    return [run_stage(experiment, name, module, overwrite) for name, module in chosen.items()]


def run_tune(experiment: Experiment, overwrite: bool = True) -> list[Ran]:
    """The stages before training, then the sweep."""
    config = tune.config_of(experiment)
    preflight(experiment)
    tried = [one for key in config.space for one in tune.variants(experiment, key)]
    for model, kind in dict.fromkeys((model, kind) for one in tried for _, model, kind in models(one)):
        sources.check_model(model, kind)
    chosen = {**before_training(experiment), "tune": tune}
    return [run_stage(experiment, name, module, overwrite) for name, module in chosen.items()]


def select(known: dict[str, ModuleType], only: list[str] | None) -> dict[str, ModuleType]:
    """The stages named in `only`, in their order. Raises ConfigError for an unknown one."""
    for name in only or []:
        if name not in known:
            raise ConfigError(f"--only {name}: no such stage in this experiment; it has {', '.join(known)}")
    return {name: module for name, module in known.items() if not only or name in only}


def preflight(experiment: Experiment) -> None:
    """Find the user's mistakes before any work: paths, data in the wrong form, folders not ours."""
    if "://" in experiment.output_dir:
        raise ConfigError(f"output_dir {experiment.output_dir}: URIs are not supported yet; name a folder that all nodes see")
    for key, folder in (("output_dir", experiment.output_dir), ("cluster.memory_dir", experiment.memories)):
        if cluster.in_job() and not folder.startswith("/") and "://" not in folder:
            raise ConfigError(
                f"{key} {folder}: in a job this must be absolute, as the working directory is Ray's "
                f"throw-away copy; add --set {key}=$PWD/runs"
            )
    if experiment.nli.path is not None:
        next(nli.read_rows(experiment.nli), None)
    for name, model, kind in models(experiment):
        if not stages(experiment)[name].stage(experiment).done():
            sources.check_model(model, kind)
    for one in experiment.evaluate.sets:
        load_set(one)
    corpora = [one.corpus for one in (experiment.mine, experiment.cloze, experiment.index) if one is not None and one.corpus]
    for corpus in dict.fromkeys(corpora):
        load_corpus(sources.data_path(corpus))
    for module in [*stages(experiment).values(), *([tune] if experiment.tune else [])]:
        module.stage(experiment).done()


def models(experiment: Experiment) -> list[tuple[str, str, str]]:
    """Stage, model and kind of every model that the experiment names."""
    found = []
    if experiment.translate is not None:
        found += [("translate", one.model, "translator") for one in translate.candidates(experiment.translate)]
    if experiment.score is not None:
        found.append(("score", experiment.score.model, "comet"))
    if experiment.mine is not None:
        found.append(("mine", experiment.mine.encoder, "encoder"))
    return [*found, ("train", experiment.train.base_model, "encoder")]
