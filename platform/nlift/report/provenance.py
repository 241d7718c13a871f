"""What an encoder was made of: models and data, each with its use, its name on the hub and its licence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nlift.config import Experiment
from nlift.data import sources
from nlift.pipeline import translate
from nlift.pipeline.stage import Stage
from nlift.pipeline.stage_folder import MANIFEST, read_manifest
from nlift.report.licences import UNKNOWN, data_licence, licence, licence_in_card

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?")
EMBEDDED_DATA = {  # whose it is, as NOTICE says
    "embedded:snli": "SNLI 1.0, Bowman, Angeli, Potts, Manning (2015), https://nlp.stanford.edu/projects/snli/",
    "embedded:poquad_pl": "PoQuAD, Tuora, Zwierzchowska et al. (2023), https://github.com/ipipan/poquad",
    "embedded:osm_places_pl": "iD tagging schema, https://github.com/openstreetmap/id-tagging-schema",
    "embedded:stsb_pl": "STS benchmark in Polish, https://github.com/PhilipMay/stsb-multi-mt",
}
EMBEDDED_MODELS = {  # what NOTICE says of the models that ship with nlift
    "encoder": "trained on ELTeC-pol (CC-BY-4.0), Tatoeba (CC-BY-2.0 FR), ParaCrawl (CC0) and sentences of SNLI "
    "(CC-BY-SA-4.0)",
    "translator": "trained on Tatoeba (CC-BY-2.0 FR) and ParaCrawl (CC0)",
    "comet": "trained on Tatoeba (CC-BY-2.0 FR)",
}


@dataclass(frozen=True)
class Source:
    """A model or data that an encoder was made of."""

    use: str
    name: str
    """As it may be published: of a path the last part alone."""
    licence: str
    """`unknown` where it is not known."""
    model: str | None = None
    """Its name on the Hugging Face hub, of a model."""
    dataset: str | None = None
    """The same of a data set."""
    note: str = ""


def made_of(experiment: Experiment, stage: Stage) -> list[Source]:
    """What the encoder of a stage was made of, the base model first, each once."""
    return list(dict.fromkeys(_sources(experiment, {step.name for step in stage.lineage(experiment)})))


def _sources(experiment: Experiment, steps: set[str]) -> Iterator[Source]:
    config = experiment.train
    yield _model("base model", config.base_model, "encoder")
    if config.teacher is not None:
        yield _model("teacher", config.teacher, "encoder")
    if experiment.cloze is None or experiment.cloze.triplets:
        yield from _nli(experiment, steps)
    if experiment.mine is not None and "mine" in steps:
        yield _model(f"finds the {experiment.mine.finds}", experiment.mine.encoder, "encoder")
        if experiment.mine.corpus is not None:
            yield _data("corpus that is searched in training", experiment.mine.corpus)
    if experiment.cloze is not None and "cloze" in steps:
        yield _data("corpus whose sentences it learnt", experiment.cloze.corpus)
    for path in config.parallel:
        yield _data("translations", path)


def _nli(experiment: Experiment, steps: set[str]) -> Iterator[Source]:
    """The NLI pairs, and what translated and scored them where translations are trained on."""
    given = experiment.nli
    yield _data("NLI pairs", given.dataset or given.path or "", on_hub=given.dataset is not None)
    if is_translated(experiment) and "translate" in steps:
        for model in _translators(experiment):
            yield _model("translates the pairs", model, "translator")
    if experiment.score is not None and "score" in steps:
        yield _model("scores the translations", experiment.score.model, "comet")


def _translators(experiment: Experiment) -> list[str]:
    """The translator; of candidates the one that was kept, all of them where that is not known."""
    config, folder = translate.config_of(experiment), translate.STAGE.path(experiment)
    if not config.candidates:
        return [config.model]
    chosen = read_manifest(folder).get("chosen") if (folder / MANIFEST).is_file() else None
    return [chosen] if chosen in config.candidates else config.candidates


def is_translated(experiment: Experiment) -> bool:
    """Whether an encoder learns from translations."""
    return experiment.translate is not None and experiment.triplets.side != "source"


def _model(use: str, name: str, kind: str) -> Source:
    if name == "embedded":
        return Source(use, f"the small {kind} that nlift ships", "Apache-2.0", note=EMBEDDED_MODELS[kind])
    folder = Path(name)
    if sources.is_there(folder) and folder.is_dir():
        return Source(use, folder.resolve().name, licence_in_card(folder))
    return Source(use, name, licence(name), model=name if HUB_NAME.fullmatch(name) else None)


def _data(use: str, name: str, on_hub: bool = False) -> Source:
    if on_hub:
        return Source(use, name, data_licence(name), dataset=name if HUB_NAME.fullmatch(name) else None)
    name = "embedded:snli" if name == "embedded" else name
    if name in EMBEDDED_DATA:
        dataset = "stanfordnlp/snli" if name == "embedded:snli" else None
        return Source(use, name, data_licence(name), dataset=dataset, note=EMBEDDED_DATA[name])
    return Source(use, name.rstrip("/").rpartition("/")[2], UNKNOWN)
