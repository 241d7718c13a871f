"""Unfinished work under a URI: nobody takes it from one that lives, and it is not lost with one that died."""

import pytest

from nlift.data import transfer, work_claim
from nlift.data.work_claim import claimed


@pytest.fixture(params=["s3", "file"])
def uri(request, tmp_path, copies):
    if request.param == "file":
        return f"file://{tmp_path}/kept/train.tmp-1"
    return f"{request.getfixturevalue('bucket')}/train.tmp-1"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(work_claim, "BEAT_S", 0.05)
    monkeypatch.setattr(work_claim, "POLL_S", 0.05)
    monkeypatch.setattr(work_claim, "DEAD_S", 10.0)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Lets this process be another machine."""
    return lambda name: monkeypatch.setattr("nlift.uris.cache_id", lambda: name)


def test_it_is_had_and_removed(uri, machine):
    machine("a")
    with claimed(uri) as at:
        assert at == uri
        transfer.write(f"{at}/checkpoint", b"1")
    work_claim.remove(uri)
    assert transfer.sizes(uri) == {}


def test_work_that_is_alive_is_seen_to_be(uri, machine):
    machine("a")
    with claimed(uri) as at:
        assert at == uri and work_claim._is_alive(uri, work_claim._read(uri))


def test_another_machine_beside_it(uri, machine, monkeypatch):
    machine("a")
    beats = iter(range(100))
    with claimed(uri):
        pass
    machine("b")
    read = work_claim._read
    monkeypatch.setattr(work_claim, "_read", lambda at: {**(read(at) or {}), "beat": next(beats)})  # a is at it
    with claimed(uri) as at:
        assert at == f"{uri}-b"
        transfer.write(f"{at}/checkpoint", b"1")
    work_claim.remove(uri)
    assert transfer.sizes(f"{uri}-b") == {} and read(uri)["owner"] == "a"


def test_what_one_that_died_has_left_is_gone_on_with(uri, machine, monkeypatch):
    machine("a")
    with claimed(uri) as at:
        transfer.write(f"{at}/checkpoint", b"1")
    machine("b")
    monkeypatch.setattr(work_claim, "DEAD_S", 0.3)
    with claimed(uri) as at:
        assert at == uri and transfer.read(f"{at}/checkpoint") == b"1" and work_claim._read(uri)["owner"] == "b"
    machine("a")
    work_claim.remove(uri)  # of which it has nothing any more
    assert transfer.read(f"{uri}/checkpoint") == b"1"


def test_who_comes_second_to_what_a_dead_one_left(uri, machine, monkeypatch):
    """Both saw the same beat stand still."""
    machine("a")
    with claimed(uri):
        before = work_claim._read(uri)
    machine("b")
    monkeypatch.setattr(work_claim, "DEAD_S", 0.3)
    with claimed(uri):
        machine("c")
        monkeypatch.setattr(work_claim, "_read", lambda at: before)
        with claimed(uri) as at:
            assert at == f"{uri}-c"
        machine("b")


def test_the_same_machine_goes_on_at_once(uri, machine, monkeypatch):
    machine("a")
    with claimed(uri):
        pass
    monkeypatch.setattr(work_claim, "_is_alive", lambda *_: pytest.fail("nothing to wait for"))
    with claimed(uri) as at:
        assert at == uri
