"""Reading NLI pairs from files of every form, bad rows set aside."""

import json

import pytest
from conftest import NLI_ROWS, write_file

from nlift.config import Experiment
from nlift.data.files import read_rows
from nlift.data.schema import LABELS, NLIPair
from nlift.errors import ArtifactError, DataError
from nlift.pipeline import nli
from nlift.pipeline.stage import Output
from nlift.settings import NLIConfig


def written(path, tmp_path, **settings):
    """What the stage makes of a file."""
    experiment = Experiment(name="a", output_dir=str(tmp_path), nli={"path": str(path), **settings})
    output = Output(tmp_path)
    nli.STAGE.run(experiment, output)
    return read_rows(tmp_path, NLIPair), output


def set_aside(output):
    """The lines of the quarantine."""
    path = output.path / "quarantine.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "parquet"])
def test_every_form_gives_the_same_rows(tmp_path, form):
    path = write_file(tmp_path / f"pairs.{form}", NLI_ROWS)
    assert list(nli.read_rows(NLIConfig(path=str(path)))) == NLI_ROWS


def test_columns_may_have_other_names(tmp_path):
    rows = [{"a": row["premise"], "b": row["hypothesis"], "gold": row["label"]} for row in NLI_ROWS]
    config = NLIConfig(path=str(write_file(tmp_path / "x.jsonl", rows)), premise="a", hypothesis="b", label="gold")
    assert list(nli.read_rows(config)) == NLI_ROWS


def test_a_glob_reads_its_files_in_order(tmp_path):
    for name, row in (("b.tsv", NLI_ROWS[1]), ("a.tsv", NLI_ROWS[0])):
        write_file(tmp_path / name, [row])
    assert list(nli.read_rows(NLIConfig(path=str(tmp_path / "*.tsv")))) == NLI_ROWS


def test_the_limit_counts_rows_over_all_files(tmp_path):
    for name in ("a.tsv", "b.tsv"):
        write_file(tmp_path / name, NLI_ROWS)
    config = NLIConfig(path=str(tmp_path / "*.tsv"), limit=3)
    assert list(nli.read_rows(config)) == [*NLI_ROWS, NLI_ROWS[0]]


def test_the_embedded_pairs_are_clean():
    rows = list(nli.read_rows(NLIConfig(path="embedded", limit=200)))
    assert len(rows) == 200 and {row["label"] for row in rows} == set(LABELS)


def test_pairs_are_numbered_stripped_and_labelled(tmp_path):
    rows = [{"premise": " a ", "hypothesis": "b\u00a0", "label": label} for label in (0, 1, 2)]
    pairs, output = written(write_file(tmp_path / "x.jsonl", rows), tmp_path)
    assert [(pair.pair_id, pair.label) for pair in pairs] == [(f"{i:08d}", label) for i, label in enumerate(LABELS)]
    assert {(pair.premise, pair.hypothesis) for pair in pairs} == {("a", "b")}
    assert output.rows_in == 3


def test_bad_rows_are_set_aside_and_the_others_keep_their_number(tmp_path):
    good = NLI_ROWS[0]
    bad = [
        {**good, "premise": " "},
        {**good, "hypothesis": None},
        {**good, "label": "-"},
        {**good, "label": -1},
        {**good, "label": None},
        {**good, "label": "perhaps"},
    ]
    pairs, output = written(write_file(tmp_path / "x.jsonl", [*bad, good]), tmp_path)
    assert [pair.pair_id for pair in pairs] == ["00000006"]
    reasons = ["empty premise", "empty hypothesis", *["no gold label"] * 3, "unknown label 'perhaps'"]
    assert [line["reason"] for line in set_aside(output)] == reasons
    assert set_aside(output)[5]["row"]["premise"] == good["premise"]


def test_a_short_line_is_set_aside(tmp_path):
    (tmp_path / "x.tsv").write_text("premise\thypothesis\tlabel\na\nb\tc\tneutral\n")
    pairs, output = written(tmp_path / "x.tsv", tmp_path)
    assert [pair.premise for pair in pairs] == ["b"] and output.quarantined == 1


