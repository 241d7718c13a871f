"""What the command line does with mistakes: one line, exit code 2, nothing written. No Ray is started."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from nlift import __version__
from nlift.cli import app
from nlift.data import sources

DEMO = Path(__file__).parents[1] / "jobs" / "experiments" / "demo.yaml"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def run_in(tmp_path):
    """Runs the demo with changes, output in a folder of its own."""

    def run(*changes, command="run"):
        overrides = [part for change in (f"output_dir={tmp_path / 'runs'}", *changes) for part in ("--set", change)]
        return call(command, DEMO, *overrides)

    return run


def assert_one_line(result, *parts):
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "Traceback" not in result.output
    for part in parts:
        assert str(part) in lines[0]


def test_version():
    assert __version__ in call("--version").output


COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_it_takes(name):
    command = COMMANDS[name]
    example = command.epilog.removeprefix("Example: ")
    words = shlex.split(example)
    assert words[:2] == ["nlift", name] and command.make_context(name, words[2:]).params
    assert example in " ".join(call(name, "--help").output.split())


def test_completion_of_the_shell(tmp_path):
    """Installed into a home of its own by bash, then asked as bash asks at the tab key."""
    rooms = [str(DEMO.parents[2] / room) for room in ("platform", "serve")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    known = {"HOME": str(tmp_path), "PATH": path, "PYTHONPATH": os.pathsep.join(rooms)}

    def bash(line):
        return subprocess.run(["bash", "-c", line], env=known, capture_output=True, text=True, check=True).stdout

    assert "completion installed" in bash("nlift --install-completion; exit $?")
    (script,) = (tmp_path / ".bash_completions").glob("nlift*")
    assert str(script) in (tmp_path / ".bashrc").read_text()
    asked = f"source {script}; complete -p nlift; COMP_WORDS=(nlift {{}}); COMP_CWORD={{}}; _nlift_completion nlift; "
    asked += 'printf "%s\\n" "${{COMPREPLY[@]}}"'
    assert set(bash(asked.format("re", 1)).split()) >= {"complete", "report"}
    assert "--no-overwrite" in bash(asked.format("run --no", 2))


def test_a_missing_experiment():
    assert_one_line(call("run", "nothing.yaml"), "nothing.yaml", "no such experiment file")


def test_a_misspelt_key(tmp_path):
    text = DEMO.read_text().replace("  learning_rate:", "  learnig_rate:")
    (tmp_path / "x.yaml").write_text(text)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "learnig_rate" in row)
    assert_one_line(call("check", tmp_path / "x.yaml"), f"x.yaml:{line}", "did you mean learning_rate?")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["train.epochs=many"], ["train.epochs", "many"]),
        (["nli.path=nothing.tsv"], ["nothing.tsv", "no such file"]),
        (["nli.path=nothing/*.tsv"], ["matches no file"]),
        (["nli.path=embedded:nothing"], ["no embedded data", "snli"]),
        (["index.corpus=nothing.jsonl"], ["nothing.jsonl"]),
        (["train.base_model=./nothing"], ["./nothing", "no such folder"]),
        (["output_dir=carrier://pigeon/x"], ["output_dir carrier://pigeon/x"]),
        (["train.dev=nothing"], ["train.dev", "poquad_pl"]),
        (["search.language=polish"], ["unknown language 'polish'", "pl"]),
        (["search.language=uk", "search.analyzer=stem"], ["the analyzer stem has no uk", "pl"]),
        (["search.language=pl", "search.analyzer=bigrams"], ["the analyzer bigrams has no pl", "th"]),
        (["search.analyzer=lemma"], ["search.analyzer", "lemma", "stem"]),
        (["search.alpha=1.5"], ["search.alpha", "1.5"]),
        (["search.alpha=most"], ["search.alpha", "most"]),
        (["search.alpha=-0.1"], ["search.alpha", "-0.1"]),
        (["search.fusion=magic"], ["search.fusion", "rrf"]),
        (["search.mode=fast"], ["search.mode", "hybrid"]),
        (["search.depth=0"], ["search.depth", "0"]),
        (
            ["evaluate.sets=[{name: poquad_pl, kind: sts, path: 'embedded:stsb_pl', language: pl}]", "train.dev=null"],
            ["only retrieval has a language"],
        ),
        (
            ["evaluate.sets=[{name: poquad_pl, kind: retrieval, path: 'embedded:poquad_pl', language: polish}]"],
            ["evaluate.sets 'poquad_pl'", "unknown language 'polish'"],
        ),
        (["nonsense"], ["key=value"]),
    ],
)
def test_wrong_values(run_in, tmp_path, changes, parts):
    assert_one_line(run_in(*changes), *parts)
    assert not (tmp_path / "runs").exists()


def test_an_nli_file_without_labels(run_in, tmp_path):
    (tmp_path / "nli.tsv").write_text("premise\thypothesis\nA dog.\tAn animal.\n")
    assert_one_line(run_in(f"nli.path={tmp_path / 'nli.tsv'}"), "nli.tsv:1", "no column 'label'", "premise, hypothesis")


def test_an_empty_corpus(run_in, tmp_path):
    (tmp_path / "corpus.jsonl").write_text("")
    assert_one_line(run_in(f"index.corpus={tmp_path / 'corpus.jsonl'}"), "corpus.jsonl", "the corpus is empty")
    assert not (tmp_path / "runs").exists()


def test_a_corpus_without_a_line_of_json(run_in, tmp_path):
    (tmp_path / "corpus.jsonl").write_text("{broken\n{too\n")
    printed = run_in(f"index.corpus={tmp_path / 'corpus.jsonl'}")
    assert_one_line(printed, "corpus.jsonl", "no usable document in 2 rows", "not JSON")


def test_qrels_that_are_no_number(run_in, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(sources.EMBEDDED / "data" / "osm_places_pl", folder)
    with (folder / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q1\tnowhere\t0.5\n")
    lines = len((folder / "qrels" / "test.tsv").read_text().splitlines())
    sets = yaml.safe_dump([{"name": "poquad_pl", "kind": "retrieval", "path": str(folder)}], default_flow_style=True)
    assert_one_line(run_in(f"evaluate.sets={sets}"), f"test.tsv:{lines}", "score '0.5' is no whole number")


@pytest.mark.parametrize(
    ("key", "kind", "file"),
    [
        ("train.base_model", "encoder", "model.safetensors"),
        ("translate.model", "translator", "model.safetensors"),
        ("score.model", "comet", "checkpoints/model.ckpt"),
    ],
)
def test_a_corrupt_checkpoint(run_in, tmp_path, key, kind, file):
    shutil.copytree(sources.EMBEDDED / kind, tmp_path / kind)
    whole = (tmp_path / kind / file).read_bytes()
    (tmp_path / kind / file).write_bytes(whole[: len(whole) // 2])
    assert_one_line(run_in(f"{key}={tmp_path / kind}"), file, "corrupt or cut off")
    assert not (tmp_path / "runs").exists()


def test_a_model_folder_without_weights(run_in, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert_one_line(run_in(f"train.base_model={tmp_path}"), tmp_path, "no weights there")


@pytest.fixture
def no_ray(monkeypatch):
    """Whatever starts Ray fails with an error of ours."""
    monkeypatch.setattr("nlift.cluster.connect", lambda *_: 1 / 0)


def test_nothing_to_evaluate(no_ray):
    assert_one_line(call("evaluate", DEMO), "nothing to measure", "--encoder or --run")


def test_a_run_to_judge_that_is_none_is_told_before_anything_is_measured(no_ray, tmp_path):
    (tmp_path / "bad.trec").write_text("q1 Q0 d1 1 high tag\n")
    into = f"output_dir={tmp_path}"
    for given, said in (
        (f"poquad_pl={tmp_path / 'bad.trec'}", "bad.trec:1: score 'high'"),
        ("nowhere=x.trec", "one of the retrieval sets: poquad_pl"),
    ):
        assert_one_line(call("evaluate", DEMO, "--set", into, "--run", given), said)


def test_an_encoder_to_evaluate_that_is_not_there(no_ray, tmp_path):
    assert_one_line(call("evaluate", DEMO, "--encoder", tmp_path / "nothing"), "nothing", "no such folder")


def test_a_folder_that_is_not_ours(run_in, tmp_path):
    theirs = tmp_path / "runs" / "demo" / "train"
    theirs.mkdir(parents=True)
    (theirs / "thesis.tex").write_text("mine")
    assert_one_line(run_in(), theirs, "nlift did not write it")
    assert [path.name for path in theirs.iterdir()] == ["thesis.tex"]


def test_an_output_dir_that_is_a_file(run_in, tmp_path):
    (tmp_path / "runs").write_text("")
    assert_one_line(run_in(), "a file stands where a folder is needed")


def test_a_relative_output_dir_in_a_job(monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert_one_line(call("run", DEMO), "output_dir runs", "must be absolute")
    absolute = ("--set", "output_dir=/tmp/runs", "--set", "cluster.memory_dir=memories")
    assert_one_line(call("run", DEMO, *absolute), "cluster.memory_dir memories", "must be absolute")


def test_search_where_no_bundle_is(tmp_path):
    assert_one_line(call("search", tmp_path, "pies"), tmp_path, "neither bundle nor bundles folder")


def test_serve_where_no_bundle_is(tmp_path):
    assert_one_line(call("serve", tmp_path / "nothing"), "nothing", "no such folder")


def test_promote_an_unknown_version(tmp_path):
    assert_one_line(call("promote", tmp_path, "v9"), "no version 'v9'")


def test_index_without_all_it_needs():
    assert_one_line(call("index", "--corpus", "x.jsonl"), "--encoder")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nothing", ["--encoder", "no such folder"]),
        ("empty", ["no config.json there"]),
        ("cut", ["cut/model.safetensors", "corrupt or cut off"]),
    ],
)
def test_an_index_of_an_encoder_that_is_none(no_ray, tmp_path, name, parts):
    (tmp_path / "empty").mkdir()
    shutil.copytree(sources.EMBEDDED / "encoder", tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"{}")
    given = ("--corpus", "embedded:poquad_pl", "--encoder", tmp_path / name, "--output", tmp_path / "bundles")
    assert_one_line(call("index", *given), *parts)
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize("language", ["polish", "xx"])
def test_an_index_in_a_language_that_is_none(no_ray, tmp_path, language):
    given = ("--corpus", "embedded:poquad_pl", "--encoder", sources.EMBEDDED / "encoder", "--output", tmp_path / "out")
    assert_one_line(call("index", *given, "--language", language), "embedded:poquad_pl", "unknown language")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--set", "search.alpha=2"], "search.alpha: found 2, expected auto or a number from 0 to 1"),
        (["--set", "search.alhpa=0.2"], "did you mean alpha?"),
        (["--set", "train.epochs=2"], "only keys of index and search"),
        (["--kind", "magic"], "expected auto, flat, hnsw, ivf_flat, ivf_pq"),
        (["--language", ""], "unknown language ''"),
    ],
)
def test_settings_of_an_index_without_an_experiment(no_ray, tmp_path, more, part):
    given = ("--corpus", "embedded:poquad_pl", "--encoder", sources.EMBEDDED / "encoder", "--output", tmp_path / "out")
    assert_one_line(call("index", *given, *more), part)
    assert not (tmp_path / "out").exists()


def test_an_experiment_says_its_corpus_itself():
    assert_one_line(call("index", DEMO, "--corpus", "embedded:poquad_pl"), "an EXPERIMENT says --corpus")


def test_norwegian_is_a_language_and_not_a_no(monkeypatch):
    monkeypatch.setattr("nlift.pipeline.run", lambda experiment, only: 1 / int(experiment.search.language != "no"))
    assert isinstance(call("index", DEMO, "--language", "no").exception, ZeroDivisionError)


def test_an_unknown_mode(tmp_path):
    assert_one_line(call("search", tmp_path, "pies", "--mode", "fast"), "--mode fast", "auto, dense, lexical or hybrid")


def test_our_own_failures_are_not_dressed_up(monkeypatch):
    monkeypatch.setattr("nlift.report.plan.show", lambda *_: 1 / 0)
    result = call("check", DEMO)
    assert result.exit_code == 1 and isinstance(result.exception, ZeroDivisionError)


def test_a_report_of_no_run(tmp_path):
    assert_one_line(call("report", tmp_path / "gone"), "gone", "no such folder")
    assert_one_line(call("report", tmp_path), "not a run's folder")
    assert_one_line(call("report", tmp_path, tmp_path / "gone"), "not a run's folder")
    assert_one_line(call("report", tmp_path, "--output", tmp_path / "gone" / "x.html"), "--output", "no such folder")
    assert not list(tmp_path.iterdir())


def test_a_report_of_a_run_that_has_nothing_to_show(tmp_path):
    shutil.copy(DEMO, tmp_path / "experiment.yaml")
    assert_one_line(call("report", tmp_path), "nothing to show yet")
