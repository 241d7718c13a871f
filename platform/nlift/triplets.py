"""Stage `triplets`: pairs to (anchor, positive, hard negative), filtered by COMET.

As in supervised SimCSE (arXiv 2104.08821, section 4): the premise is the anchor, an entailed
hypothesis its positive, a contradicted hypothesis of the same premise its hard negative.
"""

from collections import Counter
from dataclasses import dataclass
from types import ModuleType

from nlift import nli, score, tables, translate
from nlift.artifacts import Output, Stage, rows_on_disk, write_jsonl
from nlift.config import Experiment
from nlift.errors import DataError
from nlift.filters import judged
from nlift.pairing import Row, built
from nlift.schema import NLIPair, ScoredPair, TranslatedPair, Triplet, arrow_schema
from nlift.tables import Tables

JUDGED = "judged.parquet"
BEYOND_SHARE = """
    SELECT * REPLACE (CASE WHEN rank > $most AND reason IS NULL AND comet IS NOT NULL THEN $why ELSE reason END AS reason)
    FROM (
        SELECT *, row_number() OVER (PARTITION BY reason IS NULL ORDER BY comet DESC NULLS LAST, pair_id) AS rank FROM judged
    )"""
REASONS = "SELECT reason, count(*) AS count FROM verdicts WHERE reason IS NOT NULL GROUP BY reason ORDER BY count DESC, reason"
DROPPED = "SELECT reason, pair_id, anchor, positive, negative FROM verdicts WHERE reason IS NOT NULL ORDER BY pair_id"
KEPT = "FROM verdicts WHERE reason IS NULL ORDER BY pair_id"


@dataclass(frozen=True)
class JudgedTriplet(Triplet):
    """A triplet with its score, and the reason to drop it, null where there is none."""

    comet: float | None
    reason: str | None


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    upstream = source(experiment)[0].stage(experiment)
    identity = {"config": experiment.triplets.model_dump(mode="json"), "inputs": [upstream.fingerprint]}
    return Stage("triplets", experiment.folder / "triplets", identity)


def source(experiment: Experiment) -> tuple[ModuleType, type]:
    """The stage that triplets are made from, and its rows' type."""
    if experiment.score is not None:
        return score, ScoredPair
    return (translate, TranslatedPair) if experiment.translate is not None else (nli, NLIPair)


def write(experiment: Experiment, output: Output) -> None:
    """Build triplets, filter; what is dropped goes to dropped.jsonl. Raises DataError where none is left."""
    module, row_type = source(experiment)
    config = experiment.triplets
    with tables.opened(output.path) as database:
        database.add("pairs", rows_on_disk(experiment.folder / module.__name__.rpartition(".")[2], row_type))
        output.rows_in = database.count("FROM pairs")
        rows = built(database, "pairs", row_type, config.require_negative, config.side)
        over, found = config.filter.over, judged(rows, config.filter, languages(experiment))
        output.write_rows((_judged(row, over, reason) for row, reason in found), JudgedTriplet, JUDGED)
        database.add("judged", rows_on_disk(output.path, JudgedTriplet, JUDGED))
        decide(database, config.filter.keep_share)
        reasons = Counter({row["reason"]: row["count"] for row in database.rows(REASONS)})
        output.notes = {"built": output.rows_out, "dropped": dict(reasons)}
        dropped = ({"reason": row.pop("reason"), "row": row} for row in database.rows(DROPPED))
        write_jsonl(output.path / "dropped.jsonl", dropped)
        output.rows_out = database.write(KEPT, output.path / "rows.parquet", arrow_schema(Triplet))
    (output.path / JUDGED).unlink()
    if not output.rows_out:
        most = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
        count = output.notes["built"]
        raise DataError(f"triplets: none of {count} left of {output.rows_in} pairs{most}; loosen triplets.filter or read more")


def decide(database: Tables, keep_share: float | None) -> None:
    """Make the table `verdicts` of `judged`: of the rows that pass and have a score the best share is kept."""
    if keep_share is None:
        database.make("verdicts", "FROM judged")
    else:
        scored = database.count("FROM judged WHERE reason IS NULL AND comet IS NOT NULL")
        database.make("verdicts", BEYOND_SHARE, most=round(keep_share * scored), why=f"not in the best {keep_share:g}")


def languages(experiment: Experiment) -> tuple[str, str] | None:
    """Source and target language without region or script, as `pl` of `pl_PL`; None without translation."""
    config = experiment.translate
    return None if config is None else (config.source_language.split("_")[0], config.target_language.split("_")[0])


def _judged(row: Row, over: str, reason: str | None) -> JudgedTriplet:
    negative = row.negative.text if row.negative else None
    return JudgedTriplet(row.pair_id, row.anchor.text, row.positive.text, negative, row.comet(over), reason)
