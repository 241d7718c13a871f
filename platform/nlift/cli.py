"""The command line: one command per task. Exit 0 done, 2 the user's mistake, 1 ours."""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from nlift import __version__, cluster
from nlift.config import Experiment, load_experiment
from nlift.errors import NliftError
from nlift.settings import ClusterConfig, IndexConfig, ServeConfig
from nlift.visible import visible

app = typer.Typer(name="nlift", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="YAML file of the experiment.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; the value is YAML.")
]
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
            if error.errno != errno.ENOSPC:
                raise
            _end(2, f"error: {cluster.disk_full(error)}")

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


@app.command()
@user_errors
def check(experiment: ExperimentFile, overrides: Overrides = None) -> None:
    """Validate an experiment and print the plan; start nothing."""
    from nlift import progress
    from nlift.report import plan

    progress.show()
    plan.show(load_experiment(experiment, overrides))


@app.command()
@user_errors
def run(
    experiment: ExperimentFile,
    only: Annotated[
        list[str] | None, typer.Option(metavar="STAGE", help="Run this stage alone; may be repeated.")
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
    no_overwrite: NoOverwrite = False,
) -> None:
    """Run all stages that are not done yet."""
    from nlift import pipeline, progress
    from nlift.report import console, html

    loaded = _load(experiment, overrides, address)
    print(f"nlift {__version__}: {loaded.name} -> {loaded.folder}", flush=True)
    progress.show()
    results = pipeline.run(loaded, only, overwrite=not no_overwrite)
    html.write(loaded)
    console.show_run(loaded, results)


@app.command()
@user_errors
def tune(
    experiment: ExperimentFile, overrides: Overrides = None, address: Address = None, no_overwrite: NoOverwrite = False
) -> None:
    """Run the sweep of the section `tune` and keep the best encoder."""
    from nlift import pipeline, progress
    from nlift.report import console, html

    loaded = _load(experiment, overrides, address)
    progress.show()
    pipeline.run_tune(loaded, overwrite=not no_overwrite)
    html.write(loaded)
    console.show_sweep(loaded)


@app.command()
@user_errors
def evaluate(
    experiment: ExperimentFile,
    encoder: Annotated[
        list[str], typer.Option(metavar="PATH_OR_HUB_NAME", help="Encoder to measure; may be repeated.")
    ],
    overrides: Overrides = None,
    address: Address = None,
    output: Annotated[Path | None, typer.Option(help="Folder for metrics.json and TREC runs.")] = None,
) -> None:
    """Measure encoders on the experiment's sets, BM25 and both together beside them."""
    from nlift import pipeline, progress
    from nlift.pipeline import evaluate as stage
    from nlift.report import console

    loaded = _load(experiment, overrides, address)
    wanted = stage.contenders(encoder)
    progress.show()
    pipeline.preflight(loaded, [stage.STAGE])
    cluster.connect(loaded.cluster)
    with stage.STAGE.advice():
        results = stage.measure_all(loaded, wanted)
        models = stage.measure_models(loaded)
    console.show_metrics({**stage.collect(results), **models})
    if output is not None:
        stage.write_results(loaded, results, output, models)


@app.command()
@user_errors
def index(
    experiment: Annotated[Path | None, typer.Argument(metavar="[EXPERIMENT]")] = None,
    corpus: Annotated[str | None, typer.Option(help="Corpus file or BEIR folder.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="Encoder folder.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="BUNDLES_DIR", help="Folder of bundles.")] = None,
    kind: Annotated[str | None, typer.Option(help="flat, hnsw or ivf; flat when not given.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the corpus, as pl; recognised in its texts when not given.")
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Build a bundle: an experiment's index stage, or any corpus with any encoder."""
    from nlift import pipeline, progress
    from nlift.pipeline import index as stage
    from nlift.report import console
    from nlift.search import bundle

    progress.show()
    given = [*(overrides or []), *([f"search.language={json.dumps(language)}"] if language is not None else [])]
    if experiment is not None:
        if corpus or encoder or output or kind:
            raise NliftError("index: an EXPERIMENT says --corpus, --encoder, --output and --kind itself")
        loaded = _load(experiment, given, address)
        stage.config_of(loaded)
        pipeline.run(loaded, [stage.STAGE.name])
        console.show_search(bundle.resolve(stage.STAGE.path(loaded)))
        print(f"bundles: {stage.STAGE.path(loaded)}")
        return
    if corpus is None or encoder is None or output is None:
        raise NliftError("index: give an EXPERIMENT, or all of --corpus, --encoder and --output")
    if kind not in (None, "flat", "hnsw", "ivf"):
        raise NliftError(f"--kind {kind}: expected flat, hnsw or ivf")
    stage.check_encoder(encoder)
    config, searched = stage.sections(IndexConfig.model_validate({"corpus": corpus, "kind": kind or "flat"}), given)
    stage.check_corpus(config, searched)
    cluster.connect(_cluster(address))
    with stage.STAGE.advice():
        built = stage.build(config, searched, encoder, output)
    if not bundle.read_aliases(output):
        bundle.promote(output, built.name)
    console.show_search(built)
    print(f"bundle: {built}")


@app.command()
@user_errors
def search(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, or a folder of bundles.")],
    query: str,
    top_k: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    mode: Annotated[
        str, typer.Option(help="dense, lexical or hybrid; auto is what was best when the bundle was built.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search a bundle."""
    from nlift import progress
    from nlift.report import console
    from nlift.search.bundle import Bundle, hits_to_json

    progress.show()
    if mode not in ("auto", "dense", "lexical", "hybrid"):
        raise NliftError(f"--mode {mode}: expected auto, dense, lexical or hybrid")
    if not query.strip():
        raise NliftError("the query is empty")
    hits = Bundle.load(path).search([query], top_k, mode=mode)[0]  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(hits_to_json(hits), ensure_ascii=False, indent=2))
    else:
        console.show_hits(query, hits)


@app.command()
@user_errors
def promote(
    bundles: Annotated[Path, typer.Argument(metavar="BUNDLES_DIR")], version: str, alias: str = "production"
) -> None:
    """Let an alias mean a version."""
    from nlift.search import bundle

    bundle.promote(bundles, version, alias)
    print(f"{alias} is now {version}")


@app.command()
@user_errors
def serve(
    path: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle, a folder of bundles, or an experiment's YAML.")
    ],
    alias: str = "production",
    host: Annotated[
        str | None, typer.Option(help="Address to bind; 127.0.0.1 unless the experiment says otherwise.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port; 8000 unless the experiment says otherwise.")
    ] = None,
    num_replicas: Annotated[int | None, typer.Option(min=1, help="Copies of encoder and index.")] = None,
    address: Address = None,
) -> None:
    """Serve a bundle over HTTP until interrupted."""
    from nlift import progress
    from nlift.search.bundle import read_info, resolve, verify
    from nlift_serve import replica

    progress.show()
    config = ServeConfig()
    if path.suffix in (".yaml", ".yml"):
        from nlift.pipeline import index as stage

        experiment = load_experiment(path)
        path, config = stage.STAGE.path(experiment), experiment.serve
    folder = resolve(path, alias)
    verify(folder, read_info(folder))
    given = {"host": host, "port": port, "num_replicas": num_replicas}
    config = config.model_copy(update={name: value for name, value in given.items() if value is not None})
    replica.run(folder.absolute(), config, _cluster(address))


@app.command()
@user_errors
def submit(
    experiment: ExperimentFile,
    address: Annotated[str, typer.Option(help="Dashboard of the cluster's head, as http://HEAD:8265.")],
    overrides: Overrides = None,
) -> None:
    """Run the pipeline as a Ray job, from the root of a checkout."""
    from nlift.submit import submit as submit_job

    load_experiment(experiment, overrides)
    show = partial(print, end="", flush=True)
    raise typer.Exit(submit_job(experiment, address, overrides or [], show))


def _load(path: Path, overrides: list[str] | None, address: str | None) -> Experiment:
    extra = [f"cluster.address={address}"] if address else []
    return load_experiment(path, [*(overrides or []), *extra])


def _cluster(address: str | None) -> ClusterConfig:
    return ClusterConfig(address=address) if address else ClusterConfig()


if __name__ == "__main__":
    app()
