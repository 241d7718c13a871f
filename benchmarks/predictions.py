"""Predicted beside measured times: rates are measured, experiments predicted and then run on one and two CPUs.

Every run is a process with a Ray of its own. `--e5 FOLDER` adds an experiment with a larger encoder of that folder.
The machine should be quiet: its load before each run is printed. `uncalibrated` is what `nlift check` says without
`nlift calibrate`, by what ships.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from nlift import pipeline
from nlift.config import Experiment, load_experiment
from nlift.cost import rates
from nlift.cost.machines import at_hand
from nlift.cost.prediction import Predictor
from nlift.pipeline.stage_folder import read_manifest
from nlift.pipeline.survey import survey

DEMO = Path(__file__).parents[1] / "jobs" / "experiments" / "demo.yaml"
SMALL = ["nli.limit=4000", "cloze=null", "train.epochs=1", "train.global_batch_size=128", "train.base_share=0"]
SMALL += ["train.max_length=32", "train.dev=null", "tune=null", "index.corpus=embedded:osm_places_pl"]
LARGER = ["nli.limit=1500", "cloze=null", "train.epochs=1", "train.global_batch_size=64", "train.base_share=0"]
LARGER += ["train.max_length=32", "train.learning_rate=2.0e-5", "train.dev=null", "tune=null"]
LARGER += ["index.corpus=embedded:osm_places_pl"]
LARGER += ["evaluate.sets=[{name: stsb_pl, kind: sts, path: 'embedded:stsb_pl'}]"]


def experiments(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of the experiments that are wanted."""
    changes = {"small": SMALL, "demo": ["tune=null"], "e5": [*LARGER, f"train.base_model={options.e5}"]}
    for name in options.experiments or (["small", "demo"] + (["e5"] if options.e5 else [])):
        path = folder / f"{name}.yaml"
        made = load_experiment(DEMO, [f"name={name}", *changes[name]])
        path.write_text(yaml.safe_dump(made.model_dump(mode="json")))
        yield name, path


def nlift(*arguments: str) -> None:
    """Run a command of nlift."""
    done = subprocess.run([sys.executable, "-m", "nlift.cli", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"nlift {' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")


def predicted(experiment: Experiment) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each stage by the rates measured here, and by those that ship."""
    measured, shipped = rates.known()
    size, machines = survey(experiment), at_hand(experiment)
    kinds = ([measured, shipped] if measured is not None else [shipped], [shipped])
    runs = [Predictor(experiment, size, machines, known).planned() for known in kinds]
    calibrated, uncalibrated = ({stage.name: stage.seconds for stage in run.stages} for run in runs)
    return calibrated, uncalibrated


def compare(name: str, path: Path, workers: int, folder: Path) -> float:
    """Predict and run an experiment, print both; how far the sum was off, as a share of what was measured."""
    changes = [f"output_dir={folder / str(workers)}", f"cluster.num_cpus={workers}", f"train.num_workers={workers}"]
    experiment = load_experiment(path, changes)
    calibrated, uncalibrated = predicted(experiment)
    load = os.getloadavg()[0]
    nlift("run", str(path), *(part for change in changes for part in ("--set", change)))
    measured = {stage.name: read_manifest(stage.path(experiment))["seconds"] for stage in pipeline.stages(experiment)}
    print(f"\n{name}, {workers} worker(s), load {load:.1f} before")
    print(f"| {'stage':<9} | predicted, s | measured, s | error | uncalibrated, s |\n|---|---:|---:|---:|---:|")
    for stage, seconds in measured.items():
        row(stage, calibrated[stage], seconds, uncalibrated[stage])
    total = sum(measured.values())
    row("all", sum(calibrated.values()), total, sum(uncalibrated.values()))
    return sum(calibrated.values()) / total - 1


def row(name: str, predicted_s: float, measured_s: float, uncalibrated_s: float) -> None:
    """Print a line of the table."""
    error = f"{predicted_s / measured_s - 1:+.0%}" if measured_s >= 1 else ""
    print(f"| {name:<9} | {predicted_s:.1f} | {measured_s:.1f} | {error} | {uncalibrated_s:.1f} |", flush=True)


def main() -> None:
    """Print a table for each experiment and number of workers, then the errors of the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--e5", metavar="FOLDER", help="a folder of a larger encoder")
    parser.add_argument("--experiments", nargs="+", choices=["small", "demo", "e5"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--no-calibration", action="store_true", help="take the rates that are there")
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as name:
        folder, errors = Path(name), {}
        if not options.no_calibration:
            os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
            nlift("calibrate", str(DEMO))
        for experiment, path in experiments(options, folder):
            if experiment == "e5" and not options.no_calibration:
                nlift("calibrate", str(path))
            for workers in options.workers:
                errors[f"{experiment}, {workers} worker(s)"] = compare(experiment, path, workers, folder)
        print("\nerror of the sum")
        for run, error in errors.items():
            print(f"  {run:<24} {error:+.0%}")


if __name__ == "__main__":
    main()
