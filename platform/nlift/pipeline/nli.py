"""Stage `nli`: read English NLI pairs, bad rows set aside."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nlift import cluster
from nlift.config import Experiment
from nlift.data import nli_rows, sources
from nlift.data.schema import NLIPair, arrow_schema
from nlift.errors import DataError
from nlift.pipeline import nli_work
from nlift.pipeline.nli_work import RowTable
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.workload import Workload
from nlift.settings import NLIConfig

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
PAIR = arrow_schema(NLIPair)
S_PER_ROW = 0.000015  # read, checked and written
NAME_THEM = "say what others mean in nli.label_names, as {E: entailment, N: neutral}"


class NLI(Stage):
    """The pairs of a file or of a hub data set."""

    name = "nli"
    writes = NLIPair

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The section and the files' content."""
        config = experiment.nli
        unset = None if config.label_names else {"label_names"}
        return {"config": config.model_dump(mode="json", exclude=unset), "inputs": nli_rows.fingerprints(config)}

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """What was not counted has the columns; a data set of the hub is not fetched for it."""
        name = experiment.nli.dataset
        if name is None or sources.is_there(Path(name)):
            if size.rows is None:
                next(nli_rows.read_rows(experiment.nli), None)
        elif not HUB_NAME.fullmatch(name):
            raise DataError(f"nli.dataset {name!r}: no such folder; expected a hub data set as org/name, or a folder")

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """How many rows of what."""
        source = experiment.nli.dataset or experiment.nli.path
        return f"{source}, counted when it is read" if size.rows is None else f"{size.rows} rows of {source}"

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Rows to read."""
        return Workload(serial_s=S_PER_ROW * (size.rows_in or size.rows or 0))

    def run(self, experiment: Experiment, output: Output) -> None:
        """Read the pairs; a row with an empty text or an unknown label goes to quarantine."""
        if nli_work.is_much(experiment.nli):
            cluster.connect(experiment.cluster)
            write(nli_work.tables_by_workers(experiment.nli), experiment.nli, output)
        else:
            read(experiment.nli, output)


STAGE = NLI()


def seen(labels: Mapping[str, int]) -> str:
    """Labels and how many rows have them."""
    return ", ".join(f"{label or 'none'} ({count})" for label, count in Counter(labels).most_common(5))


def read(config: NLIConfig, output: Output) -> None:
    """Write the usable pairs to `output` as the stage does, all of them read by this process. Raises as `write`."""
    write(nli_work.tables(config), config, output)


def write(tables: Iterable[RowTable], config: NLIConfig, output: Output) -> None:
    """Write the usable pairs to `output`, a table at a time, and set the bad rows aside there.

    Raises DataError where none is usable.
    """
    labels: Counter[str] = Counter()
    output.write_tables(_pairs(tables, config, output, labels), NLIPair)
    left_out = output.rows_in - output.quarantined - output.rows_out
    output.notes = {"left_out": left_out, "set_aside": dict(output.reasons), "labels": dict(labels)}
    if not output.rows_out:
        raise DataError(_nothing_usable(config, output, labels))


def _pairs(tables: Iterable[RowTable], config: NLIConfig, output: Output, labels: Counter[str]) -> Iterator[pa.Table]:
    """The usable pairs, named by the number of their row; the other rows go to quarantine."""
    source, lines = "", 0
    for rows in tables:
        if rows.source != source:
            source, lines = rows.source, 0
        number = output.rows_in
        table = rows.table if config.limit is None else rows.table.slice(0, config.limit - number)
        output.rows_in += len(table)
        labels.update({count["values"]: count["counts"] for count in table["label"].value_counts().to_pylist()})
        faulty = table["fault"].is_valid()
        for row in table.filter(faulty).to_pylist():
            output.quarantine(json.loads(row["values"]), row["fault"], f"{source}:{lines + row['line']}")
        numbers = pa.array(range(number, output.rows_in)).cast(pa.string())
        named = table.append_column("pair_id", pc.utf8_lpad(numbers, 8, "0"))
        usable = pc.and_(pc.invert(faulty), pc.is_in(table["label"], pa.array(config.labels, pa.string())))
        yield named.filter(usable).select(PAIR.names).cast(PAIR)
        lines += rows.lines
        if output.rows_in == config.limit:
            return


def _nothing_usable(config: NLIConfig, output: Output, labels: Counter[str]) -> str:
    source = config.path or config.dataset
    line = f"{source}: no usable pair in {output.rows_in} rows"
    if not output.reasons:
        return f"{line}, none of the labels that nli.labels takes" if output.rows_in else line
    reason = output.reasons.most_common(1)[0][0]
    if reason.startswith("unknown label"):
        return f"{line}: labels are {seen(labels)}; {NAME_THEM}"
    return f"{line}; most often: {reason}"
