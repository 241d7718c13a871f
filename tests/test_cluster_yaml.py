"""cluster.yaml and its variants: accepted by Ray's own validation, protected by a token, free of secrets.

AWS is never asked.
"""

import copy
import re
import subprocess
from pathlib import Path

import botocore.session
import click
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator

ROOT = Path(__file__).parents[1]
FILE = ROOT / "cluster.yaml"
TEXT = FILE.read_text(encoding="utf-8")
COMMANDS = (
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
SECRETS = {
    "Ray token": r"\b[0-9a-f]{64}\b",
    "Ray token variable": r"RAY_AUTH_TOKEN\s*[=:]",
    "AWS access key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "AWS secret": r"(?i)aws_(secret_access_key|session_token)",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}|HF_TOKEN\s*[=:]",
    "private key": r"BEGIN [A-Z ]*PRIVATE KEY",
    "password": r"(?i)password\s*[=:]",
}


@pytest.fixture
def config():
    return yaml.safe_load(TEXT)


def validate(config):
    """As `ray up` does before it asks AWS for anything: Ray's defaults filled in, then Ray's schema."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def starts(config):
    """The commands that start Ray: one of the head, one of the workers."""
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starting = [command for command in commands if "ray start" in command]
    assert len(starting) == 2
    return starting


def on_machines_of_ones_own(config):
    """cluster.yaml as docs/cluster.md says for the provider local."""
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(provider:\n.*?)```", text, re.DOTALL)
    kept = {key: value for key, value in config.items() if key not in ("head_node_type", "available_node_types")}
    return {**kept, **yaml.safe_load(block)}


def with_spot_workers():
    """cluster.yaml as docs/cluster.md says for spot instances: the comment sign taken away."""
    text, changed = re.subn(r"# (InstanceMarketOptions:)", r"\1", TEXT)
    assert changed == 1
    return yaml.safe_load(text)


def strings(value):
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [str(value)]


def test_ray_accepts_it(config):
    prepared = validate(config)
    workers = prepared["available_node_types"]["gpu_worker"]
    assert (workers["min_workers"], workers["max_workers"], workers["resources"]["GPU"]) == (0, 4, 1)
    assert prepared["available_node_types"][prepared["head_node_type"]]["max_workers"] == 0
    assert "GPU" not in prepared["available_node_types"][prepared["head_node_type"]]["resources"]


def test_ray_would_refuse_mistakes(config):
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        validate({**config, "idle_timeout": 5})
    with pytest.raises(jsonschema.ValidationError):
        validate({**config, "setup_commands": [{"run": "pip install ray"}]})
    with pytest.raises(ValueError, match="head_node_type"):
        validate({**config, "head_node_type": "heads"})


def test_ray_accepts_it_on_machines_of_ones_own(config):
    changed = on_machines_of_ones_own(config)
    prepared = validate(changed)
    machines = prepared["available_node_types"][prepared["head_node_type"]]
    assert machines["min_workers"] == machines["max_workers"] == len(changed["provider"]["worker_ips"]) == 2
    assert prepared["file_mounts"] == validate(config)["file_mounts"]
    with pytest.raises(jsonschema.ValidationError, match="ssh_users"):
        validate({**changed, "auth": {**changed["auth"], "ssh_users": "ubuntu"}})
    for key in ("head_ip", "worker_ips"):
        provider = {name: value for name, value in changed["provider"].items() if name != key}
        with pytest.raises(click.ClickException):
            validate({**changed, "provider": provider})


def test_ray_accepts_spot_workers():
    types = validate(with_spot_workers())["available_node_types"]
    assert types["gpu_worker"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]


@pytest.mark.parametrize("name", ["head", "gpu_worker"])
def test_ec2_has_every_key_of_a_node(name):
    """Ray leaves node_config to AWS: its keys are held against boto's own description of EC2's call."""
    ec2 = botocore.session.get_session().get_service_model("ec2")
    shape = ec2.operation_model("RunInstances").input_shape
    node = with_spot_workers()["available_node_types"][name]["node_config"]
    wanted = {"MinCount": 1, "MaxCount": 1}
    assert not ParamValidator().validate({**node, **wanted}, shape).has_errors()
    for key in node:
        misspelt = {f"{name}x" if name == key else name: value for name, value in node.items()}
        assert ParamValidator().validate({**misspelt, **wanted}, shape).has_errors()


def test_commands_are_valid_shell(config):
    for name in COMMANDS:
        for command in config[name]:
            checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, f"{name}: {command}: {checked.stderr}"


def test_token_mode_on_every_node(config):
    for command in starts(config):
        assert re.search(r"export [^;]*\bRAY_AUTH_MODE=token\b[^;]*;.*ray start", command), command
    mounts = config["file_mounts"]
    assert mounts["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"  # a path: the token is not in the file


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret(kind):
    assert not re.search(SECRETS[kind], TEXT)


def test_secrets_would_be_found():
    examples = [
        "0123456789abcdef" * 4,
        "export RAY_AUTH_TOKEN=x",
        "AKIA" + "A" * 16,
        "aws_secret_access_key: x",
        "hf_" + "a" * 30,
        "BEGIN RSA PRIVATE KEY",
        "password: x",
    ]
    for pattern, example in zip(SECRETS.values(), examples, strict=True):
        assert re.search(pattern, example)


def test_dashboard_is_not_public(config):
    head = next(command for command in starts(config) if "--head" in command)
    assert "--dashboard-host=127.0.0.1" in head.split()
    assert not [text for text in strings(config) if re.search(r"(?<!\d)0\.0\.0\.0", text)]


def test_installs_the_pinned_set_with_one_faiss(config):
    commands = [command for name in COMMANDS for command in config[name]]
    installs = [command for command in commands if "pip install" in command and "-e " in command]
    assert len(installs) == 1 and installs[0] in config["setup_commands"]  # all nodes alike
    assert "-c constraints.txt" in installs[0]
    assert len(re.findall(r"\b(?:cpu|gpu)\b", installs[0])) == 1
    assert not [text for text in strings(config) if "faiss" in text]  # it comes with the extra alone


def test_mounts_what_the_installation_reads(config):
    local = [path for path in config["file_mounts"].values() if not path.startswith("~")]
    assert {"platform", "serve", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "NOTICE"} <= set(local)
    assert not [path for path in local if not (ROOT / path).exists()]
    assert not [path for path in local if path in (".", "./")]  # .venv and runs would be read as well


def test_workers_share_the_heads_folder(config):
    shares = [command for command in config["head_setup_commands"] if "exports" in command]
    mounts = [command for command in config["worker_start_ray_commands"] if "mount" in command]
    assert any("/srv/nlift" in command for command in shares)
    assert any("$RAY_HEAD_IP:/srv/nlift" in command for command in mounts)
