"""Where models and data are, and their fingerprints."""

import pytest

from nlift.data import sources
from nlift.errors import DataError, ModelError


def test_embedded_means_what_ships():
    for kind in ("translator", "comet", "encoder"):
        assert sources.model_source("embedded", kind) == str(sources.EMBEDDED / kind)
    assert sources.data_path("embedded") == sources.data_path("embedded:snli") == sources.EMBEDDED / "data" / "snli.tsv"
    assert sources.data_path("embedded:poquad_pl").is_dir()


def test_unknown_embedded_data_names_what_is_known():
    with pytest.raises(DataError, match=r"embedded:snil: no embedded data .* known are .*snli"):
        sources.data_path("embedded:snil")


def test_a_folder_is_taken_as_it_is_and_a_hub_name_too(tmp_path):
    assert sources.model_source(str(tmp_path), "encoder") == str(tmp_path)
    assert sources.model_source("org/name", "encoder") == "org/name"
    assert sources.model_source("name", "encoder") == "name"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere", "runs/nothing/train/encoder"])
def test_a_path_where_no_model_is(name):
    with pytest.raises(ModelError, match="no such folder; expected"):
        sources.model_source(name, "encoder")


def test_a_data_path_where_nothing_is(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        sources.data_path(str(tmp_path / "nowhere.tsv"))


def test_a_hub_model_is_identified_by_name_and_revision():
    assert sources.model_fingerprint("org/name", "encoder") == "org/name@main"
    assert sources.model_fingerprint("org/name", "encoder", "abc") == "org/name@abc"


def test_a_local_model_is_identified_by_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert sources.model_fingerprint(str(tmp_path), "encoder", "ignored") == sources.fingerprint(tmp_path)


def make(folder, **files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return sources.fingerprint(folder)


def test_a_folder_is_fingerprinted_by_names_and_contents(tmp_path):
    first = make(tmp_path / "1", **{"a": "x", "b/c": "y"})
    assert first == make(tmp_path / "2", **{"b/c": "y", "a": "x"})
    assert len(first) == 16 and int(first, 16) >= 0
    others = [
        make(tmp_path / "3", **{"a": "x", "b/c": "z"}),
        make(tmp_path / "4", **{"a": "x", "b/d": "y"}),
        make(tmp_path / "5", **{"a": "y", "b/c": "x"}),
        make(tmp_path / "6", **{"a": "x"}),
    ]
    assert len({first, *others}) == 5


def test_compiled_python_does_not_count(tmp_path):
    first = make(tmp_path, a="x")
    assert first == make(tmp_path, **{"__pycache__/a.pyc": "z"})


def test_a_changed_file_has_another_fingerprint(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    first = sources.fingerprint(path)
    path.write_text("four")
    assert sources.fingerprint(path) != first
