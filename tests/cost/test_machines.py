"""Machines: this one, those of a cluster.yaml, and what they cost."""

from pathlib import Path

import pytest

from nlift.config import Experiment
from nlift.cost.machines import HERE, Machines, NodeType, at_hand, of_ray, of_yaml
from nlift.errors import ConfigError

ROOT = Path(__file__).parents[2]
GPUS = Machines("x", NodeType("head", 8), (NodeType("a", 4, 2, 3), NodeType("b", 4, 1, 4)), 5)
CPUS = Machines("x", NodeType("head", 2), (NodeType("a", 4, count=3),), 3)


@pytest.fixture
def refused(tmp_path):
    """The line that a cluster.yaml is refused with, without its folder."""

    def line(text):
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            of_yaml(path)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value).replace(f"{tmp_path}/", "")

    return line


def test_workers_go_to_gpus_where_there_are_any():
    assert (GPUS.unit, GPUS.places, GPUS.on_a_node) == ("GPU", 8, 2)  # five machines at most: three of a, two of b
    assert (CPUS.unit, CPUS.places, CPUS.on_a_node) == ("CPU", 14, 4)


@pytest.mark.parametrize(
    ("workers", "counts"), [(1, [1, 1, 0]), (2, [1, 1, 0]), (3, [1, 2, 0]), (7, [1, 3, 1]), (8, [1, 3, 2])]
)
def test_machines_for_so_many_workers(workers, counts):
    assert [count for _, count in GPUS.nodes(workers)] == counts


def test_the_head_works_too_without_gpus():
    assert [count for _, count in CPUS.nodes(2)] == [1, 0]
    assert [count for _, count in CPUS.nodes(3)] == [1, 1]


def test_prices():
    priced = GPUS.with_prices(["head=0.5", "a=2", "b=1"])
    assert [priced.price(workers) for workers in (1, 3, 7, 8)] == [2.5, 4.5, 7.5, 8.5]
    assert GPUS.price(1) is None
    assert GPUS.with_prices(["head=0.5", "a=2"]).price(3) == 4.5  # what is not taken needs no price
    assert GPUS.with_prices(["head=0.5", "a=2"]).price(7) is None


@pytest.mark.parametrize("text", ["c=1", "a", "a=", "a=-1", "a=nan", "a=inf", "a=cheap", "=1"])
def test_wrong_prices_are_one_line(text):
    with pytest.raises(ConfigError) as caught:
        GPUS.with_prices([text])
    assert f"--price {text}" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_our_cluster_yaml():
    machines = of_yaml(ROOT / "cluster.yaml")
    assert machines.head == NodeType("head", 8)
    assert machines.others == (NodeType("gpu_worker", 4, 1, 4),)
    assert (machines.places, machines.unit, machines.is_here) == (4, "GPU", False)


def test_the_least_that_is_needed(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("head_node_type: h\navailable_node_types: {h: {resources: {CPU: 2}}, w: {resources: {CPU: 3}}}\n")
    machines = of_yaml(path)
    assert (machines.head, machines.others, machines.places) == (NodeType("h", 2), (NodeType("w", 3, count=2),), 8)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a", "cluster.yaml:1: found list, expected keys as available_node_types"),
        ("max_workers: 2", "cluster.yaml:1: no available_node_types"),
        (
            "head_node_type: x\navailable_node_types: {h: {resources: {CPU: 1}}}",
            "cluster.yaml:1: head_node_type: found x",
        ),
        ("head_node_type: h\navailable_node_types:\n  h: {}", "cluster.yaml:3: available_node_types.h: no resources"),
        (
            "head_node_type: h\navailable_node_types:\n  h: {resources: {CPU: many}}",
            "cluster.yaml:3: available_node_types.h.resources.CPU: found 'many', expected a whole number",
        ),
        (
            "head_node_type: h\navailable_node_types:\n  h:\n    resources:\n      CPU: -1",
            "cluster.yaml:5: available_node_types.h.resources.CPU: found -1, expected 0 or more",
        ),
        ("head_node_type: h\navailable_node_types:\n  h: {resources: {memory: 5}}", "no machine has a CPU or GPU"),
        (
            "head_node_type: h\nmax_workers: yes\navailable_node_types: {h: {resources: {CPU: 1}}}",
            "cluster.yaml:2: max_work",
        ),
        ("a: [", "cluster.yaml:1: not valid YAML"),
    ],
)
def test_a_wrong_cluster_yaml_is_one_line(refused, text, line):
    assert line in refused(text)


def test_there_is_no_such_file(tmp_path):
    with pytest.raises(ConfigError, match="not readable"):
        of_yaml(tmp_path / "nothing.yaml")


def test_this_machine():
    raw = {"name": "a", "nli": {"path": "embedded"}, "cluster": {"num_cpus": 3}}
    machines = at_hand(Experiment.model_validate(raw))
    assert (machines.head.name, machines.head.cpus, machines.is_here) == (HERE, 3, True)
    assert machines.head.memory > 2**30


def test_a_cluster_at_hand(ray_session):
    machines = of_ray("auto")
    assert machines.title == "cluster auto, 1 machines" and not machines.others
    assert machines.head.name == "head" and machines.head.cpus == machines.places >= 1
