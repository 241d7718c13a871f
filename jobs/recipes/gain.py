"""What fine-tuning gives beside its base model: encoders on sets of a folder, dense and deployed, and on similarity.

Of each set a fifth of the queries, by a hash of their ids, is for choosing how to search; figures are of the others.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nlift.data.files import write_json
from nlift.data.sources import model_fingerprint
from nlift.evaluation.datasets import RetrievalSet, StsSet, load_beir, load_set
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.encoder_choice import RememberingEncoder, StsJudge
from nlift.evaluation.significance import interval
from nlift.models.encoder import Encoder
from nlift.settings import EvaluationSet, SearchConfig
from recipes.search import MAX_LENGTH, Deployed, deployed, unpacked

STS = EvaluationSet(name="stsb_pl", kind="sts", path="embedded:stsb_pl")
COLUMNS = ("set", "encoder", "dense", "above the base", "how", "deployed", "above the base")


def show(data: Path, work: Path, encoders: list[str], sets: list[str]) -> None:
    """Print the table for encoders, each as `NAME=PATH`; the first one is the base, which the others are beside."""
    for line in lines(data, work, sets, dict(text.split("=", 1) for text in encoders)):
        print(line, flush=True)


def lines(data: Path, work: Path, sets: Sequence[str], encoders: dict[str, str]) -> Iterator[str]:
    """The table as Markdown, a line per set and encoder as they are done."""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---|---|" + "---:|" * (len(COLUMNS) - 2)
    for name in sets:
        whole = load_beir(name, unpacked(data / name, work))
        test, deployment = whole.part(dev=False), Deployment(SearchConfig(), dev=whole.part(dev=True))
        measured = {
            title: _measured(work / f"{name}.{model_fingerprint(source, 'encoder')}.json", source, test, deployment)
            for title, source in encoders.items()
        }
        base = next(iter(measured.values()))
        for title, row in measured.items():
            cells = [name, title, *_cells(row.dense_Q, base.dense_Q), row.how, *_cells(row.ndcg_Q, base.ndcg_Q)]
            yield "| " + " | ".join(cells) + " |"
    yield from _similarity(encoders)


def _measured(path: Path, source: str, test: RetrievalSet, deployment: Deployment) -> Deployed:
    """An encoder on the queries of a set that are reported; kept in a file, as a large encoder takes minutes."""
    if not path.is_file():
        row = asdict(deployed(RememberingEncoder(Encoder.load(source)), test, deployment))
        write_json(path, {key: value.tolist() if key.endswith("_Q") else value for key, value in row.items()})
    kept = json.loads(path.read_text())
    return Deployed(**{key: np.array(value) if key.endswith("_Q") else value for key, value in kept.items()})


def _cells(values_Q: np.ndarray, base_Q: np.ndarray) -> list[str]:
    """NDCG@10, and what it has above the base with the 95 % interval over queries."""
    if values_Q is base_Q:
        return [f"{values_Q.mean():.3f}", ""]
    low, high = interval(values_Q - base_Q)
    return [f"{values_Q.mean():.3f}", f"{(values_Q - base_Q).mean():+.3f} [{low:+.3f}, {high:+.3f}]"]


def _similarity(encoders: dict[str, str]) -> Iterator[str]:
    """Spearman's correlation of each encoder, and what it has above the base with the interval over resampled pairs."""
    dataset = load_set(STS)
    assert isinstance(dataset, StsSet)
    judge = StsJudge(STS.name, dataset)
    values = {title: judge.values(Encoder.load(source), MAX_LENGTH) for title, source in encoders.items()}
    base = next(iter(values))
    for title, values_Q in values.items():
        mean, low, high = judge.above(values_Q, values[base])
        above = "" if title == base else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        yield f"| {STS.name} | {title} | {judge.figure(values_Q):.3f} | {above} | | | |"
