"""Runs and judgements, and their files as trec_eval reads them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from nlift.search.ranking import NO_ROW, Ranking

Hits = list[tuple[str, float]]
SPACE = re.compile(r"[\s\x00-\x1f\x7f]")  # what would end a field or a line


class Run(Mapping[str, Hits]):
    """A ranking by names: of each query the documents and their scores, best first; made when they are asked for.

    Args:
        queries: Ids of the ranking's queries, in its order.
        doc_ids: Ids of the rows.
        ranking: The ranking.
        own_documents: Queries that are documents themselves; those are left out of their own hits.
        depth: Hits of a query at most.
    """

    def __init__(
        self,
        queries: list[str],
        doc_ids: list[str],
        ranking: Ranking,
        own_documents: frozenset[str] = frozenset(),
        depth: int | None = None,
    ) -> None:
        self.place = {query: i for i, query in enumerate(queries)}
        self.doc_ids, self.ranking, self.own_documents, self.depth = doc_ids, ranking, own_documents, depth

    def __getitem__(self, query: str) -> Hits:
        place = self.place[query]
        rows, scores = self.ranking.rows_QK[place].tolist(), self.ranking.scores_QK[place].tolist()
        hits = [(self.doc_ids[row], score) for row, score in zip(rows, scores, strict=True) if row != NO_ROW]
        if query in self.own_documents:
            hits = [(doc_id, score) for doc_id, score in hits if doc_id != query]
        return hits[: self.depth]

    def __iter__(self) -> Iterator[str]:
        return iter(self.place)

    def __len__(self) -> int:
        return len(self.place)


def escaped(name: str) -> str:
    """An id as one field: where it has white space, that and `%` are percent-encoded, as `New%20York`."""
    return re.sub(rf"{SPACE.pattern}|%", lambda match: quote(match[0], safe=""), name) if SPACE.search(name) else name


def write_run(path: Path, run: Mapping[str, Hits], tag: str) -> None:
    """Write a run, `query Q0 document rank score tag` a line."""
    tag = escaped(tag)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for query, hits in run.items():
            name = escaped(query)
            stream.writelines(
                f"{name} Q0 {escaped(doc_id)} {rank} {score:.9g} {tag}\n"
                for rank, (doc_id, score) in enumerate(hits, 1)
            )


def write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements, `query 0 document relevance` a line, with ids as `write_run` has them."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for query, judged in qrels.items():
            stream.writelines(f"{escaped(query)} 0 {escaped(doc_id)} {grade}\n" for doc_id, grade in judged.items())
