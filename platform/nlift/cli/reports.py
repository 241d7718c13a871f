"""Commands on finished runs: report."""

from pathlib import Path
from typing import Annotated

import typer

from nlift.cli.app import app, user_errors
from nlift.errors import NliftError


@app.command(epilog="Example: nlift report runs/demo runs/other --output compare.html")
@user_errors
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, as runs/demo.")],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The page; report.html in the run, compare.html beside the first of several."
        ),
    ] = None,
) -> None:
    """Draw the page of a run again, or one page that compares several runs."""
    from nlift.report import compare, console, html, run_folder

    if output is not None and not output.absolute().parent.is_dir():
        raise NliftError(f"--output {output}: no such folder {output.parent}")
    if len(runs) == 1:
        path = html.redraw(run_folder.checked(runs[0]), output)
        console.say(f"report   {path}")
        return
    console.say(f"report   {compare.write(runs, output)}")
