"""A small object store that others have filled: Ray spills to the disk, and the stages do not notice."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster_of_nodes import Nodes
from experiment_on_nodes import Reference, small_experiment

from nlift.pipeline.stage_folder import read_manifest

STORE = {"object_store_memory": 80 * 2**20}
HELD_MIB = 200
HOLD = """
import sys, time
import numpy as np
import ray

ray.init(address=sys.argv[1], log_to_driver=False)
held = [ray.put(np.zeros(2**20, np.uint8)) for _ in range(int(sys.argv[2]))]
print("held", flush=True)
time.sleep(10_000)
"""


def wait_for_spilling(session):
    """Until what does not fit is on the disk."""
    end = time.monotonic() + 60
    while sum(path.stat().st_size for path in session.glob("ray_spilled_objects*/*")) <= (HELD_MIB - 80) * 2**20:
        assert time.monotonic() < end, "nothing was spilled"
        time.sleep(0.2)


@pytest.mark.slow
def test_all_stages_with_a_full_object_store(bert, tmp_path):
    with Nodes(dashboard=True, **STORE) as nodes:
        nodes.add(**STORE)
        nodes.add(**STORE)
        command = [sys.executable, "-c", HOLD, nodes.address, str(HELD_MIB)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            try:
                assert holder.stdout.readline() == "held\n"
                wait_for_spilling(Path(nodes.cluster.head_node.get_session_dir_path()))
                done = Reference(small_experiment(tmp_path, nodes.address, bert), tmp_path)("index")
                assert holder.poll() is None
            finally:
                holder.kill()
    assert read_manifest(done.folder / "index")["rows_out"] == 1104
