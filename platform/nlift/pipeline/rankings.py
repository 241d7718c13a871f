"""What a search of the corpus finds for queries made of it: what `train.loss: search_distillation` imitates.

The search is the one that would be deployed over these documents with this encoder: BM25 and vectors fused, its weights
chosen on pairs of the corpus. A tenth of the documents is left out, as in `cloze`.
"""

from collections.abc import Sequence

import numpy as np

from nlift.config import Experiment
from nlift.data.corpus import usable_corpus
from nlift.data.languages import iso_639_1
from nlift.data.passages import trained_on
from nlift.data.schema import Document, RankedPassages
from nlift.errors import DataError
from nlift.evaluation.deployment import Deployment
from nlift.models.embed import embed
from nlift.models.encoder import Encoder, Role
from nlift.pipeline.pseudo_queries import pseudo_queries
from nlift.pipeline.triplets import languages
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.ranking import NO_ROW, row_order
from nlift.search.searchers import BM25Searcher, DenseSearcher, HybridSearcher, known_vectors
from nlift.search.vector_index import ExactIndex
from nlift.settings import MineConfig

QUERIES_AT_ONCE = 4096


def check(experiment: Experiment, config: MineConfig) -> None:
    """Raise DataError for a corpus that has too few documents for a list, or that no query can be made of."""
    documents = _documents(config)
    _queries(documents, deployment(experiment).analyzer(documents), config, experiment.seed)


def ranked(experiment: Experiment, config: MineConfig) -> list[RankedPassages]:
    """The passages that a search finds for each query, best first. Raises DataError as `check` does."""
    documents = _documents(config)
    encoder = encoder_of(config)
    vectors_ND = vectors_of([document.content for document in documents], config, "passage")
    choice = deployment(experiment).choice(documents, ExactIndex(vectors_ND), encoder, config.max_length).settings
    kept = set(trained_on(documents))
    seen = [row for row, document in enumerate(documents) if document in kept]
    texts = [documents[row].content for row in seen]
    queries = _queries(documents, choice.analyzer, config, experiment.seed)
    encode = known_vectors(queries, vectors_of(queries, config, "query"))
    searcher = HybridSearcher(
        DenseSearcher(ExactIndex(vectors_ND[seen]), encode),
        BM25Searcher(BM25Index.build(texts, choice.analyzer)),
        fusion="convex",
        alpha=choice.alpha,
        depth=max(choice.depth, config.list_size),
    )
    result = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        group = queries[start : start + QUERIES_AT_ONCE]
        ranking = searcher.search(group, config.list_size)
        for query, rows, scores in zip(group, ranking.rows_QK.tolist(), ranking.scores_QK.tolist(), strict=True):
            passages = [(texts[row], score) for row, score in zip(rows, scores, strict=True) if row != NO_ROW]
            result.append(RankedPassages(query, [text for text, _ in passages], [score for _, score in passages]))
    return result


def deployment(experiment: Experiment) -> Deployment:
    """How the corpus is searched: by the section `search`, chosen without any queries of people's."""
    both = languages(experiment)
    return Deployment(experiment.search, None if both is None else iso_639_1(both[1]))


def _documents(config: MineConfig) -> list[Document]:
    """The distinct documents of the corpus, in the order of rows. Raises DataError where training sees too few."""
    assert config.corpus is not None
    documents = list({row.content: row for row in usable_corpus(config.corpus)}.values())
    count = len(trained_on(documents))
    if count < config.list_size:
        raise DataError(
            f"mine: {config.corpus} has {count} distinct documents to rank, fewer than mine.list_size "
            f"{config.list_size}; lower it"
        )
    return [documents[row] for row in row_order([document.doc_id for document in documents])]


def _queries(documents: Sequence[Document], analyzer: Analyzer, config: MineConfig, seed: int) -> list[str]:
    seen = trained_on(documents)
    queries = pseudo_queries(seen, analyzer, seed, config.limit)
    if not queries:
        raise DataError(
            f"mine: no query can be made of {len(seen)} documents of {config.corpus}: none has a sentence beside its "
            "title or another sentence; leave mine out, or take a corpus of longer texts"
        )
    return queries


def encoder_of(config: MineConfig) -> Encoder:
    """The section's encoder, with its prefixes. Raises ModelError."""
    encoder = Encoder.load(config.encoder, revision=config.revision)
    encoder.set_prefixes({"query": config.query_prefix, "passage": config.passage_prefix})
    return encoder


def vectors_of(texts: Sequence[str], config: MineConfig, role: Role) -> np.ndarray:
    """Unit vectors of texts by the section's encoder, float32 [N, D]."""
    return embed(
        list(texts),
        config.encoder,
        revision=config.revision,
        role=role,
        prefix=config.query_prefix if role == "query" else config.passage_prefix,
        max_length=config.max_length,
        num_actors=config.num_actors,
        title="mine",
        unit="texts",
    )
