"""How long a run takes, stage by stage: its work, through rates, over machines."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from nlift import pipeline
from nlift.config import Experiment
from nlift.cost.machines import Machines
from nlift.cost.rates import Device, Rates, Speed, cpu_name
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.workload import Pass, Workload


@dataclass(frozen=True)
class StageTime:
    """What a stage takes, seconds; `missing` says which rate is not known, so that it takes longer than that."""

    name: str
    start_s: float = 0.0
    """Ray, workers and models start."""
    serial_s: float = 0.0
    """What one process does."""
    shared_s: float = 0.0
    """What workers share."""
    basis: tuple[str, ...] = ()
    """What the rates rest on."""
    missing: str | None = None

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.start_s + self.serial_s + self.shared_s


@dataclass(frozen=True)
class Prediction:
    """A run on so many workers."""

    workers: int
    stages: tuple[StageTime, ...]
    price_per_hour: float | None = None

    @property
    def seconds(self) -> float:
        """All stages, one after the other."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def money(self) -> float | None:
        """What the machines cost for so long; None where one has no price."""
        return None if self.price_per_hour is None else self.price_per_hour * self.seconds / 3600

    @property
    def missing(self) -> list[str]:
        """The rates that are not known."""
        return list(dict.fromkeys(stage.missing for stage in self.stages if stage.missing))


@dataclass(frozen=True)
class Predictor:
    """Makes seconds of an experiment's work.

    Attributes:
        experiment: Whose stages; those that are done already take no time.
        size: How much its data is, counted or assumed.
        machines: Where it is to run.
        rates: In the order in which they count: measured here, then those that come with nlift.
    """

    experiment: Experiment
    size: DataSize
    machines: Machines
    rates: Sequence[Rates]

    def planned(self) -> Prediction:
        """The run as it is set, on all machines."""
        return self._predicted(self.experiment.train.num_workers, self.machines.places)

    def with_workers(self, workers: int) -> Prediction:
        """The run on so many workers; as many of them train as the batch can be split over."""
        batch = self.experiment.train.global_batch_size
        training = next(count for count in range(min(workers, batch), 0, -1) if batch % count == 0)
        return self._predicted(training, workers)

    def scaled(self) -> list[Prediction]:
        """The run on 1, 2, 4, ... and all workers."""
        most, counts = self.machines.places, [1]
        while counts[-1] * 2 < most:
            counts.append(counts[-1] * 2)
        return [self.with_workers(count) for count in dict.fromkeys([*counts, most])]

    def undone(self) -> list[Stage]:
        """The stages that a run would take, those left out that are done."""
        return [stage for stage in pipeline.stages(self.experiment) if not stage.folder(self.experiment).done()]

    @cached_property
    def workloads(self) -> dict[Stage, Workload]:
        """What each of these stages has to do, in order; read and counted once, which takes seconds."""
        return {stage: stage.workload(self.experiment, self.size) for stage in self.undone()}

    def _predicted(self, training: int, workers: int) -> Prediction:
        """The run on so many workers, of which so many train."""
        times, ray_s = [], self.rates[0].ray_start_s if self.machines.is_here else 0.0
        for stage, load in self.workloads.items():
            time = self._time(stage, load, training, workers)
            if stage.needs_ray:
                time, ray_s = replace(time, start_s=time.start_s + ray_s), 0.0
            times.append(time)
        return Prediction(workers, tuple(times), self.machines.price(workers))

    def _time(self, stage: Stage, load: Workload, training: int, workers: int) -> StageTime:
        start_s = shared_s = 0.0
        basis, missing = [], None
        for work in load.passes:
            if not work.tokens:
                continue
            most_workers = training if work.use == "train" else work.most_workers
            sharing = max(1, int(min(workers, most_workers)))
            speed = self._speed(work, workers, sharing)
            if speed is None:
                missing = f"{stage.name}: no rate of {work.model.name} on a {self.machines.unit}"
                continue
            start_s += speed.start_s
            shared_s += (work.tokens / speed.tokens_per_s + work.cpu_s) / min(max(1.0, most_workers), workers)
            basis.append(speed.basis)
        return StageTime(stage.name, start_s, load.serial_s, shared_s, tuple(dict.fromkeys(basis)), missing)

    def _speed(self, work: Pass, workers: int, sharing: int) -> Speed | None:
        """What one of the workers that share some work does of it."""
        device: Device = "gpu" if self.machines.has_gpus else "cpu"
        threads = 1
        if work.use == "train" and device == "cpu":
            equal = workers // sharing if self.machines.is_here else 1
            threads = self.experiment.train.cpus_per_worker or max(1, equal)
        beside = max(1, min(sharing, self.machines.on_a_node // threads))
        hardware = cpu_name() if self.machines.is_here and device == "cpu" else ""
        speeds = (rates.speed(work, device, hardware, threads, beside) for rates in self.rates)
        return next((speed for speed in speeds if speed is not None), None)
