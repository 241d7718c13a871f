"""Stage `index`: a bundle of the corpus beside those before (index_build.py), and `production` means it if it may."""

from collections import Counter
from pathlib import Path
from typing import Any

from nlift import progress
from nlift.config import Experiment, overridden
from nlift.data import sources
from nlift.data.corpus import corpus_files, corpus_fingerprint, nothing_usable, read_corpus
from nlift.data.files import append_jsonl, replace_folder
from nlift.data.languages import iso_639_1
from nlift.data.schema import Document
from nlift.errors import ConfigError, ModelError
from nlift.evaluation.datasets import RetrievalSet, load_set
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.set_rows import content_of
from nlift.models import int8
from nlift.models.encoder import ComputeType, Encoder
from nlift.pipeline import corpus_embedding, index_build
from nlift.pipeline.index_build import Built
from nlift.pipeline.promotion import promote_or_keep
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import QUARANTINE, Output, StageFolder, read_manifest
from nlift.pipeline.tuned_encoder import tuned_encoder, tuned_stage
from nlift.pipeline.workload import NamedModel, Pass, Workload, document_tokens, shards
from nlift.search import aliases, bundle_store
from nlift.search.bundle_format import read_info
from nlift.settings import EvaluationSet, IndexConfig, SearchConfig

S_PER_DOCUMENT = 0.0005  # sorted, its words counted, indexed
CHOICE_S = 6.0  # how to search is chosen, on samples of a large corpus; the bundle is read and compared
CHECKED_EVERY = 1000  # documents of a large corpus: of so many one tells its language


class BundlesFolder(StageFolder):
    """The folder of bundles: where it is kept, each version is a stored folder, and names are changed there."""

    def bring(self) -> None:
        """Put here what is kept: of versions those that names mean, and the newest."""
        assert self.uri is not None
        temporary = self.path.with_name(f".{self.name}.tmp")
        self.store.fetch(temporary)
        bundle_store.fetch(self.uri, temporary)
        replace_folder(temporary, self.path)

    def publish(self) -> None:
        """Let the URI have the versions of this machine, and what they are called."""
        assert self.uri is not None
        bundle_store.publish(self.path, self.uri)
        versions = [path.name for path in self.path.iterdir() if path.is_dir() or path.name.startswith(".")]
        self.store.publish(self.path, read_manifest(self.path), {*versions, aliases.ALIASES, aliases.LOG})


class Index(Stage):
    """A folder of bundles."""

    name = "index"
    reads = Encoder
    needs_ray = True
    to_spare_memory = "lower index.num_actors or index.max_length"
    folder_type = BundlesFolder

    def enabled(self, experiment: Experiment) -> bool:
        """Whether there is a section index."""
        return experiment.index is not None

    def upstream(self, experiment: Experiment) -> Stage:
        """The stage whose encoder counts as tuned."""
        return tuned_stage(experiment)

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The section, the corpus and the encoder."""
        config = config_of(experiment)
        return {
            "config": config.model_dump(mode="json", exclude={"num_actors"}),
            "corpus": corpus_fingerprint(config.corpus),
            "rows": index_build.ROWS,
            "search": experiment.search.model_dump(mode="json"),
            "language": expected_language(experiment),
            "dev": [
                [config.model_dump(mode="json", exclude={"path"}), content_of(config)]
                for config in _watched(experiment)
            ],
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """The corpus can be read, and an encoder of this kind runs in int8 where that is wanted."""
        config, model = config_of(experiment), experiment.train.base_model
        check_corpus(config, experiment.search, expected_language(experiment))
        if config.compute_type == "int8" and sources.is_local(model, "encoder"):
            kind = Encoder.load(model).backbone.config.model_type
            if kind not in int8.KINDS:
                known = ", ".join(int8.KINDS)
                raise ModelError(f"index.compute_type: a {kind} cannot run in int8, {known} can; expected float32")

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """What is indexed, and how."""
        config = config_of(experiment)
        return f"{config.corpus}, {config.kind}"

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Tokens of all passages; the rest goes by documents."""
        config = config_of(experiment)
        model = NamedModel(experiment.train.base_model, "encoder")
        overlap_of = config.overlap if config.passages else None
        documents, tokens = document_tokens(model, config.corpus, config.max_length, overlap_of)
        workers = shards(documents, corpus_embedding.shard_size(documents), config.num_actors)
        embedding = Pass("embed", model, tokens, config.compute_type, most_workers=workers)
        return Workload((embedding,), CHOICE_S + S_PER_DOCUMENT * documents)

    def run(self, experiment: Experiment, output: Output) -> None:
        """Build a bundle beside those before, and let `production` mean it unless it is worse than the current one."""
        dev = next((load_set(config) for config in _watched(experiment)), None)
        dev = dev.part(dev=True) if isinstance(dev, RetrievalSet) else None
        deployment = Deployment(experiment.search, expected_language(experiment), dev)
        bundle_store.carry_over(self.folder(experiment).uri or experiment.folder / self.name, output.path)

        def set_aside(values: dict[str, Any], reason: str, where: str) -> None:
            output.quarantine(values, reason, where)

        config = config_of(experiment)
        encoder = tuned_encoder(experiment)
        built = index_build.build(config, encoder, output.path, deployment, set_aside=set_aside, store=output.store)
        before = aliases.read_aliases(output.path).get(aliases.PRODUCTION)
        with progress.waiting("the new version is compared with the one before"):
            promoted = index_build.with_room(
                built.rows_out, promote_or_keep, output.path, built.folder.name, here=output.store is not None
            )
        output.rows_in, output.rows_out = built.rows_in, built.rows_out
        output.notes = {
            "version": built.folder.name,
            "alias": promoted.alias,
            "gate": str(promoted),
            "before": before,
            "passages": built.passages,
            "embedded": built.embedded,
            "search": read_info(built.folder)["search"],
        }

    def bundles(self, experiment: Experiment) -> str:
        """Where its bundles are kept: a path, or a URI."""
        return str(self.path(experiment) if experiment.store is None else self.folder(experiment).uri)


