"""How much data is taken to be there where it is not here to be counted: a data set of the hub."""

from dataclasses import replace

from nlift.config import Experiment
from nlift.data import sources
from nlift.data.schema import LABELS
from nlift.data.table import read_table
from nlift.pipeline.stage import DataSize

ROWS = {  # of well-known sets, as their pages on the hub say
    ("stanfordnlp/snli", "train"): 550_152,
    ("nyu-mll/multi_nli", "train"): 392_702,
}
SENTENCES_PER_ROW = 1.2  # distinct ones, as about three hypotheses share a premise
SHOWN = 2000  # rows of the embedded SNLI that say how long sentences are


def assumed(experiment: Experiment, size: DataSize, rows: int | None) -> tuple[DataSize, str | None]:
    """A size without None, and the line that says what was assumed: data that was counted is as it is.

    `rows` is what a person says of a data set that is not here.
    """
    config = experiment.nli
    if size.rows is not None:
        return size, None
    known = rows or ROWS.get((config.dataset or "", config.split))
    how = "nlift run --only nli fetches and counts it"
    if known is None:
        nothing = replace(size, rows=0, rows_in=0, sentences=0, triplets=0, with_negative=0)
        return nothing, f"{config.dataset} is not here, and times are without its rows: say --rows N, or {how}"
    read = min(known, config.limit or known)
    of_a_label = round(read / len(LABELS))
    sides = 2 if experiment.triplets.side == "both" and experiment.translate is not None else 1
    taken = of_a_label * len(config.labels)
    estimate = replace(
        size,
        rows_in=read,
        rows=taken,
        sentences=round(SENTENCES_PER_ROW * taken),
        sample=_embedded_sentences(),
        triplets=sides * of_a_label,
        with_negative=sides * of_a_label if "contradiction" in config.labels else 0,
    )
    kinds = f"{SENTENCES_PER_ROW:g} distinct sentences for each row that is taken, a third of the rows of each label"
    return estimate, f"{config.dataset} is not here: {known:,} rows are assumed, {kinds}; {how}"


def _embedded_sentences() -> list[str]:
    rows = zip(read_table(sources.EMBEDDED / "data" / "snli.tsv"), range(SHOWN), strict=False)
    return list(dict.fromkeys(row.values[part] for row, _ in rows for part in ("premise", "hypothesis")))
