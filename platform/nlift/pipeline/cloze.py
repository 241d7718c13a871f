"""Stage `cloze`: pairs made of a corpus's own text, beside the triplets.

A sentence of a document is the anchor and the rest of the document its positive: the inverse cloze task (Lee et al.
2019, arXiv 1906.00300, section 4). NLI teaches which sentences mean the same; these pairs teach the words of the
domain, and what its documents are about. No query and no label is used. A tenth of the documents is left out, so that
pairs made of these can judge what was trained.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from nlift.config import Experiment
from nlift.data.corpus import corpus_fingerprint, usable_corpus
from nlift.data.files import read_rows, write_jsonl
from nlift.data.passages import parts, trained_on
from nlift.data.schema import CLOZE, Document, Triplet
from nlift.errors import DataError
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.workload import Workload
from nlift.settings import ClozeConfig

EXAMPLES = 20
S_PER_ROW = 0.00002  # read and written


class Cloze(Stage):
    """The triplets, and pairs of a corpus."""

    name = "cloze"
    reads = Triplet
    writes = Triplet

    def enabled(self, experiment: Experiment) -> bool:
        """Whether there is a section cloze."""
        return experiment.cloze is not None

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The section, the corpus and the seed."""
        config = config_of(experiment)
        return {
            "config": config.model_dump(mode="json"),
            "corpus": corpus_fingerprint(config.corpus),
            "seed": experiment.seed,
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """The corpus can be read, and gives pairs."""
        config = config_of(experiment)
        documents = usable_corpus(config.corpus)
        if not any(True for document in trained_on(documents) for _ in pairs_of(document, config, experiment.seed)):
            raise _no_pair(documents, config)

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """How many pairs of what."""
        return f"{size.cloze_pairs} pairs of {config_of(experiment).corpus}"

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Triplets and pairs to write."""
        return Workload(serial_s=S_PER_ROW * ((size.triplets or 0) + size.cloze_pairs))

    def run(self, experiment: Experiment, output: Output) -> None:
        """Write the triplets and the pairs, and examples for a person to read.

        Raises DataError where there is no pair.
        """
        config = config_of(experiment)
        documents = usable_corpus(config.corpus)
        pairs = drawn(documents, config, experiment.seed)
        if not pairs:
            raise _no_pair(documents, config)
        rows = read_rows(self.upstream(experiment).path(experiment), Triplet) if config.triplets else []
        output.rows_in = len(documents)
        used = len({pair.document for pair in pairs})
        output.notes = {"triplets": len(rows), "pairs": len(pairs), "documents_without": len(documents) - used}
        shown = random.Random(experiment.seed).sample(pairs, min(EXAMPLES, len(pairs)))
        examples = ({"anchor": pair.anchor, "positive": pair.positive} for pair in shown)
        write_jsonl(output.path / "examples.jsonl", examples)
        output.write_rows([*rows, *pairs], Triplet)


STAGE = Cloze()


def config_of(experiment: Experiment) -> ClozeConfig:
    """The experiment's section `cloze`, which is there wherever this is called."""
    assert experiment.cloze is not None
    return experiment.cloze


def _no_pair(documents: Sequence[Document], config: ClozeConfig) -> DataError:
    return DataError(
        f"cloze: none of {len(documents)} documents of {config.corpus} has two parts, one of them of "
        f"cloze.min_characters {config.min_characters}; lower it, or leave the section out"
    )


def drawn(documents: Sequence[Document], config: ClozeConfig, seed: int) -> list[Triplet]:
    """The pairs of documents that training may see, in their order; at random as many of them as the limit says."""
    pairs = [pair for document in trained_on(documents) for pair in pairs_of(document, config, seed)]
    if config.limit is None or config.limit >= len(pairs):
        return pairs
    return [pairs[i] for i in sorted(random.Random(seed).sample(range(len(pairs)), config.limit))]


def pairs_of(document: Document, config: ClozeConfig, seed: int) -> Iterator[Triplet]:
    """A document's pairs, without hard negatives; which, follows from the seed and the document's id alone.

    The title counts as one of its parts, and is never too short. In a share of the pairs the positive is the whole
    document: then words that stand in both count too.
    """
    pieces = parts(document)
    if len(pieces) < 2:
        return
    titled = bool(document.title.strip())
    anchors = [i for i, part in enumerate(pieces) if len(part) >= config.min_characters or (i == 0 and titled)]
    chance = random.Random(f"{seed} {document.doc_id}")
    for i in sorted(chance.sample(anchors, min(config.pairs_per_document, len(anchors)))):
        rest = pieces if chance.random() < config.keep_share else pieces[:i] + pieces[i + 1 :]
        yield Triplet(f"{CLOZE}{document.doc_id}#{i}", pieces[i], " ".join(rest), None)
