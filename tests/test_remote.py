"""Files named by URIs, on Arrow's local file system: the code that s3:// and gs:// take."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlift import nli, remote
from nlift.config import Experiment
from nlift.errors import ArtifactError, DataError
from nlift.sections import NLIConfig

HEADER = "premise\thypothesis\tlabel\n"


@pytest.fixture
def folder(tmp_path):
    """Two TSV files in folders of their own, and one that is no TSV."""
    for name, row in (("a", "p\th\t0\n"), ("b", "q\tg\t2\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pairs.tsv").write_text(HEADER + row)
    (tmp_path / "notes.txt").write_text("no pairs")
    return tmp_path


def premises(path):
    return [row["premise"] for row in nli.read_rows(NLIConfig(path=path))]


def test_a_file(folder):
    assert premises(f"file://{folder}/a/pairs.tsv") == ["p"]


@pytest.mark.parametrize("pattern", ["*/pairs.tsv", "?/*.tsv", "[ab]/pairs.tsv"])
def test_a_glob_is_read_in_the_order_of_names(folder, pattern):
    assert premises(f"file://{folder}/{pattern}") == ["p", "q"]


def test_parquet(folder):
    pq.write_table(pa.Table.from_pylist([{"premise": "r", "hypothesis": "h", "label": "0"}]), folder / "x.parquet")
    assert premises(f"file://{folder}/x.parquet") == ["r"]


@pytest.mark.parametrize("name", ["none.tsv", "*.csv", "a"])
def test_nothing_there(folder, name):
    with pytest.raises(DataError, match="no such file"):
        premises(f"file://{folder}/{name}")


def test_a_scheme_that_is_not_known():
    with pytest.raises(DataError, match=r"carrier://pigeon/x\.tsv: cannot be read") as caught:
        premises("carrier://pigeon/x.tsv")
    assert "\n" not in str(caught.value)


def test_no_parquet(folder):
    (folder / "x.parquet").write_text("no parquet")
    with pytest.raises(ArtifactError, match="not a readable Parquet file"):
        premises(f"file://{folder}/x.parquet")


def test_a_changed_file_is_another(folder):
    experiment = Experiment.model_validate({"name": "a", "nli": {"path": f"file://{folder}/a/pairs.tsv"}})
    before = nli.stage(experiment).fingerprint
    assert nli.stage(experiment).fingerprint == before
    (folder / "a" / "pairs.tsv").write_text(HEADER + "other\th\t0\n")
    assert nli.stage(experiment).fingerprint != before


def test_a_file_opens_without_being_read(folder):
    (one,) = remote.find(f"file://{folder}/a/pairs.tsv")
    with one.open(encoding="utf-8") as stream:
        assert stream.readline() == HEADER
    assert one.suffix == ".tsv" and str(one).startswith("file://")
