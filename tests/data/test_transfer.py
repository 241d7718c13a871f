"""Files to and from a URI, and what a person is told where that fails."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from nlift.data import transfer
from nlift.errors import ResourceError


@pytest.fixture
def at_once(monkeypatch):
    """A second and a third try follow at once."""
    monkeypatch.setattr(transfer, "WAITS_S", (0.0, 0.0))


@pytest.fixture
def refusing(monkeypatch, bucket):
    """A server on this machine that knows nobody; how often it was asked."""
    asked = []

    class Refuses(BaseHTTPRequestHandler):
        def answer(self):
            asked.append(self.path)
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = answer

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_and_folders(bucket, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "x").write_bytes(b"x" * 100)
    (tmp_path / "in" / "y z").write_bytes(b"y")
    transfer.upload(tmp_path / "in", f"{bucket}/a")
    assert transfer.sizes(f"{bucket}/a") == {"deep/x": 100, "y z": 1}
    assert transfer.folders(f"{bucket}/a") == ["deep"] and transfer.folders(f"{bucket}/none") == []
    transfer.download(f"{bucket}/a", tmp_path / "out")
    assert (tmp_path / "out" / "deep" / "x").read_bytes() == b"x" * 100
    assert transfer.read(f"{bucket}/a/y%20z") == b"y" and transfer.read(f"{bucket}/a/none") is None
    transfer.remove_file(f"{bucket}/a/y%20z")
    transfer.remove_file(f"{bucket}/a/y%20z")
    assert transfer.sizes(f"{bucket}/a") == {"deep/x": 100}
    for _ in range(2):
        transfer.remove(f"{bucket}/a")
        assert transfer.sizes(f"{bucket}/a") == {}


def test_a_file_of_many_pieces(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PIECE", 7)
    (tmp_path / "x").write_bytes(bytes(range(256)) * 10)
    transfer.put(tmp_path / "x", f"{bucket}/x")
    assert transfer.read(f"{bucket}/x") == bytes(range(256)) * 10


def test_the_probe_leaves_nothing(bucket):
    transfer.probe(f"{bucket}/runs", "output_dir")
    assert transfer.sizes(bucket) == {}


def test_no_such_bucket(bucket):
    with pytest.raises(ResourceError) as caught:
        transfer.probe("s3://nowhere-at-all/runs", "output_dir")
    assert line(caught).startswith("output_dir s3://nowhere-at-all/runs: there is no such bucket; create it")


def test_no_right_to_it(refusing):
    with pytest.raises(ResourceError) as caught:
        transfer.probe("s3://not-ours/runs", "output_dir")
    assert line(caught).startswith("output_dir s3://not-ours/runs: no right to it; let the role or key")
    assert len(refusing) < 4  # nothing is tried again that cannot help


def test_a_network_that_fails_once(bucket, monkeypatch, at_once):
    tried, written = [], transfer._written

    def failing(uri, fill):
        tried.append(uri)
        if len(tried) < 3:
            raise OSError("curlCode: 7, Could not connect to server")
        written(uri, fill)

    monkeypatch.setattr(transfer, "_written", failing)
    transfer.write(f"{bucket}/x", b"x")
    assert transfer.read(f"{bucket}/x") == b"x" and len(tried) == 3
