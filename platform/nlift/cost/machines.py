"""The machines that a run gets: this one, a Ray cluster's, or those that a cluster.yaml describes; and their prices."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nlift import cluster
from nlift.config import Experiment
from nlift.errors import ConfigError
from nlift.training.memory import total_bytes
from nlift.yaml_keys import KeyPath, Places, dotted, read_yaml

HERE = "machine"  # the node type of this machine, for a price
DEFAULT_MAX_WORKERS = 2  # as Ray's cluster launcher has it


@dataclass(frozen=True)
class NodeType:
    """Machines of one kind."""

    name: str
    cpus: int
    gpus: int = 0
    count: int = 1
    """How many there are at most."""
    memory: int | None = None
    """Bytes, where that is known."""
    price: float | None = None
    """Of one machine and hour, in whatever currency."""


@dataclass(frozen=True)
class Machines:
    """A head, which the driver runs on, and the other machines."""

    title: str
    head: NodeType
    others: tuple[NodeType, ...] = ()
    most_others: int = 0
    is_here: bool = False

    @property
    def has_gpus(self) -> bool:
        """Whether models run on GPUs."""
        return any(node.gpus for node in (self.head, *self.others))

    @property
    def unit(self) -> str:
        """What a worker takes."""
        return "GPU" if self.has_gpus else "CPU"

    @property
    def places(self) -> int:
        """Workers that run at a time at most: one on each GPU, else on each CPU."""
        return sum(self._places(node) * count for node, count in self.nodes(None))

    @property
    def on_a_node(self) -> int:
        """Workers on one machine at most."""
        return max(self._places(node) for node in (self.head, *self.others))

    def nodes(self, workers: int | None) -> list[tuple[NodeType, int]]:
        """The head, and how many of each other type it takes for so many workers; all of them where that is None."""
        left = math.inf if workers is None else workers - self._places(self.head)
        result, allowed = [(self.head, 1)], self.most_others
        for node in self.others:
            places = self._places(node)
            fitting = math.ceil(max(left, 0) / places) if places and left < math.inf else node.count
            count = min(fitting if places else 0, node.count, allowed)
            allowed -= count
            left -= count * places
            result.append((node, count))
        return result

    def price(self, workers: int | None) -> float | None:
        """Of an hour of the machines for so many workers; None where one has no price."""
        taken = [(node, count) for node, count in self.nodes(workers) if count]
        if any(node.price is None for node, _ in taken):
            return None
        return sum((node.price or 0.0) * count for node, count in taken)

    def with_prices(self, given: Sequence[str]) -> "Machines":
        """These machines with prices, each given as NODE_TYPE=PER_HOUR. Raises ConfigError for an unknown type."""
        prices = dict(self._prices(given))

        def priced(node: NodeType) -> NodeType:
            return replace(node, price=prices.get(node.name))

        return replace(self, head=priced(self.head), others=tuple(map(priced, self.others)))

    def _prices(self, given: Iterable[str]) -> Iterator[tuple[str, float]]:
        names = [node.name for node in (self.head, *self.others)]
        for text in given:
            name, _, number = text.rpartition("=")
            if name not in names:
                raise ConfigError(f"--price {text}: expected NODE_TYPE=PER_HOUR with one of {', '.join(names)}")
            try:
                price = float(number)
            except ValueError:
                price = math.nan
            if not (math.isfinite(price) and price >= 0):
                raise ConfigError(
                    f"--price {text}: found {number or 'nothing'}, expected the price of an hour, 0 or more"
                )
            yield name, price

    def _places(self, node: NodeType) -> int:
        return node.gpus if self.has_gpus else node.cpus


def at_hand(experiment: Experiment) -> Machines:
    """This machine, or the cluster that the experiment names, which is asked. Raises ResourceError if none answers."""
    if experiment.cluster.address == "local" and not cluster.in_job():
        cpus = experiment.cluster.num_cpus or os.cpu_count() or 1
        gpus = torch.cuda.device_count()
        memory = total_bytes(torch.device("cuda" if gpus else "cpu"))
        described = f"this machine, {cpus} CPUs" + (f", {gpus} GPUs" if gpus else "")
        return Machines(described, NodeType(HERE, cpus, gpus, memory=memory), is_here=True)
    cluster.connect(experiment.cluster)
    return of_ray(experiment.cluster.address)


def of_ray(address: str) -> Machines:
    """The machines of the Ray cluster that this process has joined, alike ones together."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shapes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0)), int(node.get("memory", 0)) or None) for node in nodes]
    heads = [i for i, node in enumerate(nodes) if "node:__internal_head__" in node]
    head = shapes.pop(heads[0] if heads else 0)
    kinds = list(dict.fromkeys(shape[:2] for shape in shapes))
    others = []
    for number, (cpus, gpus) in enumerate(kinds, 1):
        alike = [shape for shape in shapes if shape[:2] == (cpus, gpus)]
        least = min((memory for *_, memory in alike if memory is not None), default=None)
        others.append(NodeType("worker" if len(kinds) == 1 else f"worker{number}", cpus, gpus, len(alike), least))
    described = f"cluster {address}, {len(nodes)} machines"
    return Machines(described, NodeType("head", *head[:2], memory=head[2]), tuple(others), len(shapes))


