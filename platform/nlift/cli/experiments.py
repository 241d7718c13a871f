"""Commands on an experiment: check, run, tune, evaluate, study, log, submit."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from nlift import __version__, cluster
from nlift.cli.app import Address, ExperimentFile, NoOverwrite, Overrides, app, load, user_errors
from nlift.config import load_experiment
from nlift.errors import NliftError


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
    from nlift.report import console, html, model_card

    loaded = load(experiment, overrides, address)
    print(f"nlift {__version__}: {loaded.name} -> {loaded.folder}", flush=True)
    progress.show()
    results = pipeline.run(loaded, only, overwrite=not no_overwrite)
    html.write(loaded)
    model_card.write(loaded)
    console.show_run(loaded, results)


@app.command()
@user_errors
def tune(
    experiment: ExperimentFile, overrides: Overrides = None, address: Address = None, no_overwrite: NoOverwrite = False
) -> None:
    """Run the sweep of the section `tune` and keep the best encoder."""
    from nlift import pipeline, progress
    from nlift.report import console, html, model_card

    loaded = load(experiment, overrides, address)
    progress.show()
    pipeline.run_tune(loaded, overwrite=not no_overwrite)
    html.write(loaded)
    model_card.write(loaded)
    console.show_sweep(loaded)


@app.command()
@user_errors
def evaluate(
    experiment: ExperimentFile,
    encoder: Annotated[
        list[str] | None, typer.Option(metavar="PATH_OR_HUB_NAME", help="Encoder to measure; may be repeated.")
    ] = None,
    judged: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="SET=FILE", help="TREC run of any tool to judge; may be repeated."),
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
    output: Annotated[Path | None, typer.Option(help="Folder for metrics.json and TREC runs.")] = None,
) -> None:
    """Measure encoders, or runs of other tools, on the experiment's sets; BM25 and hybrids beside them."""
    from nlift import pipeline, progress
    from nlift.pipeline import evaluate as stage
    from nlift.report import console

    loaded = load(experiment, overrides, address)
    if not encoder and not judged:
        raise typer.BadParameter("nothing to measure; expected --encoder or --run")
    wanted = stage.contenders(encoder or [])
    progress.show()
    pipeline.preflight(loaded, [stage.STAGE])
    cluster.connect(loaded.cluster)
    with stage.STAGE.advice():
        results = [*stage.measure_all(loaded, wanted), *stage.judge_runs(loaded, judged or [])]
        models = stage.measure_models(loaded)
    console.show_metrics({**stage.collect(results), **models}, stage.compared(results))
    if output is not None:
        stage.write_results(loaded, results, output, models)


@app.command()
@user_errors
def study(
    path: Annotated[Path, typer.Argument(metavar="STUDY.yaml")],
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Run an experiment in several variants with several seeds, and report what differs."""
    from nlift import progress, study_config
    from nlift.pipeline import study as pipeline_study
    from nlift.report import model_card
    from nlift.report import study as report

    loaded = study_config.load_study(path)
    given = [*(overrides or []), *([f"cluster.address={address}"] if address else [])]
    planned = study_config.runs_of(loaded, given)
    progress.show()
    results = pipeline_study.results_of(pipeline_study.run_study(loaded, planned))
    report.show(loaded, results)
    for planned_run in planned:
        model_card.write(planned_run.experiment)
    print(f"report: {report.write(loaded, results, planned[0].experiment.root)}")


@app.command()
@user_errors
def log(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as runs/demo.")],
    to: Annotated[str, typer.Option(help="What to log to: mlflow.")],
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="Store of MLflow; MLFLOW_TRACKING_URI, else sqlite:///mlflow.db, when not given."),
    ] = None,
) -> None:
    """Log the finished stages of a run to an experiment tracker, those that it has not yet."""
    from nlift.report import logged_runs, mlflow_store

    if to != "mlflow":
        raise NliftError(f"--to {to}: expected mlflow")
    runs, name, uri = logged_runs.read(run), run.resolve().name, mlflow_store.store_uri(tracking_uri)
    fresh = mlflow_store.log(runs, name, uri)
    print(f"logged: {', '.join(fresh)}" if fresh else "nothing to log: every stage is there already")
    print(f"MLflow experiment {name} at {mlflow_store.shown_uri(uri)}")


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
