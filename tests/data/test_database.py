"""Rows on disk: queries, row groups, what spills, and files that cannot be read."""

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from nlift.data import database as database_module
from nlift.data.database import open_database
from nlift.data.files import rows_on_disk
from nlift.data.schema import NLIPair, to_table
from nlift.errors import ArtifactError, ResourceError

COLUMNS = pa.schema([("key", pa.string()), ("number", pa.int64())])


@pytest.fixture
def database(tmp_path):
    with open_database(tmp_path) as database:
        database.add("numbers", pads.dataset(pa.table({"key": [f"{i:03d}" for i in range(100)], "number": range(100)})))
        yield database


def test_queries(database):
    assert database.count("FROM numbers WHERE number > 89") == 10
    assert database.columns("FROM numbers") == ["key", "number"]
    assert database.column("SELECT number FROM numbers ORDER BY key DESC LIMIT 2").tolist() == [99, 98]
    assert list(database.rows("FROM numbers ORDER BY number LIMIT 1")) == [{"key": "000", "number": 0}]


def test_a_table_is_made_again(database):
    database.make("few", "FROM numbers WHERE number < $most", most=3)
    database.make("few", "FROM few WHERE number < $most", most=2)
    assert database.count("FROM few") == 2


@pytest.mark.parametrize(("group", "groups"), [(30, [30, 30, 30, 10]), (50, [50, 50]), (1000, [100]), (1, [1] * 100)])
def test_written_rows_have_their_order_and_row_groups(database, tmp_path, group, groups):
    path = tmp_path / "rows.parquet"
    assert database.write("FROM numbers ORDER BY number DESC", path, COLUMNS, group) == 100
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == groups
    assert file.read()["number"].to_pylist() == list(range(100))[::-1]


def test_no_rows_make_a_file_without_row_groups(database, tmp_path):
    assert database.write("FROM numbers WHERE false", tmp_path / "rows.parquet", COLUMNS) == 0
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 0


def test_more_rows_than_memory_are_sorted_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "MEMORY_LIMIT_MIB", 64)
    with open_database(tmp_path) as database:
        database.make(
            "many", "SELECT sha256(i::VARCHAR) || repeat('x', 100) AS key, i AS number FROM range(400000) t(i)"
        )
        assert list((tmp_path / "spilled").iterdir())
        database.write("FROM many ORDER BY key", tmp_path / "sorted.parquet", COLUMNS)
    keys = pq.read_table(tmp_path / "sorted.parquet", columns=["key"])["key"].to_pylist()
    assert len(keys) == 400000 and keys == sorted(keys)
    assert not (tmp_path / "spilled").exists()


def test_a_file_that_was_damaged_inside_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(
        to_table([NLIPair(str(i), f"premise {i}", f"hypothesis {i}", "neutral") for i in range(5000)], NLIPair), path
    )
    content = bytearray(path.read_bytes())
    content[2000:8000] = b"\xff" * 6000
    path.write_bytes(bytes(content))
    with (
        pytest.raises(ArtifactError, match=f"^{path}: not a readable Parquet file") as caught,
        open_database(tmp_path) as database,
    ):
        database.add("pairs", rows_on_disk(tmp_path, NLIPair))
        list(database.rows("FROM pairs ORDER BY premise"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "similar"), [("a[1]", "a1"), ("a*", "ab"), ("it's?", "it's!")])
def test_a_path_is_no_pattern(tmp_path, name, similar):
    for folder in (tmp_path / name, tmp_path / similar):
        folder.mkdir()
        pq.write_table(to_table([NLIPair(folder.name, "p", "h", "neutral")], NLIPair), folder / "rows.parquet")
    with open_database(tmp_path) as database:
        database.add("pairs", rows_on_disk(tmp_path / name, NLIPair))
        assert [row["pair_id"] for row in database.rows("FROM pairs")] == [name]


def test_what_a_killed_run_spilled_is_removed(tmp_path):
    (tmp_path / "spilled").mkdir()
    (tmp_path / "spilled" / "duckdb_temp_storage_0.tmp").write_text("left behind")
    with open_database(tmp_path):
        assert not (tmp_path / "spilled").exists()


def test_no_room_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "MEMORY_LIMIT_MIB", 8)
    with (
        pytest.raises(ResourceError, match="no room to join and sort rows") as caught,
        open_database(tmp_path) as database,
    ):
        database.connection.execute("SET max_temp_directory_size = '1MiB'")
        database.make("many", "SELECT sha256(i::VARCHAR) AS key FROM range(1000000) t(i)")
    assert "\n" not in str(caught.value)


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(duckdb.CatalogException), open_database(tmp_path) as database:
        database.count("FROM nothing")


def test_a_name_may_stand_for_files_and_then_for_none(tmp_path):
    rows = pa.table({"n": [1, 2]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    on_disk, nothing = pads.dataset(str(tmp_path / "rows.parquet")), pads.dataset(rows.schema.empty_table())
    with open_database(tmp_path) as database:
        for dataset, count in ((on_disk, 2), (nothing, 0), (nothing, 0), (on_disk, 2), (on_disk, 2), (nothing, 0)):
            database.add("numbers", dataset)
            assert database.count("FROM numbers") == count
