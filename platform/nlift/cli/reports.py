"""Commands on finished runs: report."""

from pathlib import Path
from typing import Annotated

import typer

from nlift import uris
from nlift.cli.app import app, user_errors
from nlift.errors import NliftError


@app.command(epilog="Example: nlift report runs/demo runs/other --output compare.html")
@user_errors
def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders of runs, as runs/demo, or their URIs.")],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The page; report.html in the run, compare.html beside the first of several."
        ),
    ] = None,
) -> None:
    """Draw the page of a run again, or one page that compares several runs."""
    from nlift.data import transfer
    from nlift.report import compare, console, html, run_folder

    if output is not None and not output.absolute().parent.is_dir():
        raise NliftError(f"--output {output}: no such folder {output.parent}")
    if output is None and len(runs) > 1 and uris.is_remote(runs[0]):
        raise NliftError(f"{runs[0]}: give the file of a page of several runs by --output")
    folders = [run_folder.here(run) for run in runs]
    if len(runs) > 1:
        console.say(f"report   {compare.write(folders, output)}")
        return
    path = html.redraw(run_folder.checked(folders[0]), output)
    if uris.is_remote(runs[0]) and output is None:
        uri = transfer.joined(runs[0], path.name)
        transfer.put(path, uri)
        console.say(f"report   {uri}")
        return
    console.say(f"report   {path}")
