"""Everything that `nlift doctor` looks at, in order."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from nlift.config import Experiment
from nlift.doctor import machine, packages, services, storage
from nlift.doctor.finding import Finding
from nlift.report.licences import UNKNOWN, is_non_commercial, licence

OUTPUT_DIR, PORT, HOST = "runs", 8000, "127.0.0.1"


def findings(
    experiment: Experiment | None = None, *, address: str | None = None, production: bool = False
) -> Iterator[Finding]:
    """What there is to say of this machine, and of an experiment's folders, models, cluster and port.

    Args:
        experiment: What is to run; what a run has by default when None.
        address: A cluster that should answer, in place of the experiment's.
        production: Whether `nlift serve --production` is wanted.

    Yields:
        A finding each. Nothing is started; beside the cluster the hub alone is asked over the network, once.
    """
    wanted_python, wanted = packages.required()
    yield packages.python(wanted_python)
    yield from packages.packages(wanted)
    yield packages.faiss()
    yield machine.cpu()
    yield machine.cores()
    yield machine.memory()
    yield storage.shared_memory(machine.whole_memory())
    yield from machine.gpu()
    output_dir = experiment.root if experiment is not None else Path(OUTPUT_DIR).absolute()
    if experiment is not None and experiment.store is not None:
        yield storage.store(experiment.store, "output_dir")
        yield from storage.folder(output_dir, "XDG_CACHE_HOME")
    else:
        yield from storage.folder(output_dir, "output_dir")
    yield from storage.folder(Path(tempfile.gettempdir()), "TMPDIR")
    yield from machine.clock()
    yield from services.ray(address or (experiment.cluster.address if experiment is not None else "local"))
    yield services.token()
    serve = experiment.serve if experiment is not None else None
    yield from services.ports((serve and serve.port) or PORT, (serve and serve.host) or HOST)
    yield services.haproxy(production)
    yield services.hub()
    if experiment is not None:
        yield from licences(experiment)


def licences(experiment: Experiment) -> Iterator[Finding]:
    """The licence of every model that an experiment names."""
    for name in sorted(models(experiment)):
        text = licence(name)
        if is_non_commercial(text):
            yield Finding("note", f"licence of {name}", text, "choose another model where you sell what comes of it")
        elif text == UNKNOWN:
            yield Finding("note", f"licence of {name}", text, "read its model card")
        else:
            yield Finding("ok", f"licence of {name}", text)


def models(experiment: Experiment) -> set[str]:
    """The models of an experiment's stages, told without loading these, which takes seconds."""
    named = [experiment.train.base_model, experiment.train.teacher]
    if experiment.translate is not None:
        named += experiment.translate.candidates or [experiment.translate.model]
    named += [experiment.score.model] if experiment.score is not None else []
    named += [experiment.mine.encoder] if experiment.mine is not None else []
    return {name for name in named if name is not None}
