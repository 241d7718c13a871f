"""Stage `cloze`: pairs made of a corpus's own text, beside the triplets.

A sentence of a document is the anchor and the rest of the document its positive: the inverse cloze
task (Lee et al. 2019, arXiv 1906.00300, section 4). NLI teaches which sentences mean the same; these
pairs teach the words of the domain, and what its documents are about. No query and no label is used.
"""

import random
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from nlift import mine, sources, triplets
from nlift.artifacts import Output, Stage, read_rows, write_jsonl
from nlift.config import Experiment
from nlift.errors import DataError
from nlift.schema import CLOZE, Document, Triplet
from nlift.sections import ClozeConfig
from nlift.sets import load_corpus

EXAMPLES = 20
END = re.compile(r"""[.!?…।؟]["'”»’)\]]*\s+|[。！？]["'」』）]*\s*|\s*\n\s*""")


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    assert experiment.cloze is not None
    config = experiment.cloze
    upstream = source(experiment)
    identity = {
        "config": config.model_dump(mode="json"),
        "corpus": sources.fingerprint(sources.data_path(config.corpus)),
        "seed": experiment.seed,
        "inputs": [upstream.fingerprint],
    }
    return Stage("cloze", experiment.folder / "cloze", identity)


def source(experiment: Experiment) -> Stage:
    """The stage whose triplets these pairs are put beside."""
    return (mine if experiment.mine is not None else triplets).stage(experiment)


def write(experiment: Experiment, output: Output) -> None:
    """Write the triplets and the pairs, and examples for a person to read. Raises DataError where there is no pair."""
    assert experiment.cloze is not None
    config = experiment.cloze
    documents = load_corpus(sources.data_path(config.corpus))
    pairs = drawn(documents, config, experiment.seed)
    if not pairs:
        raise DataError(
            f"cloze: none of {len(documents)} documents of {config.corpus} has two parts, one of them of "
            f"cloze.min_characters {config.min_characters}; lower it, or leave the section out"
        )
    rows = read_rows(source(experiment).folder, Triplet) if config.triplets else []
    output.rows_in = len(documents)
    used = len({pair.document for pair in pairs})
    output.notes = {"triplets": len(rows), "pairs": len(pairs), "documents_without": len(documents) - used}
    shown = random.Random(experiment.seed).sample(pairs, min(EXAMPLES, len(pairs)))
    write_jsonl(output.path / "examples.jsonl", ({"anchor": one.anchor, "positive": one.positive} for one in shown))
    output.write_rows([*rows, *pairs], Triplet)


def drawn(documents: Iterable[Document], config: ClozeConfig, seed: int) -> list[Triplet]:
    """The pairs of all documents, or so many of them as the limit says, at random, in the order of the documents."""
    pairs = [pair for document in documents for pair in pairs_of(document, config, seed)]
    if config.limit is None or config.limit >= len(pairs):
        return pairs
    return [pairs[i] for i in sorted(random.Random(seed).sample(range(len(pairs)), config.limit))]


def pairs_of(document: Document, config: ClozeConfig, seed: int) -> Iterator[Triplet]:
    """A document's pairs, without hard negatives; which, follows from the seed and the document's id alone.

    The title counts as one of its parts, and is never too short. In a share of the pairs the
    positive is the whole document: then words that stand in both count too.
    """
    parts = [part for part in (document.title.strip(), *sentences(document.text)) if part]
    long_enough = [i for i, part in enumerate(parts) if len(part) >= config.min_characters or (i == 0 and document.title.strip())]
    if len(parts) < 2:
        return
    chance = random.Random(f"{seed} {document.doc_id}")
    for i in sorted(chance.sample(long_enough, min(config.pairs_per_document, len(long_enough)))):
        rest = parts if chance.random() < config.keep_share else parts[:i] + parts[i + 1 :]
        yield Triplet(f"{CLOZE}{document.doc_id}#{i}", parts[i], " ".join(rest), None)


def sentences(text: str) -> list[str]:
    """A text's sentences, split at closing punctuation and at line ends; what starts in lower case goes on with its sentence."""
    found: list[str] = []
    for start, end in pairwise([0, *(match.end() for match in END.finditer(text)), len(text)]):
        piece = " ".join(text[start:end].split())
        if found and piece[:1].islower():
            found[-1] += f" {piece}"
        elif piece:
            found.append(piece)
    return found
