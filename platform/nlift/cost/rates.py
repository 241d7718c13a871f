"""What was measured of models on machines, kept as JSON, and what follows from it for another model or machine."""

import json
import math
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from nlift.cost.model_size import ModelSize, size_of
from nlift.data import sources
from nlift.data.files import write_json
from nlift.errors import ArtifactError
from nlift.pipeline.workload import NamedModel, Pass

VERSION = 1
SHIPPED = Path(__file__).with_name("shipped_rates.json")  # the embedded models on two cores
LOADED_BYTES_PER_S = 5e8  # what a larger model takes longer to load
FLOAT = 4  # bytes of a weight
Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Rate:
    """How fast a worker puts tokens through a model, and how long it takes to start."""

    use: str
    model: str
    content: str
    """The model's fingerprint; its name and revision where it is no folder."""
    settings: str
    device: str
    hardware: str
    """Name of the CPU or GPU."""
    threads: int
    """Of a worker."""
    beside: int
    """Workers on the machine at the same time, this one included."""
    tokens_per_s: float
    """Of one worker."""
    start_s: float
    """From asking for the workers until all have loaded the model."""
    operations: float
    """Of a token, forward; 0 where the model's shape is not known."""
    parameters: float

    @property
    def key(self) -> tuple[object, ...]:
        """What it was measured of: a newer one replaces it."""
        return tuple(getattr(self, field.name) for field in fields(self)[:8] if field.name != "model")


@dataclass(frozen=True)
class Speed:
    """What a worker is expected to do, and what that rests on."""

    tokens_per_s: float
    start_s: float
    basis: str
    """`measured`, `shipped`, or how it was worked out."""


@dataclass(frozen=True)
class Rates:
    """All that was measured, and what it takes to start Ray on this machine."""

    measured: tuple[Rate, ...]
    ray_start_s: float
    is_shipped: bool = False

    def merged(self, newer: Iterable[Rate], ray_start_s: float | None = None) -> "Rates":
        """These rates, those that were measured again replaced."""
        by_key = {rate.key: rate for rate in (*self.measured, *newer)}
        return Rates(tuple(by_key.values()), self.ray_start_s if ray_start_s is None else ray_start_s)

    def speed(self, work: Pass, device: Device, hardware: str, threads: int, beside: int) -> Speed | None:
        """What a worker does of some work on a machine; None where nothing like it was measured.

        The same model measured on the same hardware counts most; else a model of the same kind, by arithmetic.
        """
        known = [rate for rate in self.measured if rate.use == work.use and rate.device == device]
        size, content = size_of(work.model), content_of(work.model)
        operations = size.operations(beams_of(work.settings)) if size is not None else 0.0

        def distance(rate: Rate) -> tuple[float, ...]:
            return (
                rate.content != content,
                abs(math.log(rate.operations / operations)) if operations and rate.operations else 0.0,
                rate.settings != work.settings,
                rate.hardware != hardware,
                abs(math.log(rate.threads / threads)),
                abs(math.log(rate.beside / beside)),
            )

        nearest = min(known, key=distance, default=None)
        if nearest is None:
            return None
        return self._scaled(nearest, work, content, size, operations, threads)

    def _scaled(
        self, rate: Rate, work: Pass, content: str, size: ModelSize | None, operations: float, threads: int
    ) -> Speed | None:
        tokens_per_s, start_s = rate.tokens_per_s * threads / rate.threads, rate.start_s
        basis = "shipped" if self.is_shipped else "measured"
        if rate.content != content:
            if size is None or not rate.operations:
                return None
            tokens_per_s *= rate.operations / operations
            start_s += max(0.0, size.parameters - rate.parameters) * FLOAT / LOADED_BYTES_PER_S
            basis = f"{work.model.name}: estimated, by its size beside that of {rate.model}"
        elif rate.settings != work.settings and rate.operations and operations:
            tokens_per_s *= rate.operations / operations  # more beams
        return Speed(tokens_per_s, start_s, basis)


def beams_of(settings: str) -> int:
    """The beams that a translator's settings speak of; 1 of other models."""
    words = settings.split()
    return int(words[-2]) if words[-1:] == ["beams"] else 1


def content_of(model: NamedModel) -> str:
    """What a rate knows a model by."""
    return sources.model_fingerprint(model.name, model.kind)


def cpu_name() -> str:
    """The name of this machine's CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def rates_file() -> Path:
    """Where rates are kept on this machine."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "nlift" / "rates.json"


def read(path: Path) -> Rates:
    """The rates of a file. Raises ArtifactError where it is damaged, or of another version of nlift."""
    anew = "remove it, and `nlift calibrate` measures anew"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtifactError(f"{path}: not a file of rates; {anew}") from None
    if version != VERSION:
        raise ArtifactError(f"{path}: rates of version {str(version)[:20]}, expected {VERSION}; {anew}")
    try:
        rates = Rates(tuple(Rate(**row) for row in content["rates"]), float(content["ray_start_s"]))
        _check(rates)
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(f"{path}: a rate in it is damaged; {anew}") from None
    return rates


def _check(rates: Rates) -> None:
    """Raise ValueError or TypeError for a number that is none, or that no measurement gives."""
    for rate in rates.measured:
        positive = (rate.tokens_per_s, rate.threads, rate.beside)
        others = (rate.start_s, rate.operations, rate.parameters)
        if not all(math.isfinite(value) and value > 0 for value in positive):
            raise ValueError
        if not all(math.isfinite(value) and value >= 0 for value in others):
            raise ValueError
        if not all(isinstance(getattr(rate, field.name), str) for field in fields(Rate) if field.type in (str, "str")):
            raise TypeError
    if not (math.isfinite(rates.ray_start_s) and rates.ray_start_s >= 0):
        raise ValueError


def shipped() -> Rates:
    """The rates that come with nlift: of the embedded models on two cores."""
    rates = read(SHIPPED)
    return Rates(rates.measured, rates.ray_start_s, is_shipped=True)


def known() -> tuple[Rates | None, Rates]:
    """What was measured on this machine, None where nothing was; and what comes with nlift."""
    path = rates_file()
    return read(path) if path.exists() else None, shipped()


def save(rates: Rates, path: Path) -> None:
    """Write rates to a file, at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [asdict(rate) for rate in rates.measured]
    write_json(path, {"version": VERSION, "ray_start_s": rates.ray_start_s, "rates": rows})
