"""Files named by URIs: on Arrow's local file system, and on an S3 server."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlift.config import Experiment
from nlift.data import remote
from nlift.data.nli_rows import read_rows
from nlift.data.result_cache import ResultCache
from nlift.data.schema import Score
from nlift.errors import ArtifactError, DataError, ResourceError
from nlift.pipeline import nli
from nlift.settings import NLIConfig

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
    return [row.premise for row in read_rows(NLIConfig(path=path))]


def test_a_file(folder):
    assert premises(f"file://{folder}/a/pairs.tsv") == ["p"]


@pytest.mark.parametrize("name", ["pairs [v2].tsv", "a b.tsv", "what?.tsv", "100%.tsv", "a#b.tsv"])
def test_a_file_of_any_name(folder, name):
    (folder / "a" / "pairs.tsv").rename(folder / "a" / name)
    assert premises(f"file://{folder}/a/*.tsv") == ["p"]
    if not set(name) & set(" %#"):  # which a URI has as %20, %25 and %23
        assert premises(f"file://{folder}/a/{name}") == ["p"]


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
    before = nli.STAGE.folder(experiment).fingerprint
    assert nli.STAGE.folder(experiment).fingerprint == before
    (folder / "a" / "pairs.tsv").write_text(HEADER + "other\th\t0\n")
    assert nli.STAGE.folder(experiment).fingerprint != before


def test_a_file_opens_without_being_read(folder):
    (file,) = remote.find(f"file://{folder}/a/pairs.tsv")
    with file.open(encoding="utf-8") as stream:
        assert stream.readline() == HEADER
    assert file.suffix == ".tsv" and str(file).startswith("file://")


def test_files_of_a_bucket(bucket):
    for name, row in (("a", "p\th\t0\n"), ("b", "q\tg\t2\n")):
        files, path = remote.filesystem(f"{bucket}/in/{name}.tsv")
        with files.open_output_stream(path) as stream:
            stream.write((HEADER + row).encode())
    assert premises(f"{bucket}/in/*.tsv") == ["p", "q"]
    assert premises(f"{bucket}/in/b.tsv") == ["q"]
    files, path = remote.filesystem(f"{bucket}/in")
    files.copy_file(f"{path}/b.tsv", f"{path}/b [v2].tsv")
    assert premises(f"{bucket}/in/b*2*.tsv") == ["q"]
    with pytest.raises(DataError, match="no such file"):
        premises(f"{bucket}/in/c.tsv")


def test_a_bucket_that_is_not_there(bucket):
    with pytest.raises(DataError, match=r"s3://nowhere/x\.tsv: .*") as caught:
        premises("s3://nowhere/x.tsv")
    assert "\n" not in str(caught.value)


def test_a_memory_in_a_bucket(bucket):
    cache = ResultCache(f"{bucket}/memory", {"model": "a"}, Score)
    assert cache.read("score") == {}
    cache.commit({"key": np.array(["k"]), "score": np.array([0.1])})
    cache.commit({"key": np.array(["l"]), "score": np.array([0.2])})
    assert cache.read("score") == {"k": 0.1, "l": 0.2}


def test_a_memory_that_cannot_be_written(bucket):
    with pytest.raises(ResourceError, match=r"s3://nowhere/memory/.*: cannot be written"):
        ResultCache("s3://nowhere/memory", {"model": "a"}, Score).commit(
            {"key": np.array(["k"]), "score": np.array([0.1])}
        )
