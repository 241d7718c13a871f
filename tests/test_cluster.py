"""What a worker raises, as the driver sees it."""

import pytest

from nlift import cluster
from nlift.errors import MemoryShortageError, ModelError, ResourceError


def test_a_mistake_that_a_task_met_is_one_line(ray_session):
    import ray

    def refuse():  # here, as workers cannot import a test's module
        raise ModelError("x: no such folder")

    with pytest.raises(ModelError) as caught:
        cluster.get(ray.remote(refuse).remote())
    assert str(caught.value) == "x: no such folder"


@pytest.mark.parametrize(
    ("raised", "kind", "line"),
    [
        ("errors.ModelError('x: no such folder')", ModelError, "x: no such folder"),
        ("MemoryError('cannot allocate')", MemoryShortageError, "memory did not suffice"),
        ('RuntimeError("DefaultCPUAllocator: can\'t allocate memory")', MemoryShortageError, "memory did not suffice"),
        ("OSError(28, 'No space left on device')", ResourceError, "no space left on the disk"),
    ],
)
def test_what_an_operator_of_ray_data_raised_is_one_line(ray_session, raised, kind, line):
    import ray.data

    def refuse(batch):
        from nlift import errors  # noqa: F401 - what is raised may need it

        raise eval(raised)

    with pytest.raises(kind) as caught, cluster.user_errors():
        ray.data.range(1).map_batches(refuse).materialize()
    assert str(caught.value).startswith(line) and len(str(caught.value).splitlines()) == 1


def test_a_worker_knows_its_own_ray(address_of_another_ray):
    import ray

    def nodes():
        from ray.util.state import list_nodes

        return [node.node_id for node in list_nodes()]

    assert ray.get(ray.remote(nodes).remote()) == [node["NodeID"] for node in ray.nodes()]
