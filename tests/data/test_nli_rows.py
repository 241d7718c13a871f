"""NLI rows of files and of data sets: what is read, and what is wrong with the others."""

import pytest
from conftest import NLI_ROWS, write_file

from nlift.data.nli_rows import read_rows
from nlift.data.schema import LABELS
from nlift.errors import ArtifactError, DataError
from nlift.settings import NLIConfig


def plain(config):
    """The rows without fault, as they were written."""
    return [
        {"premise": row.premise, "hypothesis": row.hypothesis, "label": row.label}
        for row in read_rows(config)
        if row.fault is None
    ]


def faults(config):
    """What is wrong with each row."""
    return [row.fault for row in read_rows(config)]


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "parquet"])
def test_every_form_gives_the_same_rows(tmp_path, form):
    path = write_file(tmp_path / f"pairs.{form}", NLI_ROWS)
    assert plain(NLIConfig(path=str(path))) == NLI_ROWS


def test_columns_may_have_other_names(tmp_path):
    rows = [{"a": row["premise"], "b": row["hypothesis"], "gold": row["label"]} for row in NLI_ROWS]
    config = NLIConfig(path=str(write_file(tmp_path / "x.jsonl", rows)), premise="a", hypothesis="b", label="gold")
    assert plain(config) == NLI_ROWS


def test_a_glob_reads_its_files_in_order(tmp_path):
    for name, row in (("b.tsv", NLI_ROWS[1]), ("a.tsv", NLI_ROWS[0])):
        write_file(tmp_path / name, [row])
    assert plain(NLIConfig(path=str(tmp_path / "*.tsv"))) == NLI_ROWS


def test_the_limit_counts_rows_over_all_files(tmp_path):
    for name in ("a.tsv", "b.tsv"):
        write_file(tmp_path / name, NLI_ROWS)
    config = NLIConfig(path=str(tmp_path / "*.tsv"), limit=3)
    assert plain(config) == [*NLI_ROWS, NLI_ROWS[0]]


def test_the_embedded_pairs_are_clean():
    rows = plain(NLIConfig(path="embedded", limit=200))
    assert len(rows) == 200 and {row["label"] for row in rows} == set(LABELS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", b"premise\ttext\nb\tc\n", r"x\.tsv:1: no column 'hypothesis'; found premise, text; expected premise"),
        ("x.jsonl", b'{"premise": "a"}\n', r"x\.jsonl:1: no column 'hypothesis'"),
        ("x.csv", "premise,hypothesis,label\na,b,0\n".encode("utf-16"), r"x\.csv: UTF-16 text"),
        ("x.csv", b"premise;hypothesis;label\na;b;0\n", r"x\.csv:1: no column .* separated by semicolons"),
        ("x.doc", b"", r"x\.doc: found a \.doc file, expected \.tsv"),
        ("x", b"", r"found a nameless file"),
    ],
)
def test_files_not_in_the_form_promised(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        plain(NLIConfig(path=str(tmp_path / name)))


@pytest.mark.parametrize("name", ["pairs [v2].jsonl", "a[b].jsonl", "what?.jsonl", "*.jsonl"])
def test_a_file_that_is_there_is_no_pattern(tmp_path, name):
    path = write_file(tmp_path / name, NLI_ROWS)
    write_file(tmp_path / "ab.jsonl", NLI_ROWS)
    assert plain(NLIConfig(path=str(path))) == NLI_ROWS


def test_a_pattern_means_files_alone(tmp_path):
    write_file(tmp_path / "a.jsonl", NLI_ROWS)
    (tmp_path / "folder").mkdir()
    assert plain(NLIConfig(path=str(tmp_path / "*"))) == NLI_ROWS


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"premise": " "}, "empty premise"),
        ({"premise": None}, "empty premise"),
        ({"hypothesis": float("nan")}, "empty hypothesis"),
        ({"hypothesis": ["b", "c"]}, "hypothesis is a list, no text"),
        ({"premise": {"en": "a"}}, "premise is an object, no text"),
        ({"premise": 0}, "premise is the number 0, no text"),
        ({"premise": "caf\ufffd"}, "premise is damaged (holds U+FFFD)"),
        ({"label": "-"}, "no gold label"),
        ({"label": -1}, "no gold label"),
        ({"label": None}, "no gold label"),
        ({"label": float("nan")}, "no gold label"),
        ({"label": 10**400}, f"unknown label '{10**400}'"),
        ({"label": 3}, "unknown label '3'"),
        ({"label": 0.5}, "unknown label '0.5'"),
        ({"label": True}, "unknown label 'True'"),
        ({"label": "contradictory"}, "unknown label 'contradictory'"),
        ({"label": "Entailment"}, "unknown label 'Entailment'"),
    ],
)
def test_a_row_with_a_fault(tmp_path, row, fault):
    rows = [NLI_ROWS[0], {**NLI_ROWS[0], **row}]
    assert faults(NLIConfig(path=str(write_file(tmp_path / "x.jsonl", rows)))) == [None, fault]


