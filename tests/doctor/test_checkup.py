"""What `nlift doctor` finds in real states of a machine: ports, folders, a token file, a hub, a cluster."""

import http.server
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from nlift.cli import app
from nlift.config import load_experiment
from nlift.doctor import checkup, machine, packages, services, storage
from nlift.pipeline import stages

EXPERIMENTS = Path(__file__).parents[2] / "jobs" / "experiments"
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def listening():
    """A socket that others can connect to, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def state_of(findings, subject):
    return next(finding.state for finding in findings if finding.subject == subject)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_this_environment_is_as_pyproject_wants_it():
    wanted_python, wanted = packages.required()
    assert packages.python(wanted_python).state == "ok"
    assert [finding.state for finding in packages.packages(wanted)] == ["ok"]
    assert {"ray", "torch", "typer"} <= {requirement.name for requirement in wanted}
    assert packages.faiss().state == "ok"


def test_a_python_and_packages_that_are_not_as_wanted():
    assert packages.python(">=3.99").state == "wrong"
    wanted = [Requirement("numpy<0.1"), Requirement("no-such-package-of-nlift>=1"), Requirement("pyyaml")]
    numpy, missing = packages.packages(wanted)
    assert (numpy.subject, numpy.state) == ("numpy", "wrong") and "expected <0.1" in numpy.text
    assert missing.text == "not installed" and "pip install" in missing.fix


def test_two_packages_of_the_same_module():
    both = packages.faiss(["numpy", "pyyaml"])
    assert both.state == "wrong" and "same module" in both.text


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1073741824"}, 1.5, 2**30),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            {
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "2147483648",
            },
            0.5,
            2**31,
        ),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            None,
            None,
        ),
        ({}, None, None),
    ],
)
def test_what_a_container_allows(tmp_path, files, cpus, memory):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert machine.cpu_limit(tmp_path) == cpus and machine.memory_limit(tmp_path) == memory
    if cpus == 0.5:
        assert "cluster.num_cpus: 1" in machine.cores(tmp_path).fix
    if memory == 2**30:
        assert machine.memory(tmp_path).state == "note"


def test_a_cpu_without_wide_instructions(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu sse sse2\n")
    assert "float32" in machine.cpu(tmp_path / "cpuinfo").fix
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n")
    assert machine.cpu(tmp_path / "cpuinfo").text == "avx2, avx512_vnni"


def test_a_driver_that_torch_does_not_use(tmp_path):
    import torch

    assert [finding.state for finding in machine.gpu(tmp_path / "none")] == ["ok"]
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05\n")
    first = next(machine.gpu(tmp_path / "version"))
    usable = torch.cuda.is_available()
    assert (first.state == "ok") == usable and bool(first.fix) != usable


def test_a_port_that_is_taken(listening):
    other = free_port()
    taken, free = services.ports(listening, others={other: "Ray"})
    assert (taken.state, free.state) == ("note", "ok") and "--port" in taken.fix


def test_folders_that_cannot_be_written(tmp_path):
    (good,) = storage.folder(tmp_path / "runs" / "deep", "output_dir")
    assert good.state in ("ok", "note") and "free" in good.text and not (tmp_path / "runs").exists()
    (tmp_path / "file").write_text("")
    (on_file,) = storage.folder(tmp_path / "file" / "runs", "output_dir")
    assert on_file.state == "wrong" and "is a file" in on_file.text
    (no_rights,) = storage.folder(Path("/proc/runs"), "output_dir")  # no rights there for root either
    assert no_rights.state == "wrong" and "choose another output_dir" in no_rights.fix


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights(tmp_path):
    tmp_path.chmod(0o500)
    (finding,) = storage.folder(tmp_path / "runs", "output_dir")
    tmp_path.chmod(0o700)
    assert finding.state == "wrong"


def test_shared_memory_that_is_small():
    assert storage.shared_memory(0).state == "ok"
    small = storage.shared_memory(2**60)
    assert small.state == "note" and "in /tmp" in small.text
    assert storage.shared_memory(2**40, Path("/no/such/folder")).state == "ok"


def test_a_token_that_others_can_read(tmp_path):
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(SECRET)
    environment = {"HOME": str(tmp_path / "home")}
    token.chmod(0o644)
    open_to_others = services.token(environment)
    assert open_to_others.state in ("wrong", "note") and f"chmod 600 {token}" in open_to_others.fix
    token.parent.chmod(0o700)
    assert services.token(environment).state == "note"
    token.chmod(0o600)
    assert services.token(environment).state == "ok"
    assert SECRET not in str(open_to_others)


def test_a_token_in_a_folder_that_lets_others_through():
    folder = Path("/tmp") / f"nlift-test-token-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        (folder / "auth_token").write_text(SECRET)
        (folder / "auth_token").chmod(0o640)
        finding = services.token({"RAY_AUTH_TOKEN_PATH": str(folder / "auth_token")})
    finally:
        (folder / "auth_token").unlink()
        folder.rmdir()
    assert finding.state == "wrong" and "run code as you" in finding.text and SECRET not in str(finding)


def test_a_token_that_is_not_there(tmp_path):
    assert services.token({"HOME": str(tmp_path)}).state == "ok"
    assert services.token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}).state == "wrong"
    assert SECRET not in str(services.token({"RAY_AUTH_TOKEN": SECRET}))


def test_a_cluster_that_answers_and_one_that_does_not(listening, tmp_path):
    def cluster(address, environment=()):
        return next(f for f in services.ray(address, dict(environment), tmp_path / "note") if f.subject == "cluster")

    assert cluster("local").state == "ok"
    assert cluster(f"127.0.0.1:{listening}").state == "ok"
    assert cluster(f"http://127.0.0.1:{listening}").state == "ok"
    closed = cluster(f"127.0.0.1:{free_port()}")
    assert closed.state == "wrong" and "ray start --head" in closed.fix
    assert cluster("auto").state == "wrong"
    (tmp_path / "note").write_text(f"127.0.0.1:{listening}")
    assert cluster("auto").state == "ok"
    assert cluster("local", {"RAY_ADDRESS": f"127.0.0.1:{free_port()}"}).state == "wrong"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("10.0.0.1:6380", ("10.0.0.1", 6380)),
        ("head", ("head", 6379)),
        ("http://head", ("head", 8265)),
        ("http://head:99", ("head", 99)),
    ],
)
def test_where_a_cluster_listens(address, place):
    assert services.host_and_port(address) == place


def test_a_hub_that_answers_and_one_that_does_not(listening):
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://user:{SECRET}@127.0.0.1:{server.server_port}"
        finding = services.hub({"HF_ENDPOINT": endpoint})
        server.shutdown()
    assert finding.state == "ok" and len(asked) == 1 and SECRET not in str(finding)
    silent = services.hub({"HF_ENDPOINT": f"http://127.0.0.1:{listening}"}, timeout_s=0.2)
    assert silent.state == "note" and "local folders" in silent.fix
    assert services.hub({"HF_ENDPOINT": "huggingface.co"}).state == "wrong"


def test_the_hub_is_not_asked_where_that_is_forbidden(listening):
    finding = services.hub({"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": f"http://127.0.0.1:{listening}"})
    assert finding.state == "note" and "not asked" in finding.text


def test_a_clock_before_the_codes_own_files(tmp_path):
    code = tmp_path / "code.py"
    code.write_text("")
    (good,) = machine.clock(tmp_path, code)
    assert good.state == "ok"
    os.utime(code, (time.time() + 3600, time.time() + 3600))
    (wrong,) = machine.clock(tmp_path, code)
    assert wrong.state == "wrong" and "set the clock" in wrong.fix


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_models_are_those_of_the_stages(path):
    experiment = load_experiment(path)
    named = {model.name for stage in stages(experiment) for model in stage.models(experiment)}
    assert checkup.models(experiment) == named


def test_licences_that_forbid_to_sell(tmp_path):
    changes = ["score.model=Unbabel/wmt22-cometkiwi-da", "train.base_model=someone/new-model"]
    findings = list(checkup.licences(load_experiment(EXPERIMENTS / "demo.yaml", changes)))
    assert state_of(findings, "licence of embedded") == "ok"
    assert state_of(findings, "licence of Unbabel/wmt22-cometkiwi-da") == "note"
    assert state_of(findings, "licence of someone/new-model") == "note"


def doctor(*arguments):
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def test_a_line_each_and_an_exit_code(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    (tmp_path / "runs").write_text("")
    demo = EXPERIMENTS / "demo.yaml"
    good = doctor(demo, "--set", f"output_dir={tmp_path / 'new'}")
    assert good.exit_code == 0, good.output
    lines = good.output.splitlines()
    assert lines[-1] == "nothing is wrong" and {line.split()[0] for line in lines[:-1]} <= {"ok", "note"}
    bad = doctor(demo, "--set", f"output_dir={tmp_path / 'runs'}", "--address", f"127.0.0.1:{free_port()}")
    wrong = [line.split(":")[0].split(maxsplit=1)[1] for line in bad.output.splitlines() if line.startswith("wrong")]
    assert bad.exit_code == 2 and wrong == ["output_dir", "cluster"] and bad.output.splitlines()[-1] == "2 wrong"
    assert SECRET not in good.output + bad.output and not (tmp_path / "new").exists()


def test_an_experiment_that_is_none():
    assert doctor("nothing.yaml").exit_code == 2
