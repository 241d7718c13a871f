"""The pages' commands and programs, run: as a reader runs them, in order, where the experiment and the demo have run.

Not run here: what needs the hub, a bucket or a server of MLflow (test_docs.py parses it), servers (tests/serve starts
them, test_serving_page.py asks them), jobs (test_submit.py submits them).
"""

import re
import shutil

import pages
import pytest
import yaml
from typer.testing import CliRunner

from nlift.cli import app
from nlift.search import aliases

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # of what MLflow calls
ELSEWHERE = {"serve", "submit", "--install-completion", "COMMAND"}
OUTSIDE = re.compile(r"intfloat/|mlflow\.example|s3://")
WORDS = {  # what a reader fills in
    "VERSION": lambda folder: newest(folder / "bundles"),
    "BEIR_FOLDER": lambda folder: str(folder / "set"),
    "mine=other_tool.trec": lambda folder: "tiny=other_tool.trec",
}


@pytest.fixture
def reader(tiny_run, tmp_path, monkeypatch):
    """A folder in which my.yaml and the demo have run, with further documents and another tool's run."""
    shutil.copytree(tiny_run.root, tmp_path / "runs")
    own = tmp_path / "runs" / tiny_run.name
    for name in ("demo", "other"):
        shutil.copytree(own, tmp_path / "runs" / name)
    own.rename(tmp_path / "runs" / "my")
    raw = tiny_run.model_dump(mode="json") | {"name": "my", "output_dir": "runs"}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(raw))
    corpus = tmp_path / "set"
    shutil.copytree(raw["index"]["corpus"], corpus)
    rows = (corpus / "corpus.jsonl").read_text().splitlines()
    for number, name in enumerate(("more_docs", "new_docs", "changed_docs"), 1):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows[:-number]) + "\n")
    shutil.copy(
        next((tmp_path / "runs" / "my" / "evaluate" / "runs").glob("tiny.*.trec")), tmp_path / "other_tool.trec"
    )
    for name in ("jobs", "docs", "cluster.yaml"):
        (tmp_path / name).symlink_to(pages.ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def newest(bundles):
    """The version that was built last."""
    return max(aliases.versions(bundles), key=lambda version: (bundles / version).stat().st_mtime)


def commands(name):
    """A page's commands of nlift that run here."""
    return [
        command
        for command in pages.commands([name])
        if command.program == "nlift"
        and command.words[1] not in ELSEWHERE
        and not OUTSIDE.search(str(command))
        and (name, command.words[1]) != ("docs/serving.md", "search")  # test_serving_page.py
    ]


def run(command, folder):
    """What a command prints; it may say that something is wrong with this machine, and nothing else that is wrong."""
    words = [WORDS[word](folder) if word in WORDS else word for word in command.words[1:]]
    result = CliRunner().invoke(app, words)
    expected = (0, 2) if words[0] == "doctor" and "error:" not in result.output else (0,)
    assert result.exit_code in expected, f"{command}\n{result.output}\n{result.exception!r}"
    return result.output


def takes_minutes(command):
    return command.words[1] in ("tune", "study", "calibrate") or "--set" in command.words


PAGES = [name for name in pages.NAMES if any(not takes_minutes(command) for command in commands(name))]


@pytest.mark.parametrize("name", PAGES)
def test_commands_of_a_page_run(name, reader):
    (first,) = [command for command in commands("README.md") if command.words[1] == "index"]
    for command in [first, *commands(name)] if name == "docs/serving.md" else commands(name):  # it goes on with bundles
        if not takes_minutes(command):
            print(command, run(command, reader), sep="\n")


@pytest.mark.slow
def test_commands_that_take_minutes_run(reader):
    raw = yaml.safe_load((reader / "my.yaml").read_text())
    raw["tune"] = {"num_trials": 2, "space": {"train.temperature": {"choice": [0.05, 0.1]}}}
    (reader / "my.yaml").write_text(yaml.safe_dump(raw))
    for command in commands("README.md"):
        if takes_minutes(command) and "my.yaml" in command.words:
            print(command, run(command, reader), sep="\n")


@pytest.mark.parametrize(
    "block",
    [block for block in pages.blocks("python", ["README.md", "docs/cookbook.md"]) if "import mteb" not in block.text],
    ids=lambda block: f"{block.page}:{block.line}",
)
def test_a_program_runs(block, reader):
    from nlift import Encoder

    program = block.text.replace("jobs/experiments/demo.yaml", "my.yaml")
    known = {"Encoder": Encoder, "texts": ["stolica Polski"]}  # as the text around it has them
    exec(compile(program, block.page, "exec"), known)
    assert "hits" not in known or known["hits"]
    assert "vectors" not in known or known["vectors"].shape[0] == 2
