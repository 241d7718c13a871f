"""`nlift check`: what a run would do, without starting anything."""

import os

from rich.console import Console
from rich.table import Table

from nlift import cloze, nli, pipeline, search, sources, translate, tune
from nlift.artifacts import read_manifest
from nlift.config import Experiment
from nlift.licences import licence
from nlift.sections import TranslateConfig
from nlift.sets import load_corpus

# Measured with the embedded models on two cores; a hub model is slower by its size.
SECONDS_PER_UNIT = {"translate": 0.012, "score": 0.001}
START_S = {"translate": 15, "score": 12, "mine": 15, "train": 25, "evaluate": 20, "index": 12}


def show(experiment: Experiment, console: Console) -> None:
    """Print stages and their state, data sizes, resources and the models' licences."""
    pipeline.preflight(experiment)
    found, rows = _count(experiment)
    sentences = None if found is None else len(found)
    table = Table(title=f"{experiment.name}: {experiment.folder}")
    for column in ("stage", "state", "work"):
        table.add_column(column)
    for name, module in pipeline.stages(experiment).items():
        stage = module.stage(experiment)
        done = stage.done()
        state = "done" if done else ("to be replaced" if stage.folder.exists() else "to do")
        work = f"{read_manifest(stage.folder)['rows_out']} rows" if done else _work(experiment, name, rows, found)
        table.add_row(name, state, work)
    console.print(table)
    models = Table(title="models")
    for column in ("stage", "model", "licence"):
        models.add_column(column)
    for stage_name, model, _ in pipeline.models(experiment):
        models.add_row(stage_name, model, licence(model))
    console.print(models)
    cpus = experiment.cluster.num_cpus or os.cpu_count()
    where = f"this machine, {cpus} CPUs" if experiment.cluster.address == "local" else f"cluster {experiment.cluster.address}"
    console.print(f"runs on {where}; training takes {experiment.train.num_workers} worker(s)")
    if experiment.tune is not None:
        console.print(_sweep(experiment))
    if sentences is not None and _all_embedded(experiment):
        console.print(f"estimated time on two cores: {_estimate(experiment, sentences):.0f} minutes")
    console.print("nothing was started")


def _count(experiment: Experiment) -> tuple[set[str] | None, int | None]:
    """Distinct sentences and rows of the NLI data; None for a hub data set, which is not fetched here."""
    if experiment.nli.dataset is not None:
        return None, None
    rows = [row for row in nli.read_rows(experiment.nli) if nli.wanted(row, experiment.nli)]
    return {text for row in rows for text in (row["premise"], row["hypothesis"])}, len(rows)


def _work(experiment: Experiment, name: str, rows: int | None, sentences: set[str] | None) -> str:
    source = experiment.nli.dataset or experiment.nli.path
    config = experiment.train
    texts = {
        "nli": f"{rows} rows of {source}" if rows is not None else f"{source}, counted when it is read",
        "mine": f"hard negatives from {experiment.mine.corpus or 'the triplets'}" if experiment.mine else "",
        "cloze": f"{_pairs(experiment)} pairs of {experiment.cloze.corpus}" if experiment.cloze else "",
        "train": f"{config.epochs:g} epochs of batches of {config.global_batch_size} on {config.num_workers} worker(s)",
        "evaluate": f"base, tuned, bm25 on {', '.join(one.name for one in experiment.evaluate.sets)}",
        "index": f"{experiment.index.corpus}, {experiment.index.kind}" if experiment.index else "",
    }
    if name == "translate" and sentences is not None and experiment.translate is not None:
        return "; ".join(_in_memory(experiment, one, sentences) for one in translate.candidates(experiment.translate))
    if name == "score" and sentences is not None:
        return f"{len(sentences)} distinct sentences"
    return texts.get(name, "")


def _in_memory(experiment: Experiment, config: TranslateConfig, sentences: set[str]) -> str:
    memory = translate.memory(experiment, config)
    known = memory.read("key").keys() & {memory.key(text) for text in sentences}
    model = f"{config.model}: " if experiment.translate != config else ""
    return f"{model}{len(sentences)} distinct sentences, {len(known)} of them in the memory"


def _pairs(experiment: Experiment) -> int:
    """Pairs that are made of the corpus, beside the triplets."""
    config = experiment.cloze
    return 0 if config is None else len(cloze.drawn(load_corpus(sources.data_path(config.corpus)), config, experiment.seed))


def _sweep(experiment: Experiment) -> str:
    """What `nlift tune` would do."""
    config, seeds = tune.config_of(experiment), tune.seeds(experiment)
    count = search.count(config)
    size = f"{count} configurations x {len(seeds)} seed(s) = {count * len(seeds)} trials"
    state = "done" if tune.stage(experiment).done() else "to do with nlift tune"
    return f"sweep of {', '.join(config.space)}: {size}, {config.search}, scheduler {config.scheduler}; {state}"


def _all_embedded(experiment: Experiment) -> bool:
    return all(model == "embedded" for _, model, _ in pipeline.models(experiment))


def _estimate(experiment: Experiment, sentences: int) -> float:
    open_stages = [name for name, module in pipeline.stages(experiment).items() if not module.stage(experiment).done()]
    seconds = sum(START_S.get(name, 0) + SECONDS_PER_UNIT.get(name, 0.0) * sentences for name in open_stages)
    if "train" in open_stages:
        seconds += 0.0045 * (sentences + _pairs(experiment)) * experiment.train.epochs
    return max(1.0, seconds / 60)
