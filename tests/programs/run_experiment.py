"""Runs stages of an experiment given as JSON, or its sweep: run, and killed, by tests of training, sweeps and clusters.

python run_experiment.py all|tune|STAGE[,STAGE...] EXPERIMENT [--workers-cache FOLDER] [--log FILE --pace-s S]

With --workers-cache Ray's workers keep their copies of what is in buckets there, as those of other machines do. With
--log every row that goes through a model is written there by the model call itself: its node, its process and its key.
A call then takes S seconds longer, so that there is a moment to kill in, on a fast machine too.
"""

import argparse
import os
import time
from pathlib import Path

from nlift import cluster, pipeline
from nlift.config import Experiment
from nlift.models.comet import CometScorer
from nlift.models.translator import Translator
from nlift.pipeline import corpus_embedding, score, translate

parser = argparse.ArgumentParser()
parser.add_argument("what")
parser.add_argument("experiment", type=Path)
parser.add_argument("--workers-cache")
parser.add_argument("--log", default="")
parser.add_argument("--pace-s", type=float, default=0.0)
# in workers, which get LOG and PACE_S with the classes, there is no command line
given = parser.parse_args(None if __name__ == "__main__" else ["", ""])
LOG, PACE_S = given.log, given.pace_s

NAP_S = 0.01


def note(keys):
    """Append a line `node process key` for each."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    with open(LOG, "a") as stream:
        stream.write("".join(f"{node} {os.getpid()} {key}\n" for key in keys))
    for _ in range(round(PACE_S / NAP_S)):  # short ones: a process that is stopped now and then takes longer
        time.sleep(NAP_S)


class LoggingTranslator(Translator):
    def __call__(self, batch):
        note(batch["key"])
        return super().__call__(batch)


class LoggingScorer(CometScorer):
    def __call__(self, batch):
        note(batch["key"])
        return super().__call__(batch)


class LoggingEmbedder(corpus_embedding.ShardEmbedder):
    def _embed(self, start, end):
        note(range(start, end))
        return super()._embed(start, end)


def main():
    experiment = Experiment.model_validate_json(given.experiment.read_text())
    if LOG:
        translate.Translator, score.CometScorer = LoggingTranslator, LoggingScorer
        corpus_embedding.ShardEmbedder = LoggingEmbedder
    if given.workers_cache:
        own = os.environ["XDG_CACHE_HOME"]
        os.environ["XDG_CACHE_HOME"] = given.workers_cache
        cluster.connect(experiment.cluster)
        os.environ["XDG_CACHE_HOME"] = own
    if given.what == "tune":
        pipeline.run_tune(experiment)
    else:
        pipeline.run(experiment, None if given.what == "all" else given.what.split(","))


if __name__ == "__main__":
    main()
