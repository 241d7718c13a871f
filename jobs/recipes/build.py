"""The commands of build_embedded.py: what is built, from which data, with which seed and time budget.

Every model goes on from its checkpoint in `--work` when it is started again.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

Data = Annotated[Path, typer.Option(help="Folder of the open data (see docs/results.md).")]
Work = Annotated[Path, typer.Option(help="Folder for checkpoints.")]
Budget = Annotated[float, typer.Option(help="Seconds of training.")]
Threads = Annotated[int, typer.Option(help="CPU threads.")]

EMBEDDED = Path(__file__).resolve().parents[2] / "platform" / "nlift" / "embedded"
WORK = Path("build")


def translator(data: Data, work: Work = WORK, budget_s: Budget = 5200, threads: Threads = 1) -> None:
    """Train the English-Polish translator."""
    from recipes import translator as recipe

    torch.set_num_threads(threads)
    recipe.build(data, work / "translator", EMBEDDED / "translator", budget_s)


def translator_more(data: Data, work: Work = WORK, budget_s: Budget = 3000, threads: Threads = 2) -> None:
    """Train the translator further; COMET chooses among the pairs of the web."""
    from nlift.models.comet import CometScorer
    from nlift.settings import ScoreConfig
    from recipes import translator as recipe

    torch.set_num_threads(threads)
    recipe.go_on(data, work / "translator-more", EMBEDDED / "translator", CometScorer(ScoreConfig()), budget_s)


def encoder(data: Data, work: Work = WORK, budget_s: Budget = 2400, threads: Threads = 2) -> None:
    """Pre-train the bilingual base encoder."""
    from recipes import encoder as recipe

    torch.set_num_threads(threads)
    recipe.build(data, work / "encoder", EMBEDDED / "encoder", budget_s)


def comet(data: Data, work: Work = WORK, budget_s: Budget = 1200, threads: Threads = 1) -> None:
    """Train COMET on top of the encoder; needs the translator's rough checkpoints."""
    from recipes import comet as recipe

    torch.set_num_threads(threads)
    roughs = sorted((work / "translator").glob("rough-*.pt"))
    base, sentences = EMBEDDED / "encoder", EMBEDDED / "translator"
    recipe.build(data, work / "comet", EMBEDDED / "comet", base, sentences, roughs, budget_s)


def data(data: Data) -> None:
    """Copy the demo's data."""
    from recipes import demo_data as recipe

    recipe.build(data, EMBEDDED / "data")


def scores(data: Data) -> None:
    """Print what the models score on data they never saw."""
    from recipes import scores as recipe

    recipe.show(data)


def lift(
    experiment: Annotated[Path, typer.Argument()],
    work: Work = WORK,
    part: Annotated[list[str] | None, typer.Option(help="Variants to train; all of them when none is named.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Encoder of English for the variants with translations.")] = None,
    parallel: Annotated[list[str] | None, typer.Option(help="TSV of source and target for it to teach, too.")] = None,
) -> None:
    """Print how much the demo's fine-tuning lifts the base and a random encoder, over three seeds."""
    from recipes import lift as recipe

    recipe.show(experiment, work, part or [], teacher, parallel or [])


def search(
    encoders: Annotated[list[str], typer.Argument(help="NAME=PATH each, or NAME=PATH,PATH for the seeds of one.")],
    data: Data,
    work: Work = WORK,
) -> None:
    """Print how good the deployed search is on every retrieval set of --data, with queries to choose on and without."""
    from recipes import search as recipe

    recipe.show(data / "retrieval", work, encoders)


def gain(
    encoders: Annotated[list[str], typer.Argument(help="NAME=PATH each; the base model first.")],
    data: Data,
    sets: Annotated[list[str], typer.Option("--set", help="Retrieval set of --data, as often as there are some.")],
    work: Work = WORK,
) -> None:
    """Print what fine-tuned encoders have above their base model, dense and as they would be deployed."""
    from recipes import gain as recipe

    recipe.show(data / "retrieval", work, encoders, sets)
