"""The command line: one command per task. Exit 0 done, 2 the user's mistake, 1 ours."""

from nlift.cli import experiments

# isort: split
from nlift.cli import reports  # below them in the help

# isort: split
from nlift.cli import bundles

# isort: split
from nlift.cli import upkeep
from nlift.cli.app import app

__all__ = ["app", "bundles", "experiments", "reports", "upkeep"]