def test_faulty_lines_are_rows_with_a_fault(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"premise\thypothesis\tlabel\na\tb\t0\nc\td\te\tf\ncaf\xe9\tb\t1\na\tb\t2\n")
    rows = list(read_rows(NLIConfig(path=str(tmp_path / "x.tsv"))))
    assert [row.fault and row.fault.split(";")[0] for row in rows] == [
        None,
        "4 fields, the header has 3",
        "not UTF-8 text",
        None,
    ]
    assert (rows[1].source, rows[1].line) == (str(tmp_path / "x.tsv"), 3)


@pytest.mark.parametrize("label", [0, "0", 0.0, "0.0", "entailment"])
def test_forms_of_a_label(tmp_path, label):
    path = write_file(tmp_path / "x.jsonl", [{**NLI_ROWS[0], "label": label}])
    assert plain(NLIConfig(path=str(path)))[0]["label"] == "entailment"


@pytest.mark.parametrize(
    ("names", "label", "meant"),
    [
        ({"E": "entailment"}, "E", "entailment"),
        ({"contradictory": "contradiction"}, "contradictory", "contradiction"),
        ({1: "contradiction", 2: "neutral"}, 1, "contradiction"),
        ({0: "contradiction", 1: "entailment", 2: "neutral"}, "1.0", "entailment"),
        ({0: "contradiction", 1: "entailment", 2: "neutral"}, 0.0, "contradiction"),
        ({"1": "contradiction"}, "0", "entailment"),
    ],
)
def test_foreign_labels_may_be_named(tmp_path, names, label, meant):
    path = write_file(tmp_path / "x.jsonl", [{**NLI_ROWS[0], "label": label}])
    assert plain(NLIConfig(path=str(path), label_names=names))[0]["label"] == meant


def saved(folder, names, labels):
    """A data set whose labels are classes, as the library `datasets` saves it: one Parquet file."""
    import datasets

    text = datasets.Value("string")
    features = datasets.Features({"premise": text, "hypothesis": text, "label": datasets.ClassLabel(names=names)})
    columns = {"premise": ["a"] * len(labels), "hypothesis": ["b"] * len(labels), "label": labels}
    folder.mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(folder / "train.parquet"))
    return folder


@pytest.mark.parametrize("source", ["path", "dataset"])
def test_classes_mean_what_they_are_called(tmp_path, source):
    folder = saved(tmp_path / "cb", ["entailment", "contradiction", "neutral"], [0, 1, 2, -1])
    config = NLIConfig(**{source: str(folder / "train.parquet" if source == "path" else folder)})
    assert [row.label for row in read_rows(config)] == ["entailment", "contradiction", "neutral", "-1"]
    assert faults(config) == [None, None, None, "no gold label"]


def test_classes_of_foreign_names(tmp_path):
    path = saved(tmp_path / "rte", ["entailment", "not_entailment"], [0, 1, 1]) / "train.parquet"
    assert faults(NLIConfig(path=str(path))) == [None, *["unknown label 'not_entailment'"] * 2]
    assert [row["label"] for row in plain(NLIConfig(path=str(path), label_names={"not_entailment": "neutral"}))] == [
        "entailment",
        "neutral",
        "neutral",
    ]


def test_a_data_set_without_the_columns_is_refused_at_its_first_row(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    write_file(folder / "train.jsonl", [{"sentence1": "a", "sentence2": "b", "label": "neutral"}] * 5)
    with pytest.raises(
        DataError, match=r"set:1: no column 'premise'; found sentence1, sentence2, label; expected prem"
    ):
        plain(NLIConfig(dataset=str(folder)))


def test_a_data_set_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"nli.dataset .*nowhere \(train\): cannot be loaded") as caught:
        plain(NLIConfig(dataset=str(tmp_path / "nowhere")))
    assert "\n" not in str(caught.value)


def test_a_corrupt_parquet_file(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ArtifactError, match=r"x\.parquet: not a readable Parquet file"):
        plain(NLIConfig(path=str(tmp_path / "x.parquet")))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.tsv", "no such file"),
        ("x" * 300 + ".tsv", "no such file"),
        ("*" + "x" * 300, "the glob matches no file"),
        ("*.nowhere", "the glob matches no file"),
        ("", "is a folder; name a file or a glob"),
    ],
)
def test_a_path_where_no_file_is(tmp_path, path, message):
    with pytest.raises(DataError, match=message):
        plain(NLIConfig(path=str(tmp_path / path)))


@pytest.mark.parametrize("form", ["tsv", "csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, form):
    path = write_file(tmp_path / f"x.{form}", NLI_ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert plain(NLIConfig(path=str(path))) == NLI_ROWS
