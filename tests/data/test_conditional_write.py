"""Objects that several writers change: nobody's change is lost."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from nlift.data import conditional_write, transfer
from nlift.data.conditional_write import changed
from nlift.errors import ResourceError


@pytest.fixture(params=["s3", "file"])
def uri(request, tmp_path):
    """An object that is not there yet."""
    return f"file://{tmp_path}/x.json" if request.param == "file" else f"{request.getfixturevalue('bucket')}/x.json"


def with_key(key):
    return lambda before: json.dumps({**json.loads(before or b"{}"), key: 1}).encode()


def test_it_is_made_and_changed(uri):
    changed(uri, with_key("a"))
    changed(uri, with_key("b"))
    assert json.loads(transfer.read(uri)) == {"a": 1, "b": 1}


def test_writers_at_once_lose_nothing(uri):
    names = [f"writer{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda name: changed(uri, with_key(name)), names))
    assert json.loads(transfer.read(uri)) == dict.fromkeys(names, 1)


def test_who_comes_between_is_seen(bucket):
    uri, seen = f"{bucket}/x.json", []

    def change(before):
        seen.append(before)
        if len(seen) == 1:
            changed(uri, with_key("between"))
        return with_key("own")(before)

    changed(uri, change)
    assert seen == [None, b'{"between": 1}'] and json.loads(transfer.read(uri)) == {"between": 1, "own": 1}


def test_no_such_bucket(bucket):
    with pytest.raises(ResourceError, match=r"s3://nowhere-at-all/x: cannot be changed") as caught:
        changed("s3://nowhere-at-all/x", with_key("a"))
    assert "\n" not in str(caught.value)


def test_one_who_is_always_too_late(bucket, monkeypatch):
    uri, numbers = f"{bucket}/x.json", iter(range(100))
    monkeypatch.setattr(conditional_write, "TRIES", 3)

    def change(before):
        transfer.write(uri, str(next(numbers)).encode())
        return b"late"

    with pytest.raises(ResourceError, match="others changed it 3 times"):
        changed(uri, change)
    assert transfer.read(uri) == b"2"
