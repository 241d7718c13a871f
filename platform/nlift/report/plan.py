"""`nlift check`: what a run would do, without starting anything."""

import os
import tempfile
from pathlib import Path

from rich.markup import escape

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
from nlift.pipeline.stage import DataSize, Output
from nlift.report import console, tables
from nlift.tuning import samplers


def show(experiment: Experiment) -> None:
    """Print stages and their state, data sizes, resources and the models' licences."""
    pipeline.preflight(experiment)
    size, stages = data_size(experiment), pipeline.stages(experiment)
    console.draw(tables.plan_table(experiment, size))
    console.draw(tables.models_table(experiment))
    cpus = experiment.cluster.num_cpus or os.cpu_count()
    local = experiment.cluster.address == "local"
    where = f"this machine, {cpus} CPUs" if local else f"cluster {experiment.cluster.address}"
    out = console.console()
    out.print(f"runs on {escape(where)}; training takes {experiment.train.num_workers} worker(s)")
    if experiment.tune is not None:
        out.print(_sweep(experiment))
    models = (model.name for stage in stages for model in stage.models(experiment))
    if size.sentences is not None and all(name == "embedded" for name in models):
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


def _sweep(experiment: Experiment) -> str:
    """What `nlift tune` would do."""
    config, seeds = tune.config_of(experiment), tune.seeds(experiment)
    count = samplers.count(config)
    size = f"{count} configurations x {len(seeds)} seed(s) = {count * len(seeds)} trials"
    state = "done" if tune.STAGE.folder(experiment).done() else "to do with nlift tune"
    keys = ", ".join(config.space)
    return f"sweep of {keys}: {size}, {config.search}, scheduler {config.scheduler}; {state}"
