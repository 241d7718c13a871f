"""Train the models that ship with nlift: `python jobs/build_embedded.py translator --data DIR`."""

import typer
from recipes import translator

app = typer.Typer(add_completion=False)
app.command("translator")(translator.build)
