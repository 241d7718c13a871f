"""Stage `triplets`: pairs to (anchor, positive, hard negative), filtered by COMET.

As in supervised SimCSE (arXiv 2104.08821, section 4): the premise is the anchor, an entailed hypothesis its positive, a
contradicted hypothesis of the same premise its hard negative.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from nlift.config import Experiment
from nlift.data.database import Database, open_database
from nlift.data.files import rows_on_disk, write_json, write_jsonl
from nlift.data.filters import judged
from nlift.data.languages import recognised
from nlift.data.pairing import Row, built
from nlift.data.schema import LABELS, NLIPair, ScoredPair, Triplet, arrow_schema
from nlift.errors import DataError
from nlift.evaluation import comet_summary
from nlift.pipeline import nli
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.workload import Workload
from nlift.settings import FilterConfig

JUDGED = "judged.parquet"
S_PER_ROW = 0.00004  # paired, judged and written
BEYOND_SHARE = """
    SELECT * REPLACE (
        CASE WHEN rank > $most AND reason IS NULL AND comet IS NOT NULL THEN $why ELSE reason END AS reason
    )
    FROM (
        SELECT *, row_number() OVER (PARTITION BY reason IS NULL ORDER BY {order} NULLS LAST, pair_id) AS rank
        FROM judged
    )"""
ORDERS = {  # those without a score stand last, and are kept
    "best": "comet DESC",
    "worst": "comet ASC",
    "random": "CASE WHEN comet IS NOT NULL THEN md5(pair_id) END",
}
REASONS = """
    SELECT reason, count(*) AS count FROM verdicts
    WHERE reason IS NOT NULL GROUP BY reason ORDER BY count DESC, reason"""
DROPPED = "SELECT reason, pair_id, anchor, positive, negative FROM verdicts WHERE reason IS NOT NULL ORDER BY pair_id"
KEPT = "FROM verdicts WHERE reason IS NULL ORDER BY pair_id"


@dataclass(frozen=True)
class JudgedTriplet(Triplet):
    """A triplet with its score, and the reason to drop it, null where there is none."""

    comet: float | None
    reason: str | None


class Triplets(Stage):
    """Triplets of pairs, whether scored, translated or as they were read."""

    name = "triplets"
    reads = NLIPair
    writes = Triplet

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The section."""
        upstream = self.upstream(experiment).folder(experiment)
        return {"config": experiment.triplets.model_dump(mode="json"), "inputs": [upstream.fingerprint]}

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """Pairs make triplets, and the filter knows the languages."""
        if size.triplets == 0:
            raise DataError(_no_triplet(experiment, size))
        both = languages(experiment)
        if experiment.triplets.filter.language and both is not None:
            recognised("", both)

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Pairs to join."""
        return Workload(serial_s=S_PER_ROW * (size.rows or 0))

    def run(self, experiment: Experiment, output: Output) -> None:
        """Build triplets, filter; what is dropped goes to dropped.jsonl. Raises DataError where none is left."""
        upstream, config = self.upstream(experiment), experiment.triplets
        assert upstream.writes is not None
        with open_database(output.path) as database:
            database.add("pairs", rows_on_disk(upstream.path(experiment), upstream.writes))
            output.rows_in = database.count("FROM pairs")
            if upstream.writes is ScoredPair:
                kept = comet_summary.thresholds(database, "pairs", config.require_negative)
                write_json(output.path / comet_summary.THRESHOLDS_FILE, kept)
            rows = built(database, "pairs", upstream.writes, config.require_negative, config.side)
            verdicts = judged(rows, config.filter, languages(experiment))
            triplets = (_judged(row, config.filter.over, reason) for row, reason in verdicts)
            output.write_rows(triplets, JudgedTriplet, JUDGED)
            database.add("judged", rows_on_disk(output.path, JudgedTriplet, JUDGED))
            decide(database, config.filter)
            reasons = Counter({row["reason"]: row["count"] for row in database.rows(REASONS)})
            output.notes = {"built": output.rows_out, "dropped": dict(reasons)}
            dropped = ({"reason": row.pop("reason"), "row": row} for row in database.rows(DROPPED))
            write_jsonl(output.path / "dropped.jsonl", dropped)
            output.rows_out = database.write(KEPT, output.path / "rows.parquet", arrow_schema(Triplet))
        (output.path / JUDGED).unlink()
        if not output.rows_out:
            most = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
            raise DataError(
                f"triplets: none of {output.notes['built']} left of {output.rows_in} pairs{most}; "
                "loosen triplets.filter, where it says so, or read more"
            )


STAGE = Triplets()


def _no_triplet(experiment: Experiment, size: DataSize) -> str:
    """What is said where no triplet can be made: of which pairs, and what else there was."""
    wanted = "is entailed"
    if experiment.triplets.require_negative:
        wanted = "has an entailed hypothesis and a contradicted one that is another"
    source = experiment.nli.path or experiment.nli.dataset
    line = f"{source}: no premise of {size.rows} pairs {wanted}; labels are {nli.seen(size.labels)}"
    if set(size.labels) - set(LABELS):
        return f"{line}; {nli.NAME_THEM}"
    return f"{line}; nli.labels takes {', '.join(experiment.nli.labels)}"


def decide(database: Database, config: FilterConfig) -> None:
    """Make the table `verdicts` of `judged`: of the rows that pass and have a score a share is kept."""
    if config.keep_share is None:
        database.make("verdicts", "FROM judged")
        return
    scored = database.count("FROM judged WHERE reason IS NULL AND comet IS NOT NULL")
    why = f"not in the {config.keeps} {config.keep_share:g}"
    beyond = BEYOND_SHARE.format(order=ORDERS[config.keeps])
    database.make("verdicts", beyond, most=round(config.keep_share * scored), why=why)


def languages(experiment: Experiment) -> tuple[str, str] | None:
    """Source and target language without region or script, as `pl` of `pl_PL`; None without translation."""
    config = experiment.translate
    if config is None:
        return None
    return config.source_language.split("_")[0], config.target_language.split("_")[0]


def _judged(row: Row, over: str, reason: str | None) -> JudgedTriplet:
    negative = row.negative.text if row.negative else None
    return JudgedTriplet(row.pair_id, row.anchor.text, row.positive.text, negative, row.comet(over), reason)
