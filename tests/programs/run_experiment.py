"""Runs, trains or sweeps an experiment given as JSON: started, and killed, by test_train.py and its like.

python run_experiment.py run|train|tune EXPERIMENT [WORKERS_CACHE]

Ray's workers keep their copies of what is in buckets in another folder, as those of other machines do, where one is
given.
"""

import os
import sys
from pathlib import Path

from nlift import cluster, pipeline
from nlift.config import Experiment


def main():
    experiment = Experiment.model_validate_json(Path(sys.argv[2]).read_text())
    if len(sys.argv) > 3:
        own = os.environ["XDG_CACHE_HOME"]
        os.environ["XDG_CACHE_HOME"] = sys.argv[3]
        cluster.connect(experiment.cluster)
        os.environ["XDG_CACHE_HOME"] = own
    if sys.argv[1] == "tune":
        pipeline.run_tune(experiment)
    else:
        pipeline.run(experiment, ["nli", "triplets", "train"] if sys.argv[1] == "train" else None)


if __name__ == "__main__":
    main()
