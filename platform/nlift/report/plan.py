"""`nlift check`: what a run would do, without starting anything."""

import os
import tempfile
from pathlib import Path

from nlift import pipeline
from nlift.config import Experiment
from nlift.data import sources
from nlift.data.corpus import load_corpus
from nlift.data.database import open_database
from nlift.data.files import rows_on_disk
from nlift.data.result_cache import missing_inputs
from nlift.data.schema import NLIPair
from nlift.models import translator
from nlift.pipeline import cloze, nli, translate, tune
from nlift.pipeline.stage import DataSize, Output, Stage, read_manifest
from nlift.report import console
from nlift.report.licences import licence
from nlift.report.tables import Column, Row, Table
from nlift.tuning import samplers


def show(experiment: Experiment) -> None:
    """Print stages and their state, data sizes, resources and the models' licences."""
    pipeline.preflight(experiment)
    size, stages = data_size(experiment), pipeline.stages(experiment)
    rows = tuple(_row(stage, experiment, size) for stage in stages)
    columns = tuple(Column(name, words=True) for name in ("stage", "state", "work"))
    console.draw(Table(f"{experiment.name}: {experiment.folder}", columns, rows))
    models = [(stage.name, model.name) for stage in stages for model in stage.models(experiment)]
    rows = tuple(Row((stage_name, model, licence(model))) for stage_name, model in models)
    columns = tuple(Column(name, words=True) for name in ("stage", "model", "licence"))
    console.draw(Table("models", columns, rows))
    cpus = experiment.cluster.num_cpus or os.cpu_count()
    local = experiment.cluster.address == "local"
    where = f"this machine, {cpus} CPUs" if local else f"cluster {experiment.cluster.address}"
    out = console.console()
    out.print(f"runs on {where}; training takes {experiment.train.num_workers} worker(s)")
    if experiment.tune is not None:
        out.print(_sweep(experiment))
    if size.sentences is not None and all(model == "embedded" for _, model in models):
        seconds = sum(stage.estimate_s(experiment, size) for stage in stages if not stage.folder(experiment).done())
        out.print(f"estimated time on two cores: {max(1.0, seconds / 60):.0f} minutes")
    out.print("nothing was started")


def data_size(experiment: Experiment) -> DataSize:
    """How much the experiment's data is, counted on disk."""
    pairs = _cloze_pairs(experiment)
    if experiment.nli.dataset is not None:
        return DataSize(None, None, {}, pairs)
    with tempfile.TemporaryDirectory() as folder, open_database(Path(folder)) as database:
        output = Output(Path(folder))
        nli.read(experiment.nli, output)
        database.add("pairs", rows_on_disk(output.path, NLIPair))
        sentences, known = database.count(f"SELECT DISTINCT * FROM ({translate.SENTENCES})"), {}
        for config in translator.candidates(experiment.translate) if experiment.translate else []:
            cache = translator.cache(config, experiment.memories)
            missing = missing_inputs(database, "sentences", translate.SENTENCES, cache)
            known[config.model] = sentences - database.count(missing)
        return DataSize(output.rows_out, sentences, known, pairs)


def _cloze_pairs(experiment: Experiment) -> int:
    """Pairs that are made of the corpus, beside the triplets."""
    config = experiment.cloze
    if config is None:
        return 0
    return len(cloze.drawn(load_corpus(sources.data_path(config.corpus)), config, experiment.seed))


def _row(stage: Stage, experiment: Experiment, size: DataSize) -> Row:
    """A stage, whether it is done, and what it did or would do."""
    folder = stage.folder(experiment)
    if folder.done():
        return Row((stage.name, "done", f"{read_manifest(folder.path)['rows_out']} rows"))
    state = "to be replaced" if folder.path.exists() else "to do"
    return Row((stage.name, state, stage.work(experiment, size)))


def _sweep(experiment: Experiment) -> str:
    """What `nlift tune` would do."""
    config, seeds = tune.config_of(experiment), tune.seeds(experiment)
    count = samplers.count(config)
    size = f"{count} configurations x {len(seeds)} seed(s) = {count * len(seeds)} trials"
    state = "done" if tune.STAGE.folder(experiment).done() else "to do with nlift tune"
    keys = ", ".join(config.space)
    return f"sweep of {keys}: {size}, {config.search}, scheduler {config.scheduler}; {state}"
