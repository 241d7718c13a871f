"""Stage `score`: reference-free COMET of every distinct sentence and its translation."""

from pathlib import Path
from typing import Any

from nlift.config import Experiment
from nlift.data import sources
from nlift.data.database import open_database
from nlift.data.files import rows_on_disk, write_json
from nlift.data.result_cache import complete
from nlift.data.schema import ScoredPair, TranslatedPair, arrow_schema
from nlift.evaluation import comet_summary
from nlift.models import comet
from nlift.models.comet import CometScorer
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.workload import TARGET_TOKENS, NamedModel, Pass, Workload, mean_tokens, shards
from nlift.settings import ScoreConfig

SENTENCES = """
    SELECT premise AS source, premise_mt AS target FROM pairs
    UNION ALL SELECT hypothesis, hypothesis_mt FROM pairs"""
S_PER_ROW = 0.000017  # looked up in the memory and joined with it


class Score(Stage):
    """Translated pairs with COMET of each side."""

    name = "score"
    reads = TranslatedPair
    writes = ScoredPair
    needs_ray = True
    to_spare_memory = "lower score.num_actors or score.batch_tokens"

    def enabled(self, experiment: Experiment) -> bool:
        """Whether there is a section score."""
        return experiment.score is not None

    def models(self, experiment: Experiment) -> list[NamedModel]:
        """The COMET model."""
        return [NamedModel(config_of(experiment).model, "comet")]

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """What changes a score."""
        upstream = self.upstream(experiment).folder(experiment)
        return {"config": comet.identity(config_of(experiment)), "inputs": [upstream.fingerprint]}

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """The checkpoint is that of a reference-free COMET."""
        model = config_of(experiment).model
        if sources.is_local(model, "comet"):
            comet.check_comet(Path(sources.model_source(model, "comet")))

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """How many sentences."""
        return "" if size.sentences is None else f"{size.sentences} distinct sentences"

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Tokens of all sentences and translations; what the memory has of them is not looked up."""
        return Workload((scoring(experiment, size),), S_PER_ROW * (size.rows or 0))

    def run(self, experiment: Experiment, output: Output) -> None:
        """Score what the memory lacks, then join; quality.json says how good the translations are."""
        assert experiment.translate is not None
        config = config_of(experiment)
        cache = comet.cache(config, experiment.memories)
        with open_database(output.path, output.store) as database:
            database.add("pairs", rows_on_disk(self.upstream(experiment).path(experiment), TranslatedPair))
            output.rows_in = database.count("FROM pairs")
            fresh = complete(database, "scores", SENTENCES, cache, CometScorer, config, "score")
            # one join at a time: each may take all of the memory there is
            premises = "JOIN scores s ON s.source = premise AND s.target = premise_mt"
            database.make("halves", f"SELECT p.*, s.score AS premise_comet FROM pairs p {premises}")
            hypotheses = "JOIN scores s ON s.source = hypothesis AND s.target = hypothesis_mt"
            database.make("joined", f"SELECT p.*, s.score AS hypothesis_comet FROM halves p {hypotheses}")
            joined = "FROM joined ORDER BY pair_id"
            output.rows_out = database.write(joined, output.path / "rows.parquet", arrow_schema(ScoredPair))
            database.add("scored", rows_on_disk(output.path, ScoredPair))
            summary = comet_summary.summarise(database)
        write_json(output.path / comet_summary.FILE, {"engine": experiment.translate.engine, **summary})
        output.notes = {
            "distinct_sentences": summary["sentences"],
            "scored_now": fresh,
            "comet": summary["comet"],
        }


STAGE = Score()


def scoring(experiment: Experiment, size: DataSize) -> Pass:
    """Every distinct sentence and its translation through COMET."""
    config = config_of(experiment)
    model, sentences = NamedModel(config.model, "comet"), size.sentences or 0
    tokens = sentences * (1 + TARGET_TOKENS) * mean_tokens(model, size.sample)
    workers = shards(sentences, config.shard_size, config.num_actors)
    return Pass("score", model, tokens, config.compute_type, most_workers=workers)


def config_of(experiment: Experiment) -> ScoreConfig:
    """The experiment's section `score`, which is there wherever this is called."""
    assert experiment.score is not None
    return experiment.score
