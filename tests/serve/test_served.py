"""A version takes over while others are answered; one that cannot is refused, and the old one goes on."""

import asyncio
import json
import logging
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from nlift.errors import ArtifactError
from nlift.search import bundle_store
from nlift.search.aliases import promote
from nlift_serve.answering import Answering
from nlift_serve.config import Limits
from nlift_serve.schemas import SearchRequest
from nlift_serve.served import Served, load_version, smoke


@pytest.fixture
def bundles(bundle, tmp_path):
    """Two versions, the first one in production."""
    for version in ("v1", "v2"):
        folder = shutil.copytree(bundle.folder, tmp_path / version)
        info = json.loads((folder / "bundle.json").read_text())
        (folder / "bundle.json").write_text(json.dumps({**info, "version": version}))
    promote(tmp_path, "v1")
    return tmp_path


@pytest.fixture
def served(bundles):
    served = Served(bundles, "production", partial(load_version, cached_queries=10), 0.02)
    yield served
    served.close()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_promoted_takes_over(bundles, served):
    outcomes = []
    served.swapped = lambda *outcome: outcomes.append(outcome)
    assert served.current.version == "v1"
    promote(bundles, "v2")
    until(lambda: served.current.version == "v2")
    until(lambda: outcomes == [("done", "v1")])
    assert served.refused is None


def test_a_damaged_version_is_refused_and_said(bundles, served, caplog):
    index = bundles / "v2" / "index" / "vectors.npy"
    content = bytearray(index.read_bytes())
    content[-1] ^= 1
    index.write_bytes(content)
    outcomes = []
    served.swapped = lambda *outcome: outcomes.append(outcome)
    with caplog.at_level(logging.ERROR, "nlift"):
        promote(bundles, "v2")
        until(lambda: served.refused is not None)
        time.sleep(0.2)
    assert served.current.version == "v1" and served.current.search(["a map"])
    assert served.refused.version == "v2" and "checksum differs" in served.refused.why
    assert outcomes == [("refused", "v1")] and len(caplog.records) == 1  # it is tried, and said, once
    promote(bundles, "v1")
    until(lambda: served.refused is None)


def test_a_refused_version_that_was_repaired_takes_over(bundles, served):
    documents = bundles / "v2" / "documents" / "rows.arrow"
    whole = documents.read_bytes()
    documents.write_bytes(b"none")
    promote(bundles, "v2")
    until(lambda: served.refused is not None)
    documents.write_bytes(whole)
    (bundles / "v2" / "bundle.json").touch()
    until(lambda: served.current.version == "v2" and served.refused is None)


@pytest.mark.parametrize("content", ['{"production": null}', "[]", '{"production": ["v2"]}'])
def test_whatever_stands_in_aliases_the_alias_is_followed_afterwards(bundles, served, content):
    (bundles / "aliases.json").write_text(content)
    until(lambda: served.refused is not None)
    (bundles / "aliases.json").unlink()
    promote(bundles, "v2")
    until(lambda: served.current.version == "v2")


def test_aliases_that_are_gone_or_broken_leave_the_old_version(bundles, served):
    (bundles / "aliases.json").write_text("{")
    until(lambda: served.refused is not None)
    assert "not readable as JSON" in served.refused.why and served.current.version == "v1"
    (bundles / "aliases.json").unlink()
    until(lambda: "no alias" in served.refused.why)
    promote(bundles, "v2")
    until(lambda: served.current.version == "v2" and served.refused is None)


def test_a_bundle_itself_follows_nothing(bundles):
    served = Served(bundles / "v1", "production", load_version, 0.01)
    promote(bundles, "v2")
    time.sleep(0.1)
    assert served.current.version == "v1"


def test_a_version_that_answers_its_own_queries_with_nothing_is_refused(bundle, monkeypatch):
    smoke(bundle)
    monkeypatch.setattr(
        bundle.searchers["dense"].index, "search", lambda *_: bundle.searchers["lexical"].search(["zz"], 1)
    )
    with pytest.raises(ArtifactError, match="with nothing by dense search"):
        smoke(bundle)


def test_every_answer_is_of_one_version_while_versions_change(bundles, served):
    async def asked():
        with ThreadPoolExecutor(1) as executor:
            held = Answering(served, Limits(batch_characters=40), executor)
            answers, versions = [], ["v2", "v1"] * 3

            async def ask():
                while versions or len(answers) < 50:
                    answers.append(await held.answer(SearchRequest(queries=["a map", "the small dog"], top_k=3)))

            async def change():
                while versions:
                    wanted = versions.pop(0)
                    promote(bundles, wanted)
                    while served.current.version != wanted:
                        await asyncio.sleep(0.01)

            await asyncio.gather(change(), *(ask() for _ in range(8)))
            return answers

    answers = asyncio.run(asked())
    assert {answer.version for answer in answers} == {"v1", "v2"}
    assert len({json.dumps([[hit.doc_id for hit in hits] for hits in answer.results]) for answer in answers}) == 1


def test_a_folder_in_a_bucket_is_followed(bundles, bucket):
    uri = f"{bucket}/index"
    bundle_store.publish(bundles, uri)
    served = Served(uri, "production", load_version, 0.02)
    try:
        assert served.current.version == "v1"
        with bundle_store.changing(uri, "v2") as folder:
            promote(folder, "v2")
        until(lambda: served.current.version == "v2")
        assert served.refused is None
    finally:
        served.close()
