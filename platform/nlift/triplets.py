"""Stage `triplets`: pairs to (anchor, positive, hard negative), filtered by COMET.

As in supervised SimCSE (arXiv 2104.08821, section 4): the premise is the anchor, an entailed
hypothesis its positive, a contradicted hypothesis of the same premise its hard negative.
"""

from collections import Counter
from types import ModuleType

from nlift import nli, score, translate
from nlift.artifacts import Output, Stage, read_rows, write_jsonl
from nlift.config import Experiment
from nlift.errors import DataError
from nlift.filters import keep
from nlift.pairing import Row, build
from nlift.schema import NLIPair, ScoredPair, TranslatedPair, Triplet


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
    pairs = read_rows(experiment.folder / module.__name__.rpartition(".")[2], row_type)
    output.rows_in = len(pairs)
    rows = build(pairs, config.require_negative, config.side)
    kept, dropped = keep(rows, config.filter, languages(experiment))
    reasons = Counter(reason for _, reason in dropped)
    if not kept:
        most = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
        raise DataError(f"triplets: none of {len(rows)} left of {len(pairs)} pairs{most}; loosen triplets.filter or read more")
    output.notes = {"built": len(rows), "dropped": dict(reasons)}
    write_jsonl(output.path / "dropped.jsonl", ({"reason": reason, "row": vars(_triplet(row))} for row, reason in dropped))
    output.write_rows([_triplet(row) for row in kept], Triplet)


def languages(experiment: Experiment) -> tuple[str, str] | None:
    """Source and target language without region or script, as `pl` of `pl_PL`; None without translation."""
    config = experiment.translate
    return None if config is None else (config.source_language.split("_")[0], config.target_language.split("_")[0])


def _triplet(row: Row) -> Triplet:
    return Triplet(row.pair_id, row.anchor.text, row.positive.text, row.negative.text if row.negative else None)
