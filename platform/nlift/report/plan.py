"""`nlift check`: what a run would do, without starting anything."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nlift import pipeline
from nlift.config import Experiment
from nlift.cost import machines
from nlift.data import sources
from nlift.data.corpus import usable_corpus
from nlift.data.languages import described
from nlift.evaluation.datasets import EvaluationData, RetrievalSet, StsSet, load_set
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.models.encoder import Encoder
from nlift.pipeline import tune
from nlift.pipeline.stage import DataSize
from nlift.report import console, cost, stage_tables
from nlift.report.tables import Column, Row, Table
from nlift.tuning import samplers


def show(
    experiment: Experiment, described: Path | None = None, prices: Sequence[str] = (), rows: int | None = None
) -> None:
    """Print stages and their state, what the data is, the models' licences, and what a run would take.

    Args:
        experiment: What would run.
        described: A cluster.yaml of Ray's launcher, whose machines it would run on; those at hand when None.
        prices: NODE_TYPE=PER_HOUR each.
        rows: Of a data set of the hub that is not here.

    Raises:
        NliftError: Whatever a run would refuse, and mistakes in what is given.
    """
    where = (machines.at_hand(experiment) if described is None else machines.of_yaml(described)).with_prices(prices)
    size = pipeline.preflight(experiment, memories=True)
    console.draw(stage_tables.plan_table(experiment, size))
    console.draw(data_table(experiment, size))
    console.draw(stage_tables.models_table(experiment))
    for line in encoder_lines(experiment):
        console.say(line)
    console.say(f"runs on {where.title}; training takes {experiment.train.num_workers} worker(s)")
    if experiment.tune is not None:
        console.say(_sweep(experiment))
    cost.show(experiment, size, where, rows)
    console.say("nothing was started")


def data_table(experiment: Experiment, size: DataSize) -> Table:
    """A row per input: how much of it is usable, and which language and scripts it is in."""
    columns = (Column("data", words=True), Column("what there is", words=True), Column("text", words=True))
    return Table("Data", columns, tuple(Row(cells) for cells in _inputs(experiment, size)))


def _inputs(experiment: Experiment, size: DataSize) -> Iterator[tuple[str, str, str]]:
    pairs = experiment.nli.path or experiment.nli.dataset or ""
    if size.rows is None:
        yield pairs, "counted when it is read", ""
    else:
        yield pairs, f"{size.rows:,} of {size.rows_in:,} rows taken", described(size.premises)
        yield "", f"labels: {_counted(size.labels)}", ""
        if size.set_aside:
            yield "", f"set aside: {_counted(size.set_aside)}", ""
        yield "", f"{size.triplets:,} triplets at most", ""
    corpora = {section.corpus for section in (experiment.index, experiment.cloze, experiment.mine) if section}
    for corpus in sorted(name for name in corpora if name):
        documents = usable_corpus(corpus)
        yield corpus, f"{len(documents):,} documents", described([document.content for document in documents])
    for config in experiment.evaluate.sets:
        dataset = load_set(config)
        yield config.name, _parts(dataset, experiment.is_watched(config.name)), described(_texts(dataset))


def encoder_lines(experiment: Experiment) -> Iterator[str]:
    """What is taken over of each encoder on this machine: a line each."""
    named = {model.name for stage in pipeline.stages(experiment) for model in stage.models(experiment)}
    encoders = {experiment.train.base_model, *([experiment.mine.encoder] if experiment.mine else [])}
    for name in sorted(named & encoders):
        if sources.is_local(name, "encoder"):
            yield f"encoder {name}: {_settings(Encoder.load(name))}"


def _settings(encoder: Encoder) -> str:
    prefixes = [f"{prefix!r} before {role}" for role, prefix in encoder.prefixes.items() if prefix]
    if encoder.default_prefix:
        prefixes.append(f"{encoder.default_prefix!r} before texts without a role")
    if prefixes and not encoder.pools_prefix:
        prefixes.append("left out of the pooling")
    kind, head = encoder.backbone.config.model_type, ["a tanh head"] if encoder.mlp_head else []
    shape = [kind, f"{encoder.dim} dimensions", f"{encoder.pooling} pooling", *head]
    case = ["lower case"] if encoder.lower_case else []
    return ", ".join([*shape, f"{encoder.max_length} tokens at most", *case, *prefixes])


def _counted(counts: Mapping[str, int]) -> str:
    """Counts in words, the greatest first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {name or 'none'}" for name, count in ordered)


def _parts(dataset: EvaluationData, is_dev: bool) -> str:
    """How much a set is, and how much of it training looks at."""
    if isinstance(dataset, RetrievalSet):
        whole = f"{dataset.answerable:,} queries of {len(dataset.documents):,} documents"
        return f"{whole}, {dataset.part(dev=True).answerable:,} of them dev" if is_dev else whole
    if isinstance(dataset, LabelledSet):
        learned = f", a probe learns from {len(dataset.train.texts):,}" if dataset.train else ", in fifths"
        return f"{len(dataset.texts):,} examples of {len(set(dataset.labels)):,} classes{learned}"
    whole = f"{len(dataset.pairs):,} pairs"
    dev = len(dataset.part(dev=True).pairs) if isinstance(dataset, StsSet) else 0
    return f"{whole}, {dev:,} of them dev" if is_dev else whole


def _texts(dataset: EvaluationData) -> list[str]:
    if isinstance(dataset, RetrievalSet):
        return list(dataset.queries.values())
    if isinstance(dataset, LabelledSet):
        return [" ".join(text) if isinstance(text, tuple) else text for text in dataset.texts]
    return [text for pair in dataset.pairs for text in pair]


def _sweep(experiment: Experiment) -> str:
    """What `nlift tune` would do."""
    config, seeds = tune.config_of(experiment), tune.seeds(experiment)
    count = samplers.count(config)
    size = f"{count} configurations x {len(seeds)} seed(s) = {count * len(seeds)} trials"
    state = "done" if tune.STAGE.folder(experiment).done() else "to do with nlift tune"
    keys = ", ".join(config.space)
    return f"sweep of {keys}: {size}, {config.search}, scheduler {config.scheduler}; {state}"
