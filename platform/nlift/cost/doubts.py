"""What makes no sense in a plan, said to whoever is about to run it."""

import math
from collections.abc import Iterator

from nlift.cost.machines import Machines
from nlift.cost.model_size import size_of
from nlift.cost.prediction import Prediction, Predictor
from nlift.pipeline.workload import Pass
from nlift.visible import size_text

LONG_S = 2 * 86_400.0
WORTH_S = 60.0  # a stage that workers share for less is not worth a line
TRAINED_BYTES = 16  # of a parameter: itself, a gradient and two moments
USED_BYTES = 4
UNITS = {"weeks": 7 * 86_400.0, "days": 86_400.0, "hours": 3600.0, "minutes": 60.0}


def doubts(predictor: Predictor, planned: Prediction) -> Iterator[str]:
    """A line for each thing that makes no sense."""
    machines, train = predictor.machines, predictor.experiment.train
    places = f"{machines.places} {machines.unit}{'s' if machines.places > 1 else ''}"
    if planned.seconds > LONG_S:
        slowest = max(planned.stages, key=lambda stage: stage.seconds).name
        how = f"{duration(planned.seconds)} on {places} makes little sense, {slowest} takes the most of it"
        yield f"{how}: take {'more of them' if machines.has_gpus else 'GPUs'}, smaller models, or nli.limit"
    if train.num_workers > machines.places:
        yield f"train.num_workers {train.num_workers}: there are {places}"
    loads = {stage.name: load for stage, load in predictor.workloads.items()}
    share_cores = machines.is_here and not machines.has_gpus  # then each worker has several
    if "train" in loads and train.num_workers < machines.places and not share_cores:
        yield _idle(train.global_batch_size, train.num_workers, machines)
    for time in planned.stages:
        for work in loads[time.name].passes:
            if work.use != "train" and work.most_workers < machines.places and time.shared_s > WORTH_S:
                yield f"{time.name}: no more than {math.floor(work.most_workers)} of {places} have something to do"
            line = too_large(work, machines)
            if line is not None:
                yield f"{time.name}: {line}"


def _idle(batch: int, num_workers: int, machines: Machines) -> str:
    places = machines.places
    line = f"training takes {num_workers} of {places} {machines.unit}s, as train.num_workers says"
    if batch % places:
        fitting = next(count for count in range(places, 0, -1) if batch % count == 0)
        line += f"; train.global_batch_size {batch} splits over {fitting} of them at most"
    return line


def too_large(work: Pass, machines: Machines) -> str | None:
    """What is said of a model whose copies do not fit in a machine's memory, where both are known."""
    size = size_of(work.model)
    nodes = [node for node in (machines.head, *machines.others) if (node.gpus if machines.has_gpus else node.cpus)]
    memory = min((node.memory for node in nodes if node.memory is not None), default=None)
    if size is None or memory is None or (machines.has_gpus and not machines.is_here):
        return None  # of a cluster the machines' memory is known, that of their GPUs is not
    copies = 1 if machines.has_gpus else int(min(machines.on_a_node, max(1.0, work.most_workers)))
    wanted = int(copies * size.parameters * (TRAINED_BYTES if work.use == "train" else USED_BYTES))
    if wanted <= memory:
        return None
    what = f"{copies} copies of {work.model.name} take" if copies > 1 else f"{work.model.name} takes"
    return f"{what} {size_text(wanted)}, and a machine has {size_text(memory)}"


def duration(seconds: float) -> str:
    """A time as people say it: in the largest unit of which there are two."""
    unit = next((unit for unit, length_s in UNITS.items() if seconds >= 2 * length_s), None)
    if unit is None:
        return f"{seconds:.0f} s"
    return f"{seconds / UNITS[unit]:.1f} {unit}"
