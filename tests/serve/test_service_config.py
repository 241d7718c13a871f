"""config.yaml: what is shipped is right, and every mistake in a copy is one line that says where."""

import pytest
import yaml

from nlift.errors import ConfigError
from nlift_serve.config import DEFAULT, Limits, ServiceConfig, read_config


def test_what_is_shipped():
    config = read_config()
    assert config.http["host"] == "127.0.0.1"
    assert config.service == Limits()  # the file shows the defaults
    assert set(yaml.safe_load(DEFAULT.read_text())["service"]) == set(Limits.model_fields)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("http:\n  prot: 1\n", 2, "http.prot: unknown key; did you mean port?"),
        ("http:\n  port: 0x\n", 2, "http.port"),
        ("deployment:\n  num_replicas: 1\n  max_ongoing_request: 3\n", 3, "did you mean max_ongoing_requests?"),
        ("deployment:\n  ray_actor_options:\n    num_cpu: 1\n", 3, "did you mean num_cpus?"),
        ("deployment:\n  num_replicas: many\n", 2, "deployment.num_replicas"),
        ("service:\n  poll_s: 0\n", 2, "service.poll_s"),
        ("http:\n  port: 70000\n", 2, "http.port"),
        ("http:\n  port: '8000'\n", 2, "http.port"),
        ("http:\n  host: null\n", 2, "http.host"),
        ("deployment:\n  autoscaling_config:\n    max_replica: 2\n", 3, "did you mean max_replicas?"),
        ("service:\n  poll_s: 2024-13-45\n", None, "not YAML"),
        ("service:\n  pol_s: 1\n", 2, "service.pol_s"),
        ("servcie: {}\n", 1, "servcie"),
        ("service: [\n", 2, "not YAML"),
        ("- 1\n", None, "expected keys http, deployment, shard and service"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path, text, line, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    said = str(caught.value)
    assert said.startswith(str(path) + (f":{line}" if line else "")) and message in said and len(said.splitlines()) == 1


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match="not readable"):
        read_config(tmp_path / "none.yaml")


def test_a_file_that_is_not_utf_8(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(tmp_path / "mine.yaml")


def test_replicas_beside_autoscaling():
    config = ServiceConfig(deployment={"autoscaling_config": {"max_replicas": 2}})
    with pytest.raises(ConfigError, match="expected one of both"):
        config.overridden(num_replicas=2)


def test_the_command_line_comes_first():
    config = ServiceConfig(http={"port": 1, "host": "0.0.0.0"}, deployment={"num_replicas": 2})
    changed = config.overridden(port=5)
    assert changed.http == {"port": 5, "host": "0.0.0.0"} and changed.deployment == {"num_replicas": 2}
    assert config.overridden(host="::1", num_replicas=3).deployment == {"num_replicas": 3}
