"""Trains or sweeps an experiment given as JSON: run, and killed, by test_train.py and test_tune.py.

python run_experiment.py train|tune EXPERIMENT
"""

import sys
from pathlib import Path

from nlift import pipeline
from nlift.config import Experiment


def main():
    experiment = Experiment.model_validate_json(Path(sys.argv[2]).read_text())
    if sys.argv[1] == "tune":
        pipeline.run_tune(experiment)
    else:
        pipeline.run(experiment, ["nli", "triplets", "train"])


if __name__ == "__main__":
    main()
