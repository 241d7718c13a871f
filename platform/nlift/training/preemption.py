"""Machines that are going to be taken away, as a cloud announces it of spot instances."""


class Preemption:
    """What Ray has announced so far. Every rank asks equally often, and hears the same."""

    def __init__(self) -> None:
        self._nodes: set[str] = set()

    def announced(self) -> bool:
        """Whether a machine of this run is going to go of which nothing was said before."""
        import ray.train

        known = ray.train.get_preemption_info()
        nodes = set(known.preempted_node_ids) if known is not None else set()
        new = not nodes <= self._nodes
        self._nodes |= nodes
        return new
