"""The memory: keys, shards that are there whole or not at all, and reading them back."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from nlift import tables
from nlift.errors import ArtifactError, ResourceError
from nlift.memory import Memory, complete
from nlift.schema import Score, Translation
from nlift.sections import TranslateConfig

SETTINGS = {"model": "a", "beams": 4}
SHARDS = TranslateConfig(shard_size=2)


def shard(memory, **targets):
    keys = [memory.key(source) for source in targets]
    columns = {"key": keys, "source": list(targets), "target": list(targets.values()), "fault": [None] * len(keys)}
    return {name: np.array(values, dtype=object) for name, values in columns.items()}


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path, SETTINGS, Translation)


def test_a_key_holds_texts_and_settings(memory, tmp_path):
    other = Memory(tmp_path, {**SETTINGS, "beams": 1}, Translation)
    keys = [memory.key("ab", "c"), memory.key("a", "bc"), memory.key("abc"), memory.key("ab", "C"), other.key("ab", "c")]
    assert len(set(keys)) == 5 and {len(key) for key in keys} == {32}


def test_a_key_does_not_hold_the_folder_or_the_order_of_settings(memory, tmp_path):
    other = Memory(tmp_path / "elsewhere", dict(reversed(SETTINGS.items())), Translation)
    assert other.key("ab", "c") == memory.key("ab", "c")


def test_what_is_committed_is_read(memory):
    memory.commit(shard(memory, dog="pies", cat="kot"))
    memory.commit(shard(memory, turtle="żółw"))
    assert memory.read("target") == {memory.key("dog"): "pies", memory.key("cat"): "kot", memory.key("turtle"): "żółw"}
    assert memory.read("source")[memory.key("cat")] == "cat"


def test_numbers_are_read_as_they_were(tmp_path):
    memory = Memory(tmp_path, SETTINGS, Score)
    memory.commit({"key": np.array(["k"]), "score": np.array([0.1])})
    assert memory.read("score") == {"k": 0.1}


def test_an_empty_memory_has_no_rows_and_no_folder(memory):
    assert memory.read("target") == {} and not Path(memory.folder).exists()


def test_settings_do_not_mix(memory, tmp_path):
    memory.commit(shard(memory, dog="pies"))
    assert Memory(tmp_path, {**SETTINGS, "beams": 1}, Translation).read("target") == {}
    assert len(Memory(tmp_path, SETTINGS, Translation).read("target")) == 1


def test_a_shard_committed_twice_is_one_file(memory):
    for target in ("pies", "piesek"):
        memory.commit(shard(memory, dog=target))
    assert len(list(Path(memory.folder).iterdir())) == 1
    assert memory.read("target") == {memory.key("dog"): "piesek"}


def test_a_key_in_two_shards_is_there_once(memory):
    memory.commit(shard(memory, dog="pies", cat="kot"))
    memory.commit(shard(memory, dog="pies"))
    assert len(list(Path(memory.folder).iterdir())) == 2 and len(memory.read("target")) == 2


def test_a_shard_appears_under_its_name_when_it_is_complete(memory, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nlift.memory.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        memory.commit(shard(memory, dog="pies"))
    assert memory.read("target") == {}
    monkeypatch.undo()
    memory.commit(shard(memory, dog="pies"))
    assert len(memory.read("target")) == 1


def test_a_damaged_shard_is_named(memory):
    memory.commit(shard(memory, dog="pies"))
    (path,) = Path(memory.folder).iterdir()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtifactError, match=path.name):
        memory.read("target")


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    memory = Memory(tmp_path.relative_to(tmp_path) / "memory", SETTINGS, Translation)
    monkeypatch.chdir("/")
    memory.commit(shard(memory, dog="pies"))
    assert list((tmp_path / "memory").glob("*/*.parquet"))


def test_a_folder_may_be_a_uri(tmp_path):
    remote, local = (Memory(folder, SETTINGS, Translation) for folder in (f"file://{tmp_path}/memory", tmp_path / "memory"))
    assert remote.read("target") == {}
    remote.commit(shard(remote, dog="pies"))
    assert remote.read("target") == local.read("target") == {local.key("dog"): "pies"}


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    memory = Memory(tmp_path / "file", SETTINGS, Translation)
    with pytest.raises(ResourceError, match=f"{memory.folder}: cannot be written") as caught:
        memory.commit(shard(memory, dog="pies"))
    assert "\n" not in str(caught.value)


def test_complete_takes_from_the_memory_what_is_there(memory, tmp_path):
    """The keys of SQL are those of Python, also of texts that need care; a key that stands twice counts once."""
    texts = ["dog", "it's", "żółw", 'a "b" %', "tab\tand\nline", "nothing"]
    memory.commit(shard(memory, **{text: text.upper() for text in texts[:-1]}))
    memory.commit(shard(memory, dog="PIES"))  # of another run
    faulty = shard(memory, nothing=None)
    faulty["fault"][0] = "the model emitted nothing"
    memory.commit(faulty)
    with tables.opened(tmp_path) as database:
        database.add("given", pads.dataset(pa.table({"source": [*texts, *texts]})))
        count = complete(database, "done", "FROM given", memory, None, SHARDS, "translate")
        rows = {row["source"]: (row["key"], row["target"], row["fault"]) for row in database.rows("FROM done")}
        assert database.count("FROM done") == len(texts) and count == 0
    assert rows["nothing"] == (memory.key("nothing"), None, "the model emitted nothing")
    assert rows.pop("dog") in [(memory.key("dog"), target, None) for target in ("DOG", "PIES")]
    assert all(found == (memory.key(text), text.upper(), None) for text, found in rows.items() if text != "nothing")
    assert not (tmp_path / "work.parquet").exists()


def test_complete_names_a_damaged_shard(memory, tmp_path):
    memory.commit(shard(memory, dog="pies"))
    (path,) = Path(memory.folder).iterdir()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtifactError, match=path.name), tables.opened(tmp_path) as database:
        database.add("given", pads.dataset(pa.table({"source": ["dog"]})))
        complete(database, "done", "FROM given", memory, None, SHARDS, "translate")