def of_yaml(path: Path) -> Machines:
    """The machines that a file of Ray's cluster launcher describes. Raises ConfigError with the line of a mistake."""
    raw, places = read_yaml(path)
    return _Described(raw, places, path).machines()


@dataclass(frozen=True)
class _Described:
    """What a cluster.yaml holds, and where."""

    raw: Any
    places: Places
    path: Path

    def machines(self) -> Machines:
        types = self.get(("available_node_types",), dict, None)
        if not types:
            raise self.mistake((), "no available_node_types; ask the cluster itself by --set cluster.address=auto")
        head = self.get(("head_node_type",), str, None)
        if head not in types:
            raise self.mistake(("head_node_type",), f"found {head}, expected one of {', '.join(map(str, types))}")
        most = self.count(("max_workers",), DEFAULT_MAX_WORKERS)
        others = tuple(
            self.node(name, self.count(self.of(name, "max_workers"), most)) for name in types if name != head
        )
        machines = Machines(str(self.path), self.node(head, 1), others, most)
        if not machines.places:
            raise self.mistake(("available_node_types",), "no machine has a CPU or GPU to work on")
        return machines

    def node(self, name: str, count: int) -> NodeType:
        resources = self.get(self.of(name, "resources"), dict, None)
        if not resources:
            raise self.mistake(
                self.of(name), "no resources; write those of the machine, as {CPU: 8} or {CPU: 4, GPU: 1}"
            )
        cpus, gpus, memory = (self.count((*self.of(name, "resources"), key), 0) for key in ("CPU", "GPU", "memory"))
        return NodeType(name, cpus, gpus, count, memory or None)

    def of(self, name: str, *keys: str) -> KeyPath:
        return ("available_node_types", name, *keys)

    def get(self, path: KeyPath, kind: type, default: Any) -> Any:
        value = self.raw
        for end, key in enumerate(path, 1):
            if not isinstance(value, dict):
                raise self.mistake(path[: end - 1], f"found {type(value).__name__}, expected keys as {key}")
            value = value.get(key)
            if value is None:
                return default
        if not isinstance(value, kind) or isinstance(value, bool):
            expected = {dict: "keys and values", str: "a name", int: "a whole number"}[kind]
            raise self.mistake(path, f"found {str(value)[:40]!r}, expected {expected}")
        return value

    def count(self, path: KeyPath, default: int) -> int:
        number: int = self.get(path, int, default)
        if number < 0:
            raise self.mistake(path, f"found {number}, expected 0 or more")
        return number

    def mistake(self, path: KeyPath, what: str) -> ConfigError:
        known = next((self.places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.places), None)
        key = f"{dotted(path)}: " if path else ""
        return ConfigError(f"{known.where if known else self.path}: {key}{what}")
