"""Commands on an experiment: check, run, tune, evaluate, study, log, submit."""

from pathlib import Path
from typing import Annotated

import typer

from nlift import __version__, cluster
from nlift.cli.app import Address, ExperimentFile, NoOverwrite, Overrides, app, load, user_errors
from nlift.config import load_experiment
from nlift.errors import ConfigError, NliftError

Only = Annotated[list[str] | None, typer.Option(metavar="STAGE", help="Run this stage alone; may be repeated.")]


@app.command(epilog="Example: nlift check jobs/experiments/demo.yaml --set train.epochs=2 --price machine=0.1")
@user_errors
def check(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    cluster_file: Annotated[
        Path | None,
        typer.Option("--cluster", metavar="FILE", help="cluster.yaml whose machines it would run on, not this one."),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE_TYPE=PER_HOUR", help="Price of a machine, as machine=0.1; may be repeated."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of a hub data set that is not here, to predict times with.")
    ] = None,
) -> None:
    """Validate an experiment, print the plan and what it would take; start nothing."""
    from nlift import progress
    from nlift.report import plan

    progress.show()
    plan.show(load_experiment(experiment, overrides), cluster_file, price or [], rows)


@app.command(epilog="Example: nlift run jobs/experiments/demo.yaml --only translate --only score")
@user_errors
def run(
    experiment: ExperimentFile,
    only: Only = None,
    overrides: Overrides = None,
    address: Address = None,
    no_overwrite: NoOverwrite = False,
) -> None:
    """Run all stages that are not done yet."""
    from nlift import pipeline, progress
    from nlift.report import console, html, model_card

    loaded = load(experiment, overrides, address)
    print(f"nlift {__version__}: {loaded.name} -> {loaded.folder_store or loaded.folder}", flush=True)
    progress.show()
    results = pipeline.run(loaded, only, overwrite=not no_overwrite)
    html.write(loaded)
    model_card.write(loaded)
    console.show_run(loaded, results)


@app.command(epilog="Example: nlift tune jobs/experiments/demo.yaml")
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


@app.command(epilog="Example: nlift evaluate jobs/experiments/demo.yaml --encoder runs/demo/train/encoder")
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
        raise ConfigError("nothing to measure; expected --encoder or --run")
    wanted = stage.contenders(encoder or [])
    progress.show()
    pipeline.preflight(loaded, [stage.STAGE])
    judgements = stage.judge_runs(loaded, judged or [])  # a wrong file is told before anything is measured
    cluster.connect(loaded.cluster)
    with stage.STAGE.advice():
        results = [*stage.measure_all(loaded, wanted), *judgements]
        models = stage.measure_models(loaded)
    console.show_metrics({**stage.collect(results), **models}, stage.compared(results))
    if output is not None:
        stage.write_results(loaded, results, output, models)


@app.command(epilog="Example: nlift study jobs/experiments/studies/ablation.yaml")
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
    experiment = planned[0].experiment
    page = report.write(loaded, results, experiment.root)
    pipeline_study.keep(experiment, page.name)
    print(f"report: {page if experiment.store is None else f'{experiment.store}/{page.name}'}")


@app.command(epilog="Example: nlift log runs/demo --to mlflow")
@user_errors
def log(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, as runs/demo, or its URI.")],
    to: Annotated[str, typer.Option(help="What to log to: mlflow.")],
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="Store of MLflow; MLFLOW_TRACKING_URI, else sqlite:///mlflow.db, when not given."),
    ] = None,
) -> None:
    """Log the finished stages of a run to an experiment tracker, those that it has not yet."""
    from nlift.report import logged_runs, mlflow_store, run_folder

    if to != "mlflow":
        raise NliftError(f"--to {to}: expected mlflow")
    folder = run_folder.here(run)
    runs, name, uri = logged_runs.read(folder), folder.resolve().name, mlflow_store.store_uri(tracking_uri)
    fresh = mlflow_store.log(runs, name, uri)
    print(f"logged: {', '.join(fresh)}" if fresh else "nothing to log: every stage is there already")
    print(f"MLflow experiment {name} at {mlflow_store.shown_uri(uri)}")


@app.command(
    epilog="Example: nlift submit jobs/experiments/demo.yaml --address http://127.0.0.1:8265 --set output_dir=$PWD/runs"
)
@user_errors
def submit(
    path: Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="YAML file of an experiment, or of a study.")],
    address: Annotated[str, typer.Option(help="Dashboard of the cluster's head, as http://HEAD:8265.")],
    overrides: Overrides = None,
    job: Annotated[
        str | None, typer.Option(help="pipeline, tune or study; study for a study's file, else pipeline.")
    ] = None,
    only: Only = None,
    stop_on_interrupt: Annotated[
        bool, typer.Option("--stop-on-interrupt", help="Let Ctrl-C stop the job; without, it goes on.")
    ] = False,
) -> None:
    """Run the pipeline, a sweep or a study as a Ray job, from the root of a checkout; the log is shown as it grows."""
    from nlift.cli import jobs

    raise typer.Exit(jobs.submit(path, job, address, overrides or [], only or [], stop_on_interrupt))
