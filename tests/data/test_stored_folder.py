"""Folders that stand under a URI: whole or not at all, checked when they are read, kept by who reads them."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from nlift.data import transfer
from nlift.data.stored_folder import LISTING, POINTER, StoredFolder, local_copy, place
from nlift.errors import ArtifactError


@pytest.fixture
def made(tmp_path):
    """A folder with a file in a folder, one of an odd name, and an empty one."""
    folder = tmp_path / "made"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "words.txt").write_text("żółw\n")
    (folder / "a b#c%d[1].txt").write_text("odd")
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture(params=["s3", "file"])
def uri(request, tmp_path, copies):
    """Where nothing is yet, in a bucket or a folder."""
    if request.param == "file":
        return f"file://{tmp_path}/kept/runs/demo/train"
    return f"{request.getfixturevalue('bucket')}/runs/demo/train"


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".stored.json", LISTING))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def forget(copies):
    shutil.rmtree(copies)


def test_what_is_published_is_fetched(made, uri, copies, tmp_path):
    before = contents(made)
    assert StoredFolder(uri).about() is None
    StoredFolder(uri).publish(made, {"fingerprint": "1"})
    forget(copies)
    assert StoredFolder(uri).about() == {"fingerprint": "1"}
    StoredFolder(uri).fetch(tmp_path / "elsewhere" / "copy")
    assert contents(tmp_path / "elsewhere" / "copy") == before


def test_a_worker_finds_a_file_by_its_place(made, uri, copies):
    assert place(made / "inner") == str(made / "inner")
    StoredFolder(uri).publish(made, {})
    at = place(made / "inner" / "words.txt")
    assert at.startswith(f"{uri}/") and at.endswith("/inner/words.txt")
    for _ in range(2):
        assert local_copy(at).read_text() == "żółw\n"
        forget(copies)
    assert local_copy(f"{uri}/inner").is_dir()  # by a person: what counts now
    assert local_copy(made) == made


def test_what_counts_is_replaced_and_who_reads_keeps_his(made, uri, copies):
    first = StoredFolder(uri).publish(made, {"fingerprint": "1"})
    (made / "inner" / "words.txt").write_text("other")
    second = StoredFolder(uri).publish(made, {"fingerprint": "2"})
    forget(copies)
    assert StoredFolder(uri).about() == {"fingerprint": "2"} and first != second
    assert (local_copy(first) / "inner" / "words.txt").read_text() == "żółw\n"
    assert (local_copy(uri) / "inner" / "words.txt").read_text() == "other"


def test_an_upload_that_was_cut_is_not_there_and_goes_on(made, uri, copies, monkeypatch):
    sent, put = [], transfer.put

    def cut(file, to):
        if sent:
            raise KeyboardInterrupt
        sent.append(to)
        put(file, to)

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "AT_ONCE", 1)
        patch.setattr(transfer, "put", cut)
        with pytest.raises(KeyboardInterrupt):
            StoredFolder(uri).publish(made, {})
    assert StoredFolder(uri).about() is None
    with pytest.raises(ArtifactError, match=f"no {POINTER} there"):
        StoredFolder(uri).fetch(made.with_name("copy"))
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "put", lambda file, to: (sent.append(to), put(file, to)))
        StoredFolder(uri).publish(made, {})
    assert len(sent) == len(set(sent)) == 3
    forget(copies)
    assert contents(local_copy(uri)) == contents(made)


def test_a_file_that_is_not_what_was_written(made, uri, copies):
    address = StoredFolder(uri).publish(made, {})
    transfer.write(f"{address}/inner/words.txt", "żółv\n".encode())  # as long
    assert local_copy(address).is_dir()  # what this machine wrote itself
    forget(copies)
    with pytest.raises(ArtifactError, match=r"words\.txt: missing, or not what was written") as caught:
        local_copy(address)
    assert "\n" not in str(caught.value)
    assert not [path for path in (copies / "nlift" / "folders").iterdir() if path.is_dir()]


def test_a_transfer_that_went_wrong_once_is_repeated(made, uri, copies, monkeypatch):
    address = StoredFolder(uri).publish(made, {})
    forget(copies)
    asked, get = [], transfer.get

    def garbled(at, target):
        digest = get(at, target)
        asked.append(at)
        if len(asked) == 1:
            target.write_bytes(b"garbled")
            return "0" * 64
        return digest

    monkeypatch.setattr(transfer, "get", garbled)
    assert contents(local_copy(address)) == contents(made)
    assert len(asked) == 4


def test_a_list_that_was_changed(made, uri, copies):
    address = StoredFolder(uri).publish(made, {})
    listing = json.loads(transfer.read(f"{address}/{LISTING}"))
    transfer.write(f"{address}/{LISTING}", json.dumps({**listing, "more": [0, ""]}).encode())
    forget(copies)
    with pytest.raises(ArtifactError, match=f"{LISTING}: missing or changed"):
        local_copy(address)


def test_a_damaged_copy_is_fetched_again(made, uri, copies):
    address = StoredFolder(uri).publish(made, {})
    forget(copies)
    path = local_copy(address) / "inner" / "words.txt"
    path.write_text("cut")
    assert (local_copy(address) / "inner" / "words.txt").read_text() == "żółw\n"
    path.unlink()
    assert (local_copy(address) / "inner" / "words.txt").read_text() == "żółw\n"


def test_many_readers_of_a_machine_fetch_it_once(made, uri, copies, monkeypatch):
    address = StoredFolder(uri).publish(made, {})
    forget(copies)
    fetched, get = [], transfer.get
    monkeypatch.setattr(transfer, "get", lambda at, target: (fetched.append(at), get(at, target))[1])
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: local_copy(address), range(8)))
    assert len(set(folders)) == 1 and len(fetched) == 3


@pytest.mark.parametrize("content", [b"no JSON", b"[]", b'{"folder": "../x", "about": {}}', b'{"folder": "0"}'])
def test_a_pointer_that_is_none(uri, content, bucket):
    transfer.write(f"{uri}/{POINTER}", content)
    with pytest.raises(ArtifactError, match="not written by nlift"):
        StoredFolder(uri).about()


def test_nothing_there(uri, bucket):
    with pytest.raises(ArtifactError, match="nlift stored no such folder there"):
        local_copy(f"{uri}/encoder")
