"""The result cache: keys, shards that are there whole or not at all, and reading them back."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from nlift.data.database import open_database
from nlift.data.result_cache import ResultCache, complete, missing_inputs
from nlift.data.schema import Score, Translation
from nlift.errors import ArtifactError, DataError, NliftError, ResourceError
from nlift.settings import TranslateConfig

SETTINGS = {"model": "a", "beams": 4}
SHARDS = TranslateConfig(shard_size=2)


def shard(cache, **targets):
    keys = [cache.key(source) for source in targets]
    columns = {"key": keys, "source": list(targets), "target": list(targets.values()), "fault": [None] * len(keys)}
    return {name: np.array(values, dtype=object) for name, values in columns.items()}


@pytest.fixture
def cache(tmp_path):
    return ResultCache(tmp_path, SETTINGS, Translation)


def test_a_key_holds_texts_and_settings(cache, tmp_path):
    elsewhere = ResultCache(tmp_path, {**SETTINGS, "beams": 1}, Translation)
    keys = [
        cache.key("ab", "c"),
        cache.key("a", "bc"),
        cache.key("abc"),
        cache.key("ab", "C"),
        elsewhere.key("ab", "c"),
    ]
    assert len(set(keys)) == 5 and {len(key) for key in keys} == {32}


def test_a_key_does_not_hold_the_folder_or_the_order_of_settings(cache, tmp_path):
    elsewhere = ResultCache(tmp_path / "elsewhere", dict(reversed(SETTINGS.items())), Translation)
    assert elsewhere.key("ab", "c") == cache.key("ab", "c")


def test_what_is_committed_is_read(cache):
    cache.commit(shard(cache, dog="pies", cat="kot"))
    cache.commit(shard(cache, turtle="żółw"))
    assert cache.read("target") == {cache.key("dog"): "pies", cache.key("cat"): "kot", cache.key("turtle"): "żółw"}
    assert cache.read("source")[cache.key("cat")] == "cat"


def test_numbers_are_read_as_they_were(tmp_path):
    cache = ResultCache(tmp_path, SETTINGS, Score)
    cache.commit({"key": np.array(["k"]), "score": np.array([0.1])})
    assert cache.read("score") == {"k": 0.1}


def test_an_empty_memory_has_no_rows_and_no_folder(cache):
    assert cache.read("target") == {} and not Path(cache.folder).exists()


def test_settings_do_not_mix(cache, tmp_path):
    cache.commit(shard(cache, dog="pies"))
    assert ResultCache(tmp_path, {**SETTINGS, "beams": 1}, Translation).read("target") == {}
    assert len(ResultCache(tmp_path, SETTINGS, Translation).read("target")) == 1


def test_a_shard_committed_twice_is_one_file(cache):
    for target in ("pies", "piesek"):
        cache.commit(shard(cache, dog=target))
    assert len(list(Path(cache.folder).iterdir())) == 1
    assert cache.read("target") == {cache.key("dog"): "piesek"}


def test_a_key_in_two_shards_is_there_once(cache):
    cache.commit(shard(cache, dog="pies", cat="kot"))
    cache.commit(shard(cache, dog="pies"))
    assert len(list(Path(cache.folder).iterdir())) == 2 and len(cache.read("target")) == 2


def test_a_shard_appears_under_its_name_when_it_is_complete(cache, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nlift.data.result_cache.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.commit(shard(cache, dog="pies"))
    assert cache.read("target") == {}
    monkeypatch.undo()
    cache.commit(shard(cache, dog="pies"))
    assert len(cache.read("target")) == 1


def test_a_damaged_shard_is_named(cache):
    cache.commit(shard(cache, dog="pies"))
    (path,) = Path(cache.folder).iterdir()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtifactError, match=path.name):
        cache.read("target")


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = ResultCache(tmp_path.relative_to(tmp_path) / "memory", SETTINGS, Translation)
    monkeypatch.chdir("/")
    cache.commit(shard(cache, dog="pies"))
    assert list((tmp_path / "memory").glob("*/*.parquet"))


def test_a_folder_may_be_a_uri(tmp_path):
    remote, local = (
        ResultCache(folder, SETTINGS, Translation) for folder in (f"file://{tmp_path}/cache", tmp_path / "cache")
    )
    assert remote.read("target") == {}
    remote.commit(shard(remote, dog="pies"))
    assert remote.read("target") == local.read("target") == {local.key("dog"): "pies"}


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = ResultCache(tmp_path / "file", SETTINGS, Translation)
    with pytest.raises(ResourceError, match=f"{cache.folder}: cannot be written") as caught:
        cache.commit(shard(cache, dog="pies"))
    assert "\n" not in str(caught.value)


def test_complete_takes_from_the_memory_what_is_there(cache, tmp_path):
    """The keys of SQL are those of Python, also of texts that need care; a key that stands twice counts once."""
    texts = ["dog", "it's", "żółw", 'a "b" %', "tab\tand\nline", "nothing"]
    cache.commit(shard(cache, **{text: text.upper() for text in texts[:-1]}))
    cache.commit(shard(cache, dog="PIES"))  # of another run
    faulty = shard(cache, nothing=None)
    faulty["fault"][0] = "the model emitted nothing"
    cache.commit(faulty)
    with open_database(tmp_path) as database:
        database.add("given", pads.dataset(pa.table({"source": [*texts, *texts]})))
        count = complete(database, "done", "FROM given", cache, None, SHARDS, "translate")
        rows = {row["source"]: (row["key"], row["target"], row["fault"]) for row in database.rows("FROM done")}
        assert database.count("FROM done") == len(texts) and count == 0
    assert rows["nothing"] == (cache.key("nothing"), None, "the model emitted nothing")
    assert rows.pop("dog") in [(cache.key("dog"), target, None) for target in ("DOG", "PIES")]
    assert all(row == (cache.key(text), text.upper(), None) for text, row in rows.items() if text != "nothing")
    assert not (tmp_path / "work.parquet").exists()


def test_complete_names_a_damaged_shard(cache, tmp_path):
    cache.commit(shard(cache, dog="pies"))
    (path,) = Path(cache.folder).iterdir()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtifactError, match=path.name), open_database(tmp_path) as database:
        database.add("given", pads.dataset(pa.table({"source": ["dog"]})))
        complete(database, "done", "FROM given", cache, None, SHARDS, "translate")


def test_complete_says_what_the_model_says_and_raises_its_mistake(ray_session, cache, tmp_path, caplog, monkeypatch):
    class Shouting:  # inside, so that workers get it by value
        def __init__(self, config):
            self.notices = ["less memory than expected"]

        def __call__(self, batch):
            if "nothing" in batch["source"]:
                raise DataError("nothing cannot be shouted")
            targets = np.array([text.upper() for text in batch["source"]], dtype=object)
            return {**batch, "target": targets, "fault": np.array([None] * len(targets), dtype=object)}

    monkeypatch.setattr(logging.getLogger("nlift"), "propagate", True)
    config = TranslateConfig(shard_size=2, num_actors=1)
    with open_database(tmp_path) as database:
        database.add("given", pads.dataset(pa.table({"source": ["dog", "cat", "dog", "turtle"]})))
        assert complete(database, "done", "FROM given", cache, Shouting, config, "translate") == 3
        targets = {row["source"]: row["target"] for row in database.rows("FROM done")}
        assert targets == {"dog": "DOG", "cat": "CAT", "turtle": "TURTLE"}
        assert complete(database, "again", "FROM given", cache, Shouting, config, "translate") == 0
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert warnings.count("less memory than expected") == 1  # said by one actor, once
        database.add("given", pads.dataset(pa.table({"source": ["dog", "nothing"]})))
        with pytest.raises(NliftError, match=r"^nothing cannot be shouted$"):
            complete(database, "failed", "FROM given", cache, Shouting, config, "translate")


def test_missing_inputs_are_those_without_a_result(cache, tmp_path):
    cache.commit(shard(cache, dog="pies"))
    with open_database(tmp_path) as database:
        database.add("given", pads.dataset(pa.table({"source": ["dog", "cat", "cat"]})))
        query = missing_inputs(database, "given", "FROM given", cache)
        assert list(database.rows(query)) == [{"key": cache.key("cat"), "source": "cat"}]