STAGE = Index()


def newest(experiment: Experiment) -> tuple[Path, dict[str, Any]]:
    """The bundle that an experiment's index built last, and what the manifest says of it."""
    manifest = read_manifest(STAGE.path(experiment))
    return STAGE.path(experiment) / manifest["version"], manifest


def config_of(experiment: Experiment) -> IndexConfig:
    """The experiment's section `index`. Raises ConfigError where there is none."""
    if experiment.index is None:
        raise ConfigError(f"{experiment.name}: no section index; add one with corpus")
    return experiment.index


def expected_language(experiment: Experiment) -> str | None:
    """The language that texts are probably in: the one translated into, ISO 639-1."""
    config = experiment.translate
    return iso_639_1(config.target_language) if config is not None else None


def compute_type(experiment: Experiment) -> ComputeType:
    """What an index is embedded in, and so what encoders are measured in; float32 where there is no index."""
    return experiment.index.compute_type if experiment.index is not None else "float32"


def overlap(experiment: Experiment) -> int | None:
    """Tokens that passages of a document share, in an index and so where encoders are measured; None cuts documents."""
    section = experiment.index
    return section.overlap if section is not None and section.passages else None


def _watched(experiment: Experiment) -> list[EvaluationSet]:
    """The retrieval set that training looks at; none where it looks at another kind, or at nothing."""
    dev = experiment.dev_set
    return [dev] if dev is not None and dev.kind == "retrieval" else []


def sections(config: IndexConfig, overrides: list[str]) -> tuple[IndexConfig, SearchConfig]:
    """The sections `index` and `search` of an index without an experiment, overridden as by `--set`.

    Raises ConfigError for a key of another section, or a value that is not allowed.
    """
    for text in overrides:
        if not text.startswith(("index.", "search.")):
            raise ConfigError(f"--set {text}: without an experiment only keys of index and search can be set")
    whole = Experiment.model_validate({"name": "index", "nli": {"path": "embedded"}, "index": config.model_dump()})
    experiment = overridden(whole, overrides)
    return config_of(experiment), experiment.search


def check_corpus(config: IndexConfig, search: SearchConfig, expected_language: str | None = None) -> None:
    """Raise NliftError where the corpus cannot be read, or its language has no such analyzer."""
    sample: list[Document] = []
    reasons: Counter[str] = Counter()
    files = corpus_files(config.corpus)
    for count, (_, document) in enumerate(read_corpus(files, lambda row, reason: reasons.update([reason]))):
        if count % CHECKED_EVERY == 0 or count < CHECKED_EVERY:
            sample.append(document)
    if not sample:
        raise nothing_usable(config.corpus, reasons)
    try:
        Deployment(search, expected_language).check(sample)
    except ConfigError as error:
        raise ConfigError(f"{config.corpus}: {error}") from None


def check_encoder(folder: Path) -> None:
    """Raise ModelError where the folder that a person names holds no encoder, or a broken one."""
    if not folder.is_dir():
        raise ModelError(f"--encoder {folder}: no such folder; expected an encoder's, as runs/demo/train/encoder")
    sources.check_model(str(folder), "encoder")


def build(
    config: IndexConfig,
    search: SearchConfig,
    encoder: Path,
    bundles: Path,
    *,
    must_update: bool = False,
    store: str | None = None,
) -> Built:
    """Embed and index a corpus that there are no queries of, choose how to search it; bad rows go to quarantine.jsonl.

    `must_update` makes it a mistake if no earlier version has vectors to take over; `store` is as there.
    Raises as `index_build.build`.
    """
    quarantine = bundles / QUARANTINE
    quarantine.unlink(missing_ok=True)

    def set_aside(values: dict[str, Any], reason: str, where: str) -> None:
        append_jsonl(quarantine, {"reason": reason, "where": where, "row": values})

    deployment = Deployment(search)
    return index_build.build(
        config, encoder, bundles, deployment, set_aside=set_aside, must_update=must_update, store=store
    )
