"""Train what ships with nlift: `python jobs/build_embedded.py COMMAND --data DIR`."""

import typer

from recipes import build

app = typer.Typer(add_completion=False, help=__doc__)
app.command()(build.translator)
app.command()(build.encoder)
app.command()(build.comet)
app.command()(build.translator_more)
app.command()(build.data)
app.command()(build.scores)
app.command()(build.lift)
app.command()(build.search)
app.command()(build.gain)

if __name__ == "__main__":
    app()
