"""The command line itself: options that commands share, and what a mistake or a signal ends in."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from nlift import __version__, cluster
from nlift.config import Experiment, load_experiment
from nlift.errors import NliftError
from nlift.settings import ClusterConfig
from nlift.visible import visible

app = typer.Typer(name="nlift", no_args_is_help=True, pretty_exceptions_enable=False)

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="YAML file of the experiment.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; the value is YAML.")
]
FILES = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)  # a user's
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Address = Annotated[str | None, typer.Option(help="auto joins a running Ray cluster, local starts one here.")]
NoOverwrite = Annotated[
    bool, typer.Option("--no-overwrite", help="Fail rather than replace a stage of other settings.")
]


def user_errors(command: Callable[..., None]) -> Callable[..., None]:
    """One line and exit code 2 for the user's mistakes; 128 and its number where a signal stops the work."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        for number in STOPS:
            signal.signal(number, _stop)
        try:
            command(*args, **kwargs)
        except NliftError as error:
            _end(2, f"error: {error}")
        except KeyboardInterrupt as stop:
            _end(128 + (stop.args or [signal.SIGINT])[0])
        except MemoryError:
            _end(2, "error: memory did not suffice; what was finished is kept")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                _end(2, f"error: {cluster.disk_full(error)}")
            if error.errno not in FILES:
                raise
            _end(2, f"error: {error.filename or 'a file'}: {os.strerror(error.errno)}")

    return guarded


def _stop(number: int, frame: Any) -> None:
    """Say so and stop, at Ctrl-C as where the terminal closes or somebody kills; what Ray says of it is noise."""
    for other in STOPS:
        signal.signal(other, signal.SIG_IGN)
    with suppress(OSError):  # the terminal may be gone
        print("\nstopped: what was finished is kept, the same command goes on from there", file=sys.stderr, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    raise KeyboardInterrupt(number)


def _end(code: int, line: str = "") -> None:
    """Say a last line and leave; Ray ends its processes when this one ends."""
    if line:
        print(visible(line), file=sys.stderr, flush=True)
    raise typer.Exit(code) from None


def version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        print(f"nlift {__version__}")
        raise typer.Exit


@app.callback()
def main(version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True)] = False) -> None:
    """English NLI data in, a search engine for your domain in your language out."""


def load(path: Path, overrides: list[str] | None, address: str | None) -> Experiment:
    """The experiment of a file, overridden as the command line says."""
    extra = [f"cluster.address={address}"] if address else []
    return load_experiment(path, [*(overrides or []), *extra])


def cluster_of(address: str | None) -> ClusterConfig:
    """The section `cluster` of a command that has no experiment."""
    return ClusterConfig(address=address) if address else ClusterConfig()
