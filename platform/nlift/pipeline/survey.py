"""What an experiment's data amounts to, counted before any work; `nlift check` shows it, `nlift run` relies on it."""

import tempfile
from pathlib import Path
from typing import Any

from nlift.config import Experiment
from nlift.data import nli_rows
from nlift.data.corpus import usable_corpus
from nlift.data.database import Database, open_database
from nlift.data.files import rows_on_disk
from nlift.data.result_cache import missing_inputs
from nlift.data.schema import NLIPair
from nlift.models import translator
from nlift.pipeline import cloze, nli, translate
from nlift.pipeline.stage import DataSize
from nlift.pipeline.stage_folder import Output, read_manifest

MOST_BYTES = 1024**3  # some 8 million pairs, two minutes
TRIPLETS = """
    SELECT sum(entailed)::BIGINT AS entailed, sum(entailed) FILTER (contradicted > 0)::BIGINT AS contradicted
    FROM (
        SELECT
            count(*) FILTER (label = 'entailment') AS entailed,
            count(*) FILTER (label = 'contradiction') AS contradicted
        FROM pairs p
        WHERE label = 'entailment' OR NOT EXISTS (
            FROM pairs e
            WHERE e.label = 'entailment' AND e.premise = p.premise AND lower(e.hypothesis) = lower(p.hypothesis)
        )
        GROUP BY premise
    )"""
DRAWN = "SELECT source FROM (SELECT DISTINCT * FROM ({sentences})) ORDER BY hash(source) LIMIT 400"
SAMPLE = "SELECT premise FROM pairs ORDER BY pair_id LIMIT 200"


def survey(experiment: Experiment, memories: bool = False) -> DataSize:
    """How much the data is: of the pairs that the stage `nli` wrote, else of the files.

    Nothing is counted of a hub data set, nor of files of more than a gibibyte together: the stage alone reads them.

    Args:
        experiment: Whose data.
        memories: Whether to look up what the translation memory has.

    Raises:
        DataError: A file cannot be read, or no row of it is usable.
    """
    pairs = _cloze_pairs(experiment)
    done = nli.STAGE.folder(experiment).done()
    if not done and (experiment.nli.dataset is not None or nli_rows.size_bytes(experiment.nli) > MOST_BYTES):
        return DataSize(cloze_pairs=pairs)
    with tempfile.TemporaryDirectory() as folder, open_database(Path(folder)) as database:
        if done:
            source = nli.STAGE.path(experiment)
            notes = read_manifest(source)
        else:
            output = Output(Path(folder))
            nli.read(experiment.nli, output)
            source, notes = output.path, {"rows_in": output.rows_in, "rows_out": output.rows_out, **output.notes}
        database.add("pairs", rows_on_disk(source, NLIPair))
        return _counted(experiment, database, notes, pairs, memories)


def _counted(
    experiment: Experiment, database: Database, notes: dict[str, Any], cloze_pairs: int, memories: bool
) -> DataSize:
    (triplets,) = database.rows(TRIPLETS)
    sides = 2 if experiment.triplets.side == "both" and experiment.translate is not None else 1
    wanted = "contradicted" if experiment.triplets.require_negative else "entailed"
    return DataSize(
        rows_in=notes["rows_in"],
        rows=notes["rows_out"],
        set_aside=notes.get("set_aside", {}),
        labels=notes.get("labels", {}),
        sentences=database.count(f"SELECT DISTINCT * FROM ({translate.SENTENCES})"),
        triplets=sides * (triplets[wanted] or 0),
        with_negative=sides * (triplets["contradicted"] or 0),
        sample=[row["source"] for row in database.rows(DRAWN.format(sentences=translate.SENTENCES))],
        premises=[row["premise"] for row in database.rows(SAMPLE)],
        known=_known(experiment, database) if memories else {},
        cloze_pairs=cloze_pairs,
    )


def _known(experiment: Experiment, database: Database) -> dict[str, int]:
    """How many distinct sentences the memory has, by translator."""
    known = {}
    for config in translator.candidates(experiment.translate) if experiment.translate else []:
        cache = translator.cache(config, experiment.memories)
        missing = database.count(missing_inputs(database, "sentences", translate.SENTENCES, cache))
        known[config.model] = database.count("FROM sentences_wanted") - missing
    return known


def _cloze_pairs(experiment: Experiment) -> int:
    """Pairs that are made of the corpus, beside the triplets."""
    config = experiment.cloze
    if config is None:
        return 0
    return len(cloze.drawn(usable_corpus(config.corpus), config, experiment.seed))
