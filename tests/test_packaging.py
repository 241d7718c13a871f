"""The wheel: built, installed into a clean environment, with command and embedded files."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """An environment with the wheel; its dependencies are seen, this checkout is not."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "pip"), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(clean, *command):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(clean / "bin" / command[0]), *command[1:]], cwd=clean, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_works(clean):
    shown = run(clean, "nlift", "--help")
    commands = ("check", "run", "tune", "evaluate", "index", "search", "serve", "promote")
    assert all(command in shown for command in commands)


def test_it_is_the_wheel_that_is_imported(clean):
    shown = run(clean, "python", "-c", "import nlift, nlift_serve, platform; print(nlift.__file__, platform.system())")
    assert str(clean) in shown and ("Linux" in shown or "Darwin" in shown)


def test_the_embedded_encoder_works(clean):
    code = "from nlift import Encoder; print(Encoder.load('embedded').encode(['pies']).shape[0])"
    assert run(clean, "python", "-c", code).split()[-1] == "1"


@pytest.mark.slow
def test_the_demos_experiment_runs_from_the_wheel(clean):
    """All stages with fewer pairs and one epoch; the workers of Ray import the wheel too."""
    shutil.copy(ROOT / "jobs" / "experiments" / "demo.yaml", clean)
    less = {"nli.limit": 200, "train.epochs": 1, "cloze.pairs_per_document": 1, "train.num_workers": 1}
    changes = [part for key, value in less.items() for part in ("--set", f"{key}={value}")]
    assert "bundle" in run(clean, "nlift", "run", "demo.yaml", *changes)
    assert "1. " in run(clean, "nlift", "search", "runs/demo/index", "stolica Polski")
    assert "nothing to do" in run(clean, "nlift", "run", "demo.yaml", *changes)


def test_embedded_files_are_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "translator/model.safetensors",
        "translator/sentencepiece.bpe.model",
        "encoder/model.safetensors",
        "encoder/tokenizer.json",
        "comet/checkpoints/model.ckpt",
        "comet/hparams.yaml",
        "data/snli.tsv",
        "data/poquad_pl/corpus.jsonl",
        "data/osm_places_pl/queries.jsonl",
        "data/stsb_pl.tsv",
    ):
        assert f"nlift/embedded/{name}" in names
    assert "nlift_serve/ui/index.html" in names
    pages = {
        f"nlift/report/{name}"
        for name in ("report.html.j2", "compare.html.j2", "study.html.j2", "draw.html.j2", "report.css")
    }
    pages.add("nlift/report/model_card.md.j2")
    assert {"nlift/py.typed", *pages} <= names
    assert not [name for name in names if "recipes" in name or name.startswith("tests")]


def test_the_embedded_models_stay_small():
    folder = ROOT / "platform" / "nlift" / "embedded"
    paths = (path for name in ("translator", "comet", "encoder") for path in (folder / name).rglob("*"))
    assert sum(path.stat().st_size for path in paths) <= 40e6
