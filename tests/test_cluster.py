"""What a worker raises, as the driver sees it."""

import pytest

from nlift import cluster
from nlift.errors import ModelError


def test_a_mistake_that_a_task_met_is_one_line(ray_session):
    import ray

    def refuse():  # here, as workers cannot import a test's module
        raise ModelError("x: no such folder")

    with pytest.raises(ModelError) as caught:
        cluster.get(ray.remote(refuse).remote())
    assert str(caught.value) == "x: no such folder"


def test_a_worker_knows_its_own_ray(address_of_another_ray):
    import ray

    def nodes():
        from ray.util.state import list_nodes

        return [node.node_id for node in list_nodes()]

    assert ray.get(ray.remote(nodes).remote()) == [node["NodeID"] for node in ray.nodes()]
