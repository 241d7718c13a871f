"""Trains an encoder of an experiment given as JSON: run, and killed, by test_train.py.

python train_run.py EXPERIMENT
"""

import json
import sys
from pathlib import Path

from nlift import pipeline
from nlift.config import Experiment


def main():
    experiment = Experiment.model_validate(json.loads(Path(sys.argv[1]).read_text()))
    pipeline.run(experiment, ["nli", "triplets", "train"])


if __name__ == "__main__":
    main()
