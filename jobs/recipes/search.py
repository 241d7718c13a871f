"""How good the search is that would be deployed: encoders on every retrieval set of a folder, with and without queries.

Of each set a fifth of the queries, by a hash of their ids, is for choosing; figures are of the others.
"""

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlift.evaluation.datasets import RetrievalSet, load_beir
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.encoder_choice import RememberingEncoder
from nlift.evaluation.evaluator import Measured, measure_bm25, measure_retrieval
from nlift.evaluation.significance import interval
from nlift.models.encoder import Encoder
from nlift.settings import SearchConfig
from recipes.lift import cell

MAX_LENGTH = 256
FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
CHOICE = ("weight", "NDCG@10", "above the better leg", "chosen on")
COLUMNS = ("set", "encoder", "queries", "BM25, plain", "BM25", "dense", *CHOICE, *CHOICE)  # with queries, and without


def unpacked(folder: Path, work: Path) -> Path:
    """A BEIR folder, its compressed files unpacked into `work`."""
    target = work / folder.name
    for name in FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
        else:
            with gzip.open(folder / f"{name}.gz") as packed, (target / name).open("wb") as file:
                shutil.copyfileobj(packed, file)
    return target


@dataclass
class Deployed:
    """A search that was chosen, and NDCG@10 of what is reported, query by query: its own, and that of its legs."""

    mode: str
    alpha: float
    chosen_on: str
    ndcg_Q: np.ndarray
    dense_Q: np.ndarray
    lexical_Q: np.ndarray

    @property
    def how(self) -> str:
        """The weight of the dense leg in a hybrid, else the mode."""
        return f"{self.alpha:g}" if self.mode == "hybrid" else self.mode

    @property
    def gain_Q(self) -> np.ndarray:
        """What it has above the better leg."""
        return self.ndcg_Q - max(self.dense_Q, self.lexical_Q, key=np.mean)


def deployed(encoder: RememberingEncoder, dataset: RetrievalSet, deployment: Deployment) -> Deployed:
    """What a deployment gives on a set."""
    dense, hybrid = measure_retrieval("dense", encoder, dataset, MAX_LENGTH, "hybrid", deployment)
    chosen = hybrid.deployed or {}
    lexical = measure_bm25("bm25", dataset, deployment.analyzer(dataset.in_row_order()))
    by_mode = {"dense": ndcg(dense), "lexical": ndcg(lexical), "hybrid": ndcg(hybrid)}
    ndcg_Q = by_mode[chosen["mode"]]
    return Deployed(chosen["mode"], chosen["alpha"], chosen["chosen_on"], ndcg_Q, by_mode["dense"], by_mode["lexical"])


def ndcg(measured: Measured) -> np.ndarray:
    """NDCG@10 of each query."""
    return np.array([row["ndcg@10"] for row in measured.per_query.values()])


def lines(data: Path, work: Path, encoders: dict[str, list[str]]) -> Iterator[str]:
    """The table as Markdown, a line per set and encoder as they are done; several seeds of one are a line."""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---|---|" + "---:|" * (len(COLUMNS) - 2)
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        whole = load_beir(folder.name, unpacked(folder, work))
        test, dev = whole.part(dev=False), whole.part(dev=True)
        words = [measure_bm25("bm25_plain", test)]
        words.append(measure_bm25("bm25", test, Deployment(SearchConfig()).analyzer(test.in_row_order())))
        fixed = [f"{ndcg(measured).mean():.3f}" for measured in words]
        for name, sources in encoders.items():
            labelled, unlabelled = [], []
            for source in sources:
                encoder = RememberingEncoder(Encoder.load(source))
                labelled.append(deployed(encoder, test, Deployment(SearchConfig(), dev=dev)))
                unlabelled.append(deployed(encoder, test, Deployment(SearchConfig())))
            dense = [float(row.dense_Q.mean()) for row in labelled]
            cells = [folder.name, name, str(len(ndcg(words[0]))), *fixed, cell(dense), *_of(labelled), *_of(unlabelled)]
            yield "| " + " | ".join(cells) + " |"


def _of(group: list[Deployed]) -> list[str]:
    """Weights or modes, the figure, the gain, and what was chosen on."""
    how = ", ".join(row.how for row in group)
    if len(group) == 1:
        low, high = interval(group[0].gain_Q)
        gain = f"{group[0].gain_Q.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    else:
        means = [float(row.gain_Q.mean()) for row in group]
        low, high = interval(np.mean([row.gain_Q for row in group], axis=0))
        gain = f"{np.mean(means):+.3f} [{low:+.3f}, {high:+.3f}], least {min(means):+.3f}"
    figure = cell([float(row.ndcg_Q.mean()) for row in group])
    return [how, figure, gain, "/".join(dict.fromkeys(row.chosen_on for row in group))]


def show(data: Path, work: Path, encoders: list[str]) -> None:
    """Print the table for encoders, each as `NAME=PATH`, or `NAME=PATH,PATH` for the seeds of one."""
    named = {name: paths.split(",") for name, paths in (text.split("=", 1) for text in encoders)}
    for line in lines(data, work, named):
        print(line, flush=True)
