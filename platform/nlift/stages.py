"""The stages that make training data, and how any stage is run."""

import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from nlift import cloze, cluster, mine, nli, score, translate, triplets
from nlift.artifacts import Stage, read_manifest
from nlift.config import Experiment

NO_RAY = {"nli", "triplets", "cloze"}


@dataclass(frozen=True)
class Ran:
    """What became of a stage: `seconds` is 0 where it was there already."""

    name: str
    seconds: float
    manifest: dict[str, Any]


def before_training(experiment: Experiment) -> dict[str, ModuleType]:
    """The stages up to the rows that training reads, in order; the last one writes them."""
    chosen: dict[str, ModuleType] = {"nli": nli}
    if experiment.translate is not None:
        chosen["translate"] = translate
    if experiment.score is not None:
        chosen["score"] = score
    chosen["triplets"] = triplets
    if experiment.mine is not None:
        chosen["mine"] = mine
    if experiment.cloze is not None:
        chosen["cloze"] = cloze
    return chosen


def run_stage(experiment: Experiment, name: str, module: ModuleType, overwrite: bool) -> Ran:
    """One stage: nothing where its folder holds this result already, else computed and put there."""
    stage: Stage = module.stage(experiment)
    if stage.done():
        manifest = read_manifest(stage.folder)
        print(f"  {name:<9} done already ({manifest['rows_out']} rows)", flush=True)
        return Ran(name, 0.0, manifest)
    began = time.perf_counter()
    with stage.writing(overwrite) as output:
        if name not in NO_RAY:
            cluster.connect(experiment.cluster)
        with cluster.user_errors():
            module.write(experiment, output)
    manifest = read_manifest(stage.folder)
    seconds = time.perf_counter() - began
    set_aside = f", {manifest['quarantined']} quarantined" if manifest["quarantined"] else ""
    print(f"  {name:<9} {manifest['rows_out']} rows{set_aside} in {seconds:.0f} s", flush=True)
    return Ran(name, seconds, manifest)
