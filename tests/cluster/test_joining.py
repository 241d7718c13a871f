"""What is wrong with a cluster that is joined, in one line each and exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cluster_of_nodes import Nodes

from nlift import __version__

PLATFORM = Path(__file__).parents[2] / "platform"
pytestmark = pytest.mark.slow


@pytest.fixture
def joined(tmp_path):
    """Runs an experiment as from an installed nlift, against an address: exit code, lines of the error output."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "nlift").symlink_to(PLATFORM / "nlift")  # no checkout: workers import what their machine has
    raw = {"name": "x", "output_dir": str(tmp_path / "runs"), "nli": {"path": "embedded", "limit": 20}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({**raw, "translate": {"num_beams": 1}}))

    def joined(address, **variables):
        known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        known |= {"PYTHONPATH": str(site), **variables}
        command = ["run", str(tmp_path / "x.yaml"), "--only", "nli", "--only", "translate", "--address", address]
        line = [sys.executable, "-m", "nlift.cli", *command]
        done = subprocess.run(line, env=known, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stderr.splitlines()

    return joined


@pytest.fixture(scope="module")
def nodes():
    with Nodes() as nodes:
        yield nodes


def package(folder, content):
    """A folder with another nlift, for the workers of a node."""
    (folder / "nlift").mkdir(parents=True)
    (folder / "nlift" / "__init__.py").write_text(content)
    return str(folder)


def test_no_cluster_at_the_address(joined):
    code, lines = joined("127.0.0.1:1")
    assert code == 2 and len([line for line in lines if line.startswith("error: ")]) == 1
    assert "cluster.address 127.0.0.1:1: no Ray cluster answers (nothing listens there)" in lines[-1]
    assert "ray start --head" in lines[-1]


def test_another_token(nodes, joined):
    code, lines = joined(nodes.address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    assert code == 2 and "has another token than this machine; copy the head's ~/.ray/auth_token" in lines[-1], lines


def test_no_token(nodes, joined, tmp_path):
    code, lines = joined(nodes.address, HOME=str(tmp_path))
    assert code == 2 and "has another token than this machine; copy the head's ~/.ray/auth_token" in lines[-1], lines


@pytest.mark.parametrize(
    "content, has",
    [("__version__ = '9.9.9'", "nlift 9.9.9"), ("raise ModuleNotFoundError(\"No module named 'nlift'\")", "no nlift")],
)
def test_a_node_with_another_nlift(nodes, joined, tmp_path, content, has):
    node = nodes.add(variables={"PYTHONPATH": package(tmp_path / "other", content)})
    try:
        code, lines = joined(nodes.address)
        assert code == 2, lines
        assert f" has {has}, this one {__version__}; install nlift {__version__} on every machine" in lines[-1]
        assert not any("Traceback" in line for line in lines)
    finally:
        nodes.kill(node)
