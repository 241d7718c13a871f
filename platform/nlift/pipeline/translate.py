"""Stage `translate`: each distinct sentence through a sequence-to-sequence model, once."""

from dataclasses import fields
from typing import Any

from nlift.config import Experiment
from nlift.data import sources
from nlift.data.database import Database, open_database
from nlift.data.files import rows_on_disk
from nlift.data.result_cache import complete
from nlift.data.schema import NLIPair, TranslatedPair, arrow_schema
from nlift.errors import DataError
from nlift.models import translator
from nlift.models.translator import Translator
from nlift.pipeline import score, translator_choice
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.translator_choice import table_of
from nlift.pipeline.workload import NamedModel, Pass, Workload, mean_tokens, shards
from nlift.settings import TranslateConfig

SENTENCES = "SELECT premise AS source FROM pairs UNION ALL SELECT hypothesis FROM pairs"
S_PER_ROW = 0.000017  # looked up in the memory and joined with it


class Translate(Stage):
    """Pairs with their machine translation, by the model named or by the best of several."""

    name = "translate"
    reads = NLIPair
    writes = TranslatedPair
    needs_ray = True
    to_spare_memory = "lower translate.num_actors or translate.batch_tokens"

    def enabled(self, experiment: Experiment) -> bool:
        """Whether there is a section translate."""
        return experiment.translate is not None

    def models(self, experiment: Experiment) -> list[NamedModel]:
        """The translator, or every candidate."""
        return [NamedModel(config.model, "translator") for config in translator.candidates(config_of(experiment))]

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """What changes a translation; with candidates also their settings and the COMET that chooses."""
        configs = translator.candidates(config_of(experiment))
        identity: dict[str, Any] = {
            "config": translator.identity(configs[0]),
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }
        if len(configs) > 1:
            assert experiment.score is not None
            judge = sources.model_fingerprint(experiment.score.model, "comet", experiment.score.revision)
            identity |= {"candidates": [translator.identity(config) for config in configs], "judge": judge}
        return identity

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """The models know the languages."""
        for config in translator.candidates(config_of(experiment)):
            if sources.is_local(config.model, "translator"):
                translator.Languages(config)

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """How many sentences, and how many of them need no model."""
        if size.sentences is None:
            return ""
        parts = [f"{size.sentences} distinct sentences"]
        for model, count in size.known.items():
            whose = "" if len(size.known) == 1 else f" of {model}"
            parts.append(f"{count} of them in the memory{whose}")
        return ", ".join(parts)

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Tokens of the sentences that each candidate's memory lacks; several candidates are scored too."""
        passes = []
        configs = translator.candidates(config_of(experiment))
        for config in configs:
            model = NamedModel(config.model, "translator")
            missing = (size.sentences or 0) - size.known.get(config.model, 0)
            tokens = missing * mean_tokens(model, size.sample)
            workers = shards(missing, config.shard_size, config.num_actors)
            passes.append(Pass("translate", model, tokens, settings_of(config), most_workers=workers))
            if len(configs) > 1:
                passes.append(score.scoring(experiment, size))
        return Workload(tuple(passes), S_PER_ROW * (size.rows or 0) * len(configs))

    def run(self, experiment: Experiment, output: Output) -> None:
        """Translate what the memory lacks, then join; a pair without a translation goes to quarantine."""
        configs = translator.candidates(config_of(experiment))
        with open_database(output.path, output.store) as database:
            database.add("pairs", rows_on_disk(self.upstream(experiment).path(experiment), NLIPair))
            output.rows_in = database.count("FROM pairs")
            fresh = [translated(database, table_of(i), config, experiment.memories) for i, config in enumerate(configs)]
            sentences = database.count(f"FROM {table_of(0)}")
            output.notes = {"distinct_sentences": sentences, "translated_now": sum(fresh)}
            best = 0
            if len(configs) > 1:
                assert experiment.score is not None
                models = [config.model for config in configs]
                comparison = translator_choice.compare(database, models, experiment.score, experiment.memories)
                best = comparison.best
                output.notes |= {"candidates": comparison.table, "chosen": models[best]}
            join(database, table_of(best), output)


STAGE = Translate()


def config_of(experiment: Experiment) -> TranslateConfig:
    """The experiment's section `translate`, which is there wherever this is called."""
    assert experiment.translate is not None
    return experiment.translate


def settings_of(config: TranslateConfig) -> str:
    """What a translator's speed depends on beside the model."""
    return f"{config.engine}, {config.compute_type}, {config.num_beams} beams"


def translated(database: Database, table: str, config: TranslateConfig, memories: str) -> int:
    """Make a table of all sentences of `pairs`, translated; how many were not in the memory."""
    cache = translator.cache(config, memories)
    return complete(database, table, SENTENCES, cache, Translator, config, "translate")


def join(database: Database, table: str, output: Output) -> None:
    """Write the pairs that `table` has both translations of, and set the others aside.

    Raises DataError where none is left.
    """
    # one join at a time: each may take all of the memory there is
    premises = "SELECT p.*, t.target AS premise_mt, t.fault AS premise_fault"
    database.make("halves", f"{premises} FROM pairs p JOIN {table} t ON t.source = p.premise")
    fault = "coalesce('premise: ' || premise_fault, 'hypothesis: ' || t.fault)"
    hypotheses = f"SELECT p.*, t.target AS hypothesis_mt, {fault} AS reason"
    database.make("joined", f"{hypotheses} FROM halves p JOIN {table} t ON t.source = p.hypothesis")
    columns = ", ".join(field.name for field in fields(NLIPair))
    for row in database.rows(f"SELECT {columns}, reason FROM joined WHERE reason IS NOT NULL ORDER BY pair_id"):
        output.quarantine(row, row.pop("reason"))
    good = "FROM joined WHERE reason IS NULL ORDER BY pair_id"
    output.rows_out = database.write(good, output.path / "rows.parquet", arrow_schema(TranslatedPair))
    if not output.rows_out:
        fault = min(output.reasons)
        raise DataError(f"translate: no pair of {output.rows_in} has a translation; a fault: {fault}")
