"""What `nlift check` says of time and money, and of what is wrong with what it is given."""

import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from nlift.cli import app
from nlift.cost import rates
from nlift.cost.machines import Machines, NodeType
from nlift.cost.prediction import Prediction, StageTime
from nlift.report import console, cost

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "jobs" / "experiments" / "demo.yaml"
PAPER = DEMO.with_name("paper_pl.yaml")


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Runs `nlift check` where nothing was measured yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(console, "console", lambda: Console(highlight=False, width=250))

    def run(*arguments, experiment=DEMO):
        given = ["check", experiment, "--set", f"output_dir={tmp_path / 'runs'}", *arguments]
        return CliRunner().invoke(app, list(map(str, given)))

    return run


def row(output, name):
    """The cells of the time table's row of that name."""
    table = output[output.index("time on ") :]
    line = next(line for line in table.splitlines() if re.match(rf"│ {name} ", line))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_every_stage_has_a_time(check):
    result = check("--set", "cluster.num_cpus=4", "--price", "machine=2.5")
    assert result.exit_code == 0, result.output
    assert "time on this machine, 4 CPUs" in result.output and cost.UNCALIBRATED in result.output
    for stage in ("nli", "translate", "score", "triplets", "cloze", "train", "evaluate", "index", "all"):
        cells = row(result.output, stage)
        assert len(cells) == 6 and all(re.fullmatch(r"[\d.]+ (s|minutes|hours)", cell) for cell in cells[1:]), cells
    money = [float(cell) for cell in row(result.output, "money")[1:] if cell]
    assert len(money) == 4 and money[1] >= money[-1] > 0


def test_a_cluster_that_a_file_describes(check):
    result = check("--cluster", ROOT / "cluster.yaml", "--price", "head=1", experiment=PAPER)
    assert result.exit_code == 0, result.output
    assert row(result.output, "translate")[1] == "not known" and row(result.output, "all")[1].startswith("over ")
    assert "no rate of facebook/mbart-large-50-many-to-many-mmt on a GPU is known: run nlift calibrate" in result.output
    assert "stanfordnlp/snli is not here: 550,152 rows are assumed" in result.output
    assert "training takes 1 of 4 GPUs" in result.output and cost.STARTING in result.output


def test_the_paper_is_not_for_two_cpus(check):
    output = check("--set", "cluster.num_cpus=2", experiment=PAPER).output
    assert re.search(r"[\d.]+ (days|weeks) on 2 CPUs makes little sense, translate takes the most of it", output)
    assert "allegro/herbert-base-cased: estimated, by its size beside that of embedded" in output
    fewer = check("--set", "cluster.num_cpus=2", "--rows", "1000", experiment=PAPER).output
    assert "1,000 rows are assumed" in fewer and "makes little sense" not in fewer


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--price", "gpu=1"], "--price gpu=1: expected NODE_TYPE=PER_HOUR with one of machine"),
        (["--price", "machine=-1"], "--price machine=-1: found -1, expected the price of an hour"),
        (["--cluster", "nothing.yaml"], "nothing.yaml: not readable"),
        (["--cluster", DEMO], "demo.yaml:2: no available_node_types"),
    ],
)
def test_mistakes_are_one_line(check, arguments, line):
    result = check(*arguments)
    errors = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert result.exit_code == 2 and len(errors) == 1 and line in errors[0], result.output


@pytest.mark.parametrize("content", ["{", '{"version": 99}'])
def test_damaged_rates_are_one_line(check, content):
    rates.rates_file().parent.mkdir(parents=True)
    rates.rates_file().write_text(content)
    result = check()
    (error,) = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert result.exit_code == 2 and "rates.json" in error and "remove it" in error
    result = CliRunner().invoke(app, ["calibrate"])
    assert result.exit_code == 2 and "remove it" in result.output


def test_the_table_by_hand():
    def run(workers, shared_s):
        stages = (StageTime("translate", 10.0, 5.0, shared_s), StageTime("train", missing="train: no rate"))
        return Prediction(workers, stages, price_per_hour=36.0)

    machines = Machines("a machine", NodeType("machine", 2), is_here=True)
    table = cost.times_table(run(2, 45.0), [run(1, 85.0), run(2, 45.0)], machines)
    assert [column.name for column in table.columns] == ["stage", "as planned", "not shared", "1 CPU", "2 CPUs"]
    assert [r.cells for r in table.rows] == [
        ("translate", "60 s", "15 s", "100 s", "60 s"),
        ("train", "not known", "0 s", "not known", "not known"),
        ("all", "over 60 s", "15 s", "over 100 s", "over 60 s"),
        ("money", "over 0.60", "", "over 1.00", "over 0.60"),
    ]
