"""Runs the sweep of an experiment given as JSON: run, and killed, by test_tune.py.

python tune_run.py EXPERIMENT
"""

import json
import sys
from pathlib import Path

from nlift import pipeline
from nlift.config import Experiment


def main():
    pipeline.run_tune(Experiment.model_validate(json.loads(Path(sys.argv[1]).read_text())))


if __name__ == "__main__":
    main()
