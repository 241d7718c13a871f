"""`nlift check`: what a run would do, without starting anything."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nlift import cloze, nli, pipeline, search, sources, tables, translate, tune
from nlift.artifacts import Output, read_manifest, rows_on_disk
from nlift.config import Experiment
from nlift.licences import licence
from nlift.memory import lacking
from nlift.schema import NLIPair
from nlift.sets import load_corpus

# Measured with the embedded models on two cores; a hub model is slower by its size.
SECONDS_PER_SENTENCE = {"ctranslate2": 0.0015, "transformers": 0.006, "score": 0.0005}
SECONDS_PER_ROW = 0.004
START_S = {"translate": 15, "score": 12, "mine": 15, "train": 25, "evaluate": 20, "index": 12}


@dataclass(frozen=True)
class Size:
    """What the NLI data holds."""

    rows: int
    sentences: int
    """Distinct ones."""
    known: dict[str, int]
    """How many of them the memory has, by translator."""


def show(experiment: Experiment, console: Console) -> None:
    """Print stages and their state, data sizes, resources and the models' licences."""
    pipeline.preflight(experiment)
    size = _size(experiment)
    table = Table(title=f"{experiment.name}: {experiment.folder}")
    for column in ("stage", "state", "work"):
        table.add_column(column)
    for name, module in pipeline.stages(experiment).items():
        stage = module.stage(experiment)
        done = stage.done()
        state = "done" if done else ("to be replaced" if stage.folder.exists() else "to do")
        work = f"{read_manifest(stage.folder)['rows_out']} rows" if done else _work(experiment, name, size)
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
    if size is not None and _all_embedded(experiment):
        console.print(f"estimated time on two cores: {_estimate(experiment, size.sentences):.0f} minutes")
    console.print("nothing was started")


def _size(experiment: Experiment) -> Size | None:
    """What the NLI data holds, counted on disk; None for a hub data set, which is not fetched here."""
    if experiment.nli.dataset is not None:
        return None
    with tempfile.TemporaryDirectory() as folder, tables.opened(Path(folder)) as database:
        output = Output(Path(folder))
        nli.read(experiment.nli, output)
        database.add("pairs", rows_on_disk(output.path, NLIPair))
        sentences, known = database.count(f"SELECT DISTINCT * FROM ({translate.SENTENCES})"), {}
        for config in translate.candidates(experiment.translate) if experiment.translate else []:
            missing = lacking(database, "sentences", translate.SENTENCES, translate.memory(experiment, config))
            known[config.model] = sentences - database.count(missing)
        return Size(output.rows_out, sentences, known)


def _work(experiment: Experiment, name: str, size: Size | None) -> str:
    source = experiment.nli.dataset or experiment.nli.path
    config = experiment.train
    texts = {
        "nli": f"{size.rows} rows of {source}" if size is not None else f"{source}, counted when it is read",
        "mine": f"hard negatives from {experiment.mine.corpus or 'the triplets'}" if experiment.mine else "",
        "cloze": f"{_pairs(experiment)} pairs of {experiment.cloze.corpus}" if experiment.cloze else "",
        "train": f"{config.epochs:g} epochs of batches of {config.global_batch_size} on {config.num_workers} worker(s)",
        "evaluate": f"base, tuned, bm25 on {', '.join(one.name for one in experiment.evaluate.sets)}",
        "index": f"{experiment.index.corpus}, {experiment.index.kind}" if experiment.index else "",
    }
    if name == "translate" and size is not None:
        alone = len(size.known) == 1
        counts = [(f"{count} of them in the memory", model) for model, count in size.known.items()]
        parts = [text if alone else f"{text} of {model}" for text, model in counts]
        return ", ".join([f"{size.sentences} distinct sentences", *parts])
    if name == "score" and size is not None:
        return f"{size.sentences} distinct sentences"
    return texts.get(name, "")


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
    """Minutes."""
    open_stages = [name for name, module in pipeline.stages(experiment).items() if not module.stage(experiment).done()]
    engine = experiment.translate.engine if experiment.translate else ""
    rates = {"translate": SECONDS_PER_SENTENCE.get(engine, 0.0), "score": SECONDS_PER_SENTENCE["score"]}
    seconds = sum(START_S.get(name, 0) + rates.get(name, 0.0) * sentences for name in open_stages)
    if "train" in open_stages:
        seconds += SECONDS_PER_ROW * (sentences + _pairs(experiment)) * experiment.train.epochs
    return max(1.0, seconds / 60)
