"""docs/serving.md: every line that a reader can copy runs, against a server that has what the page speaks of."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from over_http import served
from typer.testing import CliRunner

from nlift.cli import app
from nlift.data.schema import Document
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import write_bundle
from nlift.search.faiss_index import FaissIndex
from nlift_serve.config import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M)
COMMANDS = [
    command
    for _, block in BLOCKS
    for command in re.sub(r"\\\n\s*", "", block).splitlines()
    if command.startswith(("curl ", "nlift search "))
]
PROGRAMS = [block for kind, block in BLOCKS if kind == "python"]
DOCUMENTS = [
    Document("d3", "Wawel", "Zamek w Krakowie stoi nad Wisłą.", '{"year": 1320, "city": "Kraków"}'),
    Document("d2", "Zamek w Lublinie", "Zamek z czasów króla Kazimierza.", '{"year": 1341, "city": "Lublin"}'),
    Document("d1", "Pan Tadeusz", "Pana Tadeusza napisał Adam Mickiewicz.", '{"year": 1834, "city": "Paryż"}'),
]


@pytest.fixture(scope="module")
def bundles(encoder_folder, encoder_of, tmp_path_factory):
    analyzer = Analyzer("stem", "pl")
    contents = [document.content for document in DOCUMENTS]
    search = {"mode": "hybrid", "alpha": 0.5, "fusion": "convex", "depth": 10}
    search |= {"analyzer": "stem", "language": "pl", "analyzer_version": analyzer.version}
    folder = write_bundle(
        tmp_path_factory.mktemp("page") / "runs" / "demo" / "index",
        encoder=encoder_folder,
        documents=DOCUMENTS,
        index=FaissIndex.build(encoder_of.encode(contents, role="passage")),
        words=BM25Index.build(contents, analyzer),
        judged=[],
        info={"version": "v1", "dim": 32, "index": {"kind": "flat"}, "search": search},
    )
    (folder.parent / "aliases.json").write_text('{"production": "v1"}')
    return folder.parent


@pytest.fixture(scope="module")
def address(bundles):
    with served(Bundle.load(bundles), Limits()) as address:
        yield address


def test_the_page_has_commands_and_programs():
    assert len(COMMANDS) >= 6 and PROGRAMS


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("curl")])
def test_a_request_of_the_page_is_answered(command, address):
    command = command.replace("http://127.0.0.1:8000", address)
    answered = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    answer = json.loads(answered.stdout)
    assert "detail" not in answer, answer
    assert answer.get("results", [True])[0] and answer.get("data", [True])[0]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("nlift")])
def test_a_command_of_the_page_finds_something(command, bundles, monkeypatch):
    import shlex

    monkeypatch.chdir(bundles.parents[2])
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0 and "1. " in result.output, result.output


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_page_runs(program, address, bundles, monkeypatch, capsys):
    monkeypatch.chdir(bundles.parents[2])
    exec(compile(program.replace("http://127.0.0.1:8000", address), "serving.md", "exec"), {})
    assert capsys.readouterr().out.strip()
