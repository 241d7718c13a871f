"""Names of versions: what they mean, meant before, and mean again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nlift.data import sources
from nlift.data.files import read_jsonl
from nlift.errors import ArtifactError
from nlift.search import aliases
from nlift.search.aliases import promote, read_aliases, rollback, versions


@pytest.fixture
def bundles(tmp_path):
    for number, name in enumerate(("a", "b", "c")):
        rows = tmp_path / "bundles" / name / "index" / "vectors.npy"
        rows.parent.mkdir(parents=True)
        rows.write_text(name)
        checksums = {"index/vectors.npy": sources.fingerprint(rows)}
        info = {"checksums": checksums, "dim": 1, "documents": 1, "version": name, "search": {}}
        (tmp_path / "bundles" / name / "bundle.json").write_text(json.dumps({**info, "created": f"202{9 - number}"}))
    return tmp_path / "bundles"


def message(call, *arguments):
    with pytest.raises(ArtifactError) as caught:
        call(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_versions_stand_in_the_order_they_were_built(bundles):
    (bundles / ".d.tmp").mkdir()
    (bundles / ".d.tmp" / "bundle.json").write_text("{}")
    assert versions(bundles) == ["c", "b", "a"]
    assert "no such folder" in message(versions, bundles / "x")


def test_the_log_says_what_was_meant_when_and_why(bundles):
    promote(bundles, "a", by="index")
    promote(bundles, "b", gate={"difference": 0.1}, forced=False)
    first, second = read_jsonl(bundles / "aliases.log.jsonl")
    assert (first["by"], first["alias"], first["version"], first["before"]) == ("index", "production", "a", None)
    assert (second["by"], second["version"], second["before"]) == ("promote", "b", "a")
    assert second["gate"] == {"difference": 0.1} and second["forced"] is False and second["at"] >= first["at"]


def test_rollback_goes_back_one_version_each_time(bundles):
    for version in ("a", "b", "c"):
        promote(bundles, version)
    promote(bundles, "a", "candidate")
    assert rollback(bundles) == "b" and read_aliases(bundles) == {"production": "b", "candidate": "a"}
    assert rollback(bundles) == "a"
    assert "production is a, and no version before" in message(rollback, bundles)
    promote(bundles, "c")
    assert rollback(bundles) == "a"
    assert "there is no alias 'x'" in message(rollback, bundles, "x")


def test_the_same_version_again_is_no_step(bundles):
    for version in ("a", "b", "b"):
        promote(bundles, version)
    assert rollback(bundles) == "a"


def test_rollback_after_aliases_were_set_by_hand(bundles):
    promote(bundles, "a")
    (bundles / "aliases.json").write_text('{"production": "b"}')
    assert rollback(bundles) == "a"


def test_rollback_to_a_version_that_is_gone(bundles):
    promote(bundles, "a")
    promote(bundles, "b")
    (bundles / "a" / "bundle.json").unlink()
    assert "no version 'a'" in message(rollback, bundles)
    assert read_aliases(bundles) == {"production": "b"}


@pytest.mark.parametrize("version", ["", ".", "..", "../bundles/a", ".a", "x"])
def test_what_is_no_version(bundles, version):
    assert "no version" in message(promote, bundles, version)
    assert not (bundles / "aliases.json").exists() and not (bundles / "aliases.log.jsonl").exists()


@pytest.mark.parametrize("alias", ["", "a b", "../x", "a/b", "\n"])
def test_what_is_no_alias(bundles, alias):
    assert "expected a name" in message(promote, bundles, "a", alias)


def test_a_cut_line_of_the_log_is_left_out(bundles):
    promote(bundles, "a")
    with (bundles / "aliases.log.jsonl").open("a") as stream:
        stream.write('{"alias": "production", "ver\n')
    promote(bundles, "b")
    assert rollback(bundles) == "a"


def test_versions_are_carried_over_with_their_names(bundles, tmp_path, monkeypatch):
    monkeypatch.setattr(aliases, "is_whole", lambda folder: folder.name != "b")  # a damaged one
    (bundles / "a" / "index" / "x").write_text("content")
    promote(bundles, "a")
    promote(bundles, "b", "candidate")
    new = tmp_path / "new"
    (new / "d").mkdir(parents=True)
    aliases.carry_over(bundles, new)
    aliases.carry_over(bundles, new)
    assert sorted(path.name for path in new.iterdir()) == ["a", "aliases.json", "aliases.log.jsonl", "c", "d"]
    assert read_aliases(new) == {"production": "a"}
    assert (new / "a" / "index" / "x").stat().st_ino == (bundles / "a" / "index" / "x").stat().st_ino
    assert len(read_jsonl(new / "aliases.log.jsonl")) == 2


def test_nothing_to_carry_over(tmp_path):
    aliases.carry_over(tmp_path / "none", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ['{"production": null}', '{"production": 1}', "[1]", "{", "\ufeff1"])
def test_aliases_that_are_none(bundles, content):
    (bundles / "aliases.json").write_text(content)
    assert "delete it" in message(read_aliases, bundles)


def test_two_that_promote_at_once_lose_nothing(bundles):
    names = [[f"{side}{i}" for i in range(250)] for side in ("left", "right")]
    code = "import sys; from pathlib import Path; from nlift.search.aliases import promote\n"
    code += "for name in sys.argv[2:]: promote(Path(sys.argv[1]), 'a', name)"
    environment = {**os.environ, "PYTHONPATH": str(Path(aliases.__file__).parents[2])}
    running = [subprocess.Popen([sys.executable, "-c", code, str(bundles), *side], env=environment) for side in names]
    while any(process.poll() is None for process in running):
        read_aliases(bundles)
    assert [process.returncode for process in running] == [0, 0]
    assert set(read_aliases(bundles)) == {name for side in names for name in side}
    assert len(read_jsonl(bundles / "aliases.log.jsonl")) == 500


def test_a_log_whose_last_line_was_cut_goes_on_in_a_line_of_its_own(bundles):
    promote(bundles, "a")
    with (bundles / "aliases.log.jsonl").open("a") as stream:
        stream.write('{"alias": "prod')
    promote(bundles, "b")
    assert [row["version"] for row in read_jsonl(bundles / "aliases.log.jsonl")] == ["a", "b"]