@pytest.mark.parametrize("text", ["", "premise\thypothesis\tlabel\n", "premise\thypothesis\tlabel\na\tb\t-\n"])
def test_no_usable_pair(tmp_path, text):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(DataError, match=r"x\.tsv: no usable pair in [01] rows"):
        written(tmp_path / "x.tsv", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", b"premise\ttext\nb\tc\n", r"x\.tsv:1: no column 'hypothesis'; found premise, text; expected premise"),
        ("x.jsonl", b'{"premise": "a"}\n', r"x\.jsonl:1: no column 'hypothesis'"),
        (
            "x.jsonl",
            b'{"premise": "a", "hypothesis": "b", "label": 0}\n{oh\n',
            r"x\.jsonl:2: not JSON; expected one object",
        ),
        ("x.jsonl", b"[1]\n", r"x\.jsonl:1: found list, expected one JSON object"),
        ("x.csv", "premise,hypothesis,label\na,b,0\n".encode("utf-16"), r"x\.csv:1: no column 'premise'"),
        ("x.doc", b"", r"x\.doc: found a \.doc file, expected \.tsv"),
        ("x", b"", r"found a nameless file"),
    ],
)
def test_files_not_in_the_form_promised(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(nli.read_rows(NLIConfig(path=str(tmp_path / name))))


def test_a_corrupt_parquet_file(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ArtifactError, match=r"x\.parquet: not a readable Parquet file"):
        list(nli.read_rows(NLIConfig(path=str(tmp_path / "x.parquet"))))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.tsv", "no such file"),
        ("*.nowhere", "the glob matches no file"),
        ("", "is a folder; name a file or a glob"),
    ],
)
def test_a_path_where_no_file_is(tmp_path, path, message):
    with pytest.raises(DataError, match=message):
        list(nli.read_rows(NLIConfig(path=str(tmp_path / path))))


@pytest.mark.parametrize("form", ["tsv", "csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, form):
    path = write_file(tmp_path / f"x.{form}", NLI_ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(nli.read_rows(NLIConfig(path=str(path)))) == NLI_ROWS


def test_the_stage_depends_on_the_content_and_the_settings(tmp_path):
    path = write_file(tmp_path / "x.jsonl", NLI_ROWS)
    experiment = Experiment(name="a", output_dir=str(tmp_path), nli={"path": str(path)})
    first = nli.STAGE.folder(experiment).fingerprint
    assert nli.STAGE.folder(experiment.override({"nli.limit": 1})).fingerprint != first
    assert nli.STAGE.folder(experiment.override({"name": "b", "seed": 7})).fingerprint == first
    write_file(path, NLI_ROWS[:1])
    assert nli.STAGE.folder(experiment).fingerprint != first


def test_a_row_that_is_not_utf8_is_set_aside(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"premise\thypothesis\tlabel\ncaf\xe9\tb\t0\na\tb\t0\n")
    rows, output = written(tmp_path / "x.tsv", tmp_path)
    assert [row.premise for row in rows] == ["a"] and [line["reason"] for line in set_aside(output)] == [
        "premise is not UTF-8"
    ]


def test_a_file_without_a_usable_row_says_why(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"premise\thypothesis\tlabel\ncaf\xe9\tb\t0\n")
    with pytest.raises(DataError, match="no usable pair in 1 rows; most often: premise is not UTF-8"):
        written(tmp_path / "x.tsv", tmp_path)


def test_other_labels_are_left_out_and_counted(tmp_path):
    (tmp_path / "x.tsv").write_text("premise\thypothesis\tlabel\na\tb\t0\na\tc\t1\na\td\tcontradiction\n")
    rows, output = written(tmp_path / "x.tsv", tmp_path, labels=["entailment", "contradiction"])
    assert [row.hypothesis for row in rows] == ["b", "d"] and not output.quarantined
