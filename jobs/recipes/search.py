"""How good the search is that would be deployed: encoders on every retrieval set of a folder, with and without queries.

Of each set a fifth of the queries, by a hash of their ids, is for choosing; figures are of the others.
"""

import gzip
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nlift.data.schema import Document
from nlift.evaluation.datasets import RetrievalSet, load_beir
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.evaluator import Measured, encode_set, measure_bm25, measure_retrieval, measure_vectors
from nlift.evaluation.significance import interval
from nlift.models.encoder import Encoder, Role
from nlift.search.ranking import row_order
from nlift.settings import SearchConfig

MAX_LENGTH = 256
FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
CHOICE = ("how", "NDCG@10", "above the better leg", "chosen on")
COLUMNS = ("set", "encoder", "queries", "BM25, plain", "BM25", "dense", *CHOICE, *CHOICE)  # with queries, and without


class RememberingEncoder:
    """An encoder that encodes no text twice."""

    def __init__(self, source: str) -> None:
        self.encoder = Encoder.load(source)
        self.vectors: dict[tuple[Role, str], np.ndarray] = {}

    def encode(self, texts: Sequence[str], *, role: Role = None, max_length: int | None = None) -> np.ndarray:
        """Unit vectors, float32 [N, D]."""
        new = [text for text in dict.fromkeys(texts) if (role, text) not in self.vectors]
        if new:
            encoded = self.encoder.encode(new, role=role, max_length=max_length)
            self.vectors |= {(role, text): vector for text, vector in zip(new, encoded, strict=True)}
        return np.array([self.vectors[role, text] for text in texts]).reshape(len(texts), self.encoder.dim)


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


def deployed(encoder: RememberingEncoder, dataset: RetrievalSet, deployment: Deployment) -> list[str]:
    """What a deployment gives on a set: how it searches, NDCG@10, that above the better leg, what it was chosen on."""
    dense, hybrid = measure_retrieval("dense", encoder, dataset, MAX_LENGTH, "hybrid", deployment)
    chosen = hybrid.deployed or {}
    lexical = measure_bm25("bm25", dataset, deployment.analyzer(rows(dataset)))
    by_mode = {"dense": ndcg(dense), "lexical": ndcg(lexical), "hybrid": ndcg(hybrid)}
    better = max(by_mode["dense"], by_mode["lexical"], key=np.mean)
    gain_Q = by_mode[chosen["mode"]] - better
    low, high = interval(gain_Q)
    how = f"{chosen['mode']} {chosen['alpha']:g}, {chosen['analyzer']}"
    gain = f"{gain_Q.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    return [how, f"{by_mode[chosen['mode']].mean():.3f}", gain, chosen["chosen_on"]]


def ndcg(measured: Measured) -> np.ndarray:
    """NDCG@10 of each query."""
    return np.array([row["ndcg@10"] for row in measured.per_query.values()])


def rows(dataset: RetrievalSet) -> list[Document]:
    """Documents in the order of rows."""
    return [dataset.documents[row] for row in row_order([document.doc_id for document in dataset.documents])]


def lines(data: Path, work: Path, encoders: dict[str, str]) -> Iterator[str]:
    """The table as Markdown, a line per set and encoder as they are done."""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---|---|" + "---:|" * (len(COLUMNS) - 2)
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        whole = load_beir(folder.name, unpacked(folder, work))
        test, dev = whole.part(dev=False), whole.part(dev=True)
        plain = measure_bm25("bm25_plain", test)
        stemmed = measure_bm25("bm25", test, Deployment(SearchConfig()).analyzer(rows(test)))
        for name, source in encoders.items():
            encoder = RememberingEncoder(source)
            dense = measure_vectors("dense", test, *encode_set(encoder, test, MAX_LENGTH))
            figures = [f"{ndcg(measured).mean():.3f}" for measured in (plain, stemmed, dense)]
            with_queries = deployed(encoder, test, Deployment(SearchConfig(), dev=dev))
            without = deployed(encoder, test, Deployment(SearchConfig()))
            count = str(len(ndcg(dense)))
            yield "| " + " | ".join([folder.name, name, count, *figures, *with_queries, *without]) + " |"


def show(data: Path, work: Path, encoders: list[str]) -> None:
    """Print the table for encoders, each as `NAME=PATH` or a path."""
    named = dict(text.split("=", 1) if "=" in text else (Path(text).name, text) for text in encoders)
    for line in lines(data, work, named):
        print(line, flush=True)
