"""The memory: keys, shards that are there whole or not at all, and reading them back."""

import numpy as np
import pytest

from nlift.errors import ArtifactError
from nlift.memory import Memory
from nlift.schema import Score, Translation

SETTINGS = {"model": "a", "beams": 4}


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
    assert memory.read("target") == {} and not memory.folder.exists()


def test_settings_do_not_mix(memory, tmp_path):
    memory.commit(shard(memory, dog="pies"))
    assert Memory(tmp_path, {**SETTINGS, "beams": 1}, Translation).read("target") == {}
    assert len(Memory(tmp_path, SETTINGS, Translation).read("target")) == 1


def test_a_shard_committed_twice_is_one_file(memory):
    for target in ("pies", "piesek"):
        memory.commit(shard(memory, dog=target))
    assert len(list(memory.folder.iterdir())) == 1
    assert memory.read("target") == {memory.key("dog"): "piesek"}


def test_a_key_in_two_shards_is_there_once(memory):
    memory.commit(shard(memory, dog="pies", cat="kot"))
    memory.commit(shard(memory, dog="pies"))
    assert len(list(memory.folder.iterdir())) == 2 and len(memory.read("target")) == 2


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
    (path,) = memory.folder.iterdir()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtifactError, match=path.name):
        memory.read("target")


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    memory = Memory(tmp_path.relative_to(tmp_path) / "memory", SETTINGS, Translation)
    monkeypatch.chdir("/")
    memory.commit(shard(memory, dog="pies"))
    assert list((tmp_path / "memory").glob("*/*.parquet"))
