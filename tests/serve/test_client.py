"""The client: it asks again where that helps, and says why where it does not."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from over_http import served

from nlift.errors import NliftError
from nlift_serve.client import Client
from nlift_serve.config import Limits


@pytest.fixture
def flaky(bundle):
    """A server that closes the first connection, then is busy, then has lost a replica, then passes requests on."""
    asked = []

    class Flaky(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append(body)
            if len(asked) == 1:
                self.close_connection = True
                return
            if len(asked) < 4:
                self.send_response(503 if len(asked) == 2 else 408)
                self.send_header("retry-after", "0")
                answer = b'{"detail": "busy"}'
            else:
                self.send_response(200)
                answer = b'{"results": [[{"doc_id": "a"}]]}'
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_asks_again(flaky):
    address, asked = flaky
    with Client(address) as client:
        assert client.search("a map", top_k=3) == [[{"doc_id": "a"}]]
    assert len(asked) == 4 and len(set(asked)) == 1


def test_it_gives_up(flaky):
    with Client(flaky[0], attempts=1) as client, pytest.raises(NliftError, match="Remote"):
        client.search("a map")


def test_answers_and_refusals(bundle):
    with served(bundle, Limits()) as address, Client(address) as client:
        for _ in range(2):  # over one connection
            results = client.search("a map", "rivers", top_k=3, mode="dense", filter={"odd": True})
            expected = bundle.search(["a map", "rivers"], 3, mode="dense", filter={"odd": True})
            assert [[hit["doc_id"] for hit in hits] for hits in results] == [
                [hit.doc_id for hit in h] for h in expected
            ]
        with pytest.raises(NliftError, match=r"422.*top_k"):
            client.search("a map", top_k=0)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://"])
def test_what_is_no_address(url):
    with pytest.raises(NliftError, match="expected a server's address"):
        Client(url)
