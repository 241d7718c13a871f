"""`python -m nlift.cli` is `nlift`."""

from nlift.cli import app

app()
