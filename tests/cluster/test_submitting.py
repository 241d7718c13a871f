"""A submitted job's log and exit code, and what becomes of it when the log is left, on a cluster with ports of its own.

The Ray of the test session has Ray's usual port for jobs, or not, where another one on this machine has it.
"""

import socket
import time

import pytest
from cluster_of_nodes import Nodes

from nlift import submit as module
from nlift.errors import ResourceError
from nlift.submit import submit


@pytest.fixture(scope="module")
def address():
    """That of the dashboard of a head which runs jobs' scripts."""
    with Nodes(dashboard=True) as nodes:
        yield nodes.dashboard_url


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Writes the script of a job, in a folder that is entered."""
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    return lambda job, text: (tmp_path / "jobs" / f"run_{job}.py").write_text(text)


@pytest.mark.parametrize(("ending", "code"), [("", 0), ("sys.exit(3)", 1)])
def test_the_log_of_a_submitted_job_is_written_as_it_grows(address, script, ending, code):
    script("pipeline", f"import sys\nprint(*sys.argv[1:])\n{ending}\n")
    texts = []
    arguments = ["my file.yaml", "--set", "a=1", "--set", "b=[x, y]"]
    assert submit("pipeline", address, arguments, texts.append) == code
    assert texts[0].startswith("job ") and texts[0].endswith(f" on {address}\n")
    assert "my file.yaml --set a=1 --set b=[x, y]\n" in "".join(texts[1:])


def test_a_job_goes_on_when_the_log_is_left_unless_it_is_to_stop(address, script):
    from ray.job_submission import JobStatus, JobSubmissionClient

    script("tune", "import time\nprint('at work', flush=True)\ntime.sleep(600)\n")
    client, texts = JobSubmissionClient(address), []

    def interrupted(text):
        texts.append(text)
        if "at work" in text:
            raise KeyboardInterrupt

    def left(**how):
        texts.clear()
        with pytest.raises(KeyboardInterrupt):
            submit("tune", address, ["a.yaml"], interrupted, **how)
        return texts[0].split()[1], texts[-1]

    job, said = left()
    assert client.get_job_status(job) == JobStatus.RUNNING
    assert f"ray job logs --follow --address {address} {job}" in said
    assert f"ray job stop --address {address} {job}" in said
    client.stop_job(job)
    job, said = left(stop_on_interrupt=True)
    assert f"job {job} is stopped" in said
    while client.get_job_status(job) == JobStatus.RUNNING:
        time.sleep(0.2)
    assert client.get_job_status(job) == JobStatus.STOPPED


def test_a_head_without_a_job_agent_is_told_why(script, monkeypatch):
    script("pipeline", "")
    monkeypatch.setattr(module, "AGENT_WAIT_S", 10)  # longer than an agent takes to start
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = r"No available agent .*--dashboard-agent-listen-port"
        with Nodes(dashboard=True, dashboard_agent_listen_port=port) as nodes, pytest.raises(ResourceError, match=line):
            submit("pipeline", nodes.dashboard_url, [], print)
