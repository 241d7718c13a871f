"""Commands that look after things: doctor, calibrate, clean."""

from pathlib import Path
from typing import Annotated

import typer

from nlift import uris
from nlift.cli.app import Address, Overrides, app, load, user_errors
from nlift.errors import ArtifactError
from nlift.visible import size_text, visible


@app.command(epilog="Example: nlift doctor jobs/experiments/demo.yaml")
@user_errors
def doctor(
    experiment: Annotated[
        Path | None, typer.Argument(metavar="[EXPERIMENT]", help="YAML file whose folders, models and cluster count.")
    ] = None,
    overrides: Overrides = None,
    address: Annotated[
        str | None, typer.Option(help="Cluster that should answer: auto, HOST:PORT or http://HEAD:8265.")
    ] = None,
    production: Annotated[
        bool, typer.Option("--production", help="Ask for what `nlift serve --production` needs too.")
    ] = False,
) -> None:
    """Check this machine: packages, CPU, GPU, Ray, ports, disk, hub, licences. Exit code 2 where something is wrong."""
    from nlift.doctor import checkup
    from nlift.doctor.finding import WRONG

    loaded = load(experiment, overrides, None) if experiment is not None else None
    wrong = 0
    for finding in checkup.findings(loaded, address=address, production=production):
        print(visible(str(finding)), flush=True)
        wrong += finding.state == WRONG
    print(f"{wrong} wrong" if wrong else "nothing is wrong")
    raise typer.Exit(2 if wrong else 0)


@app.command(epilog="Example: nlift calibrate jobs/experiments/demo.yaml")
@user_errors
def calibrate(
    experiment: Annotated[
        Path | None, typer.Argument(metavar="[EXPERIMENT]", help="YAML file whose models count; without, the embedded.")
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Measure how fast this machine or cluster runs the models, in some minutes; `nlift check` predicts by it."""
    from nlift import progress
    from nlift.config import overridden
    from nlift.cost import calibration, rates
    from nlift.report import console, cost

    if experiment is not None:
        experiments = [load(experiment, overrides, address)]
    else:
        changes = [*(overrides or []), *([f"cluster.address={address}"] if address else [])]
        experiments = [overridden(default, changes) for default in calibration.default_experiments()]
    path = rates.rates_file()
    known = rates.read(path) if path.exists() else rates.Rates((), rates.shipped().ray_start_s)
    progress.show()
    result = calibration.calibrate(experiments)
    rates.save(known.merged(result.rates, result.ray_start_s), path)
    console.draw(cost.rates_table(result.rates))
    for line in result.failures:
        print(visible(f"not measured: {line}; nlift check estimates it by its size"))
    print(visible(f"rates    {path}"))


@app.command(epilog="Example: nlift clean runs --older-than 30 --yes")
@user_errors
def clean(
    output_dir: Annotated[str, typer.Argument(metavar="OUTPUT_DIR", help="Folder of runs, or of bundles; or a URI.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, it is listed alone.")] = False,
    keep: Annotated[
        int, typer.Option(min=0, help="Newest bundle versions that stay beside those that a name needs.")
    ] = 2,
    older_than: Annotated[
        float | None,
        typer.Option(metavar="DAYS", min=0, help="Only what is so old; measurements that have no record too."),
    ] = None,
    memories: Annotated[
        bool, typer.Option("--memories", help="Translations and scores too, which all experiments share.")
    ] = False,
) -> None:
    """List what nothing uses any more, half-written work too, with sizes; remove it with --yes."""
    from nlift.pipeline import clean_store
    from nlift.pipeline.clean import Wanted
    from nlift.pipeline.clean import clean as run_clean

    if uris.is_remote(output_dir):
        if memories:
            raise ArtifactError(
                f"{output_dir}: --memories is of folders; remove translations/ and scores/ there yourself"
            )
        leftovers = [(row.frees, row.uri, row.why) for row in clean_store.clean(output_dir, older_than, remove=yes)]
    else:
        rows = run_clean(Path(output_dir), Wanted(keep, older_than, memories), remove=yes)
        leftovers = [(row.frees, str(row.path), row.why) for row in rows]
    for frees, place, why in leftovers:
        print(visible(f"{size_text(frees):>9}  {place}  {why}"))
    if not leftovers:
        print(visible(f"{output_dir}: nothing to remove"))
        return
    total = size_text(sum(frees for frees, *_ in leftovers))
    if yes:
        print(f"removed: {total} are free")
    else:
        print(f"{total} in all; nothing was removed, --yes does it")
