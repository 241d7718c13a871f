"""The Serve application for whoever deploys by a Serve config, as KubeRay's RayService does.

`import_path: nlift_serve.application:build`; its `args` are what `nlift serve` is told.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray.serve import Application

from nlift import uris
from nlift.errors import ConfigError
from nlift.search.aliases import PRODUCTION
from nlift.search.bundle_format import read_info, verify
from nlift.search.bundle_store import resolve
from nlift_serve.config import ServiceConfig, config_of

PORT = 8000  # names the folder of counters that the replicas of a machine share


class Arguments(BaseModel):
    """The `args` of an application."""

    model_config = ConfigDict(extra="forbid")

    bundles: str
    """A bundle, or a folder of bundles, at the same path on all nodes; or the URI of a folder of bundles."""
    alias: str = PRODUCTION
    """Which of them; followed when it moves."""
    deployment: dict[str, Any] = {}
    """As in config.yaml: keys of Ray Serve's DeploymentSchema."""
    shard: dict[str, Any] = {}
    """The same of each shard, where `service.shards` is more than 1."""
    service: dict[str, Any] = {}
    """As in config.yaml: nlift's own settings."""

    @property
    def config(self) -> ServiceConfig:
        """The settings. Raises ConfigError for an unknown key or a value that is not allowed."""
        return config_of(self.model_dump(include={"deployment", "shard", "service"}))


def build(arguments: Arguments) -> Application:
    """The application: every setting checked, every file of the bundle compared with its checksum.

    Raises ConfigError for settings that are none, ArtifactError for a bundle that is damaged or not there.
    """
    from nlift_serve.replica import application

    config, bundles = arguments.config, arguments.bundles
    if not (uris.is_remote(bundles) or Path(bundles).is_absolute()):
        raise ConfigError(f"bundles: found {bundles}, expected a URI or an absolute path, the same on all nodes")
    folder = resolve(bundles, arguments.alias)
    verify(folder, read_info(folder))
    return application(config, bundles, arguments.alias, PORT)
