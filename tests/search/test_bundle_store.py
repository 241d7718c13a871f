"""Folders of bundles under a URI: versions, names, two who change them, what machines have of them."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from nlift.data import transfer
from nlift.data.files import read_jsonl
from nlift.errors import ArtifactError
from nlift.search import aliases, bundle_store
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import is_whole, read_info


@pytest.fixture
def uri(bucket):
    return f"{bucket}/runs/demo/index"


@pytest.fixture
def kept(bundle, uri, tmp_path):
    """The bundle under two names, as a folder of this machine and under a URI; `v1` is in production."""
    folder = tmp_path / "made"
    for name in ("v1", "v2"):
        shutil.copytree(bundle.folder, folder / name)
        text = (folder / name / "bundle.json").read_text().replace('"version": "v1"', f'"version": "{name}"')
        (folder / name / "bundle.json").write_text(text)
    aliases.promote(folder, "v1", by="index")
    bundle_store.publish(folder, uri)
    return folder


def test_a_bundle_is_found_by_its_name_and_answers(kept, uri, bundle, copies):
    folder = bundle_store.resolve(uri)
    assert folder.name == "v1" and is_whole(folder) and folder.is_relative_to(copies)
    assert Bundle.load(uri).search(["the map"], 3) == bundle.search(["the map"], 3)
    assert bundle_store.resolve(kept) == kept / "v1"


def test_versions_and_what_they_are_called(kept, uri, copies):
    assert list(bundle_store.versions(uri)) == ["v1", "v2"] and bundle_store.read_aliases(uri) == {"production": "v1"}
    with bundle_store.listed(uri) as folder:
        assert sorted(aliases.versions(folder)) == ["v1", "v2"] and read_info(folder / "v2")["version"] == "v2"
    assert not (bundle_store.copies(uri) / "v2").exists()


def test_promote_and_rollback(kept, uri):
    with bundle_store.changing(uri, "v2") as folder:
        aliases.promote(folder, "v2")
    assert bundle_store.resolve(uri).name == "v2"
    with bundle_store.changing(uri, "v1") as folder:
        assert aliases.rollback(folder) == "v1"
    assert bundle_store.resolve(uri).name == "v1"
    shutil.rmtree(bundle_store.copies(uri))
    with bundle_store.changing(uri) as folder:
        assert [row["by"] for row in read_jsonl(folder / aliases.LOG)] == ["index", "promote", "rollback"]


def test_two_who_change_names_at_once(kept, uri, tmp_path):
    """On two machines, each with what it read before the other wrote."""
    folders = {name: tmp_path / name for name in ("candidate", "experimental", "third")}
    for name, folder in folders.items():
        bundle_store.fetch(uri, folder, ["v2"])
        aliases.promote(folder, "v2", name)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda folder: bundle_store.publish(folder, uri), folders.values()))
    assert bundle_store.read_aliases(uri) == {"production": "v1", **dict.fromkeys(folders, "v2")}
    log = transfer.read(f"{uri}/{aliases.LOG}").decode()
    assert log.count("\n") == 4 and all(name in log for name in folders)


def test_publishing_again_changes_nothing(kept, uri):
    with bundle_store.changing(uri, "v2") as folder:
        aliases.promote(folder, "v2")
    before = transfer.sizes(uri)
    bundle_store.publish(kept, uri)  # which promoted v1 once
    assert bundle_store.resolve(uri).name == "v2" and transfer.sizes(uri) == before


def test_a_machine_has_what_names_mean_and_the_newest(kept, uri, tmp_path):
    bundle_store.carry_over(uri, tmp_path / "next")
    assert sorted(aliases.versions(tmp_path / "next", whole=True)) == ["v1", "v2"]
    assert aliases.read_aliases(tmp_path / "next") == {"production": "v1"}


def test_nothing_there(uri):
    for call, part in (
        (lambda: bundle_store.resolve(uri), "no alias 'production'"),
        (lambda: bundle_store.fetched(uri, "v9", bundle_store.copies(uri)), "no version 'v9'; found none"),
        (lambda: bundle_store.listed(uri).__enter__(), "no bundles there"),
    ):
        with pytest.raises(ArtifactError, match=part) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_aliases_that_are_none(kept, uri):
    transfer.write(f"{uri}/aliases.json", b"[1]")
    with pytest.raises(ArtifactError, match="not a JSON object of names and versions"):
        bundle_store.resolve(uri)
