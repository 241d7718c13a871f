"""The rows of an evaluation set: of a file, or of a data set on the hub."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nlift.data import sources
from nlift.data.table import read_table, with_class_names
from nlift.data.table_row import TableRow
from nlift.errors import DataError, first_line
from nlift.settings import EvaluationSet

COLUMN_NAMES = {  # what data sets of a kind call them, beside our own names
    "translation": {"src": "source", "tgt": "target", "ref": "target", "reference": "target"},
    "quality": {"src": "source", "mt": "target"},
    "sts": {},
    "classification": {"sentence": "text", "target": "label"},
    "pair_classification": {
        "premise": "sentence1",
        "hypothesis": "sentence2",
        "sentence_A": "sentence1",
        "sentence_B": "sentence2",
        "entailment_judgment": "label",
        "target": "label",
    },
}


def set_rows(config: EvaluationSet, columns: Sequence[str], *, training: bool = False) -> Iterator[TableRow]:
    """The rows of a set's reported part, or of the one that a probe learns from, with these columns.

    A column has its own name, the one that `columns` of the set gives, or one that data sets of the kind use. Raises
    DataError where one is missing, stands twice, or nothing can be read.
    """
    for row in _raw_rows(config, training):
        values = dict(row.values)
        for name, foreign in config.columns.items():
            if foreign not in values:
                raise row.mistake(f"no column {foreign!r}, which columns names; found {', '.join(values)}")
            values[name] = values.pop(foreign)
        for foreign, name in COLUMN_NAMES[config.kind].items():
            if foreign in values and name not in config.columns:
                if name in values:
                    raise row.mistake(f"{name} stands twice, as {foreign} too; expected one of them")
                values[name] = values.pop(foreign)
        named = replace(row, values=values)
        named.need(*columns)
        yield named


def _raw_rows(config: EvaluationSet, training: bool) -> Iterator[TableRow]:
    if config.dataset is None:
        path = config.train if training else config.path
        assert path is not None
        yield from read_table(sources.data_path(path))
        return
    split = config.train_split if training else config.split
    assert split is not None
    yield from _hub_rows(config.dataset, config.subset, split, config.revision)


def _hub_rows(name: str, subset: str | None, split: str, revision: str | None) -> Iterator[TableRow]:
    import datasets

    try:
        rows = datasets.load_dataset(name, subset, split=split, revision=revision, streaming=True)
        features = (rows.features or {}).items()
        classes = {column: feature.names for column, feature in features if hasattr(feature, "names")}
        for number, values in enumerate(rows, 1):
            yield TableRow(Path(name), number, with_class_names(values, classes))
    except DataError:
        raise
    except Exception as error:
        where = f"{name}{f', {subset}' if subset else ''} ({split})"
        raise DataError(f"evaluate.sets: dataset {where}: cannot be loaded: {first_line(error)}") from None


def content_of(config: EvaluationSet) -> str:
    """What a set holds, as a hash; the name of a data set on the hub."""
    if config.dataset is not None:
        return "/".join(
            filter(None, (config.dataset, config.revision, config.subset, config.split, config.train_split))
        )
    assert config.path is not None
    hashes = [sources.fingerprint(sources.data_path(path)) for path in (config.path, config.train) if path]
    return "+".join(hashes)
