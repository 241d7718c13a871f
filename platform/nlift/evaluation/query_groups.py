"""Where an encoder is good: its metrics by groups of queries.

Queries are grouped by what can be seen of them beforehand, how many words they have and how many of these stand in a
relevant document, and by whether the first encoder ranks better than BM25. The last grouping looks at results: of a
group chosen because an encoder is good there, any other one will look worse, and better of the contrary group.

Shape suffix: Q queries that have a relevant document.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nlift.evaluation.comparisons import PerQuery
from nlift.evaluation.datasets import RetrievalSet
from nlift.search.analyzers import Analyzer

METRICS = ("ndcg@10", "recall@100")
LENGTHS = (("1-2", 2), ("3-5", 5), ("6-10", 10), ("more than 10", np.inf))
SHARES = (("none", 0.0), ("up to a half", 0.5), ("more than a half", 0.999), ("all", 1.0))

Groups = dict[str, dict[str, np.ndarray]]
"""By grouping and group, whether a query is of it, bool [Q]."""


def groups_of(dataset: RetrievalSet, queries: Sequence[str], analyzer: Analyzer) -> Groups:
    """Queries by the number of their words, and by the share of these that the relevant document has that has most.

    Args:
        dataset: The set.
        queries: Ids of its queries, each with a relevant document.
        analyzer: What words are: `gliniarz` and `gliniarze` may be one.
    """
    texts = {document.doc_id: document.content for document in dataset.documents}
    words = [set(analyzer(dataset.queries[query])) for query in queries]
    lengths_Q = np.array([len(dataset.queries[query].split()) for query in queries])
    known: dict[str, set[str]] = {}
    shares = []
    for query, own in zip(queries, words, strict=True):
        best = 0.0
        for doc_id, relevance in dataset.qrels[query].items():
            if relevance > 0 and doc_id in texts and own:
                if doc_id not in known:
                    known[doc_id] = set(analyzer(texts[doc_id]))
                best = max(best, len(own & known[doc_id]) / len(own))
        shares.append(best)
    return {
        "words of the query": _bands(lengths_Q, LENGTHS),
        "its words in a relevant document": _bands(np.array(shares), SHARES),
    }


def beside(first: PerQuery, bm25: PerQuery, name: str) -> dict[str, np.ndarray]:
    """Queries by which of two ranks them better, by NDCG@10."""
    above_Q = first["ndcg@10"] - bm25["ndcg@10"]
    groups = {f"{name} above bm25": above_Q > 0, "equal": above_Q == 0, f"{name} below bm25": above_Q < 0}
    return {group: mask for group, mask in groups.items() if mask.any()}


def by_group(groups: Groups, by_name: Mapping[str, PerQuery]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """The metrics of each name by grouping and group, and how many queries a group has."""
    return {
        grouping: {
            group: {
                name: {
                    "queries": int(mask.sum()),
                    **{metric: round(float(columns[metric][mask].mean()), 4) for metric in METRICS},
                }
                for name, columns in by_name.items()
            }
            for group, mask in masks.items()
        }
        for grouping, masks in groups.items()
    }


def _bands(values_Q: np.ndarray, bands: Sequence[tuple[str, float]]) -> dict[str, np.ndarray]:
    """Values by the first bound that they do not exceed; bands without a query are left out."""
    uppers = np.array([upper for _, upper in bands])
    places_Q = np.searchsorted(uppers, values_Q)
    masks = {name: places_Q == place for place, (name, _) in enumerate(bands)}
    return {name: mask for name, mask in masks.items() if mask.any()}
