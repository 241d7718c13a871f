"""Runs and judgements, and their files as trec_eval reads them."""

import math
import mmap
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from nlift import progress
from nlift.errors import DataError
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


def read_run(path: Path, queries: Collection[str], doc_ids: Collection[str]) -> tuple[str, dict[str, Hits]]:
    """A run of any tool: its tag, and the hits of each query, best first as trec_eval ranks them: by score, then by id.

    The column of ranks counts for nothing, as in trec_eval. Lines of queries or documents that the set lacks are left
    out, and counted aloud. Raises DataError, with file and line, for a line that is not of six columns, a score that is
    no finite number, a document that stands twice for a query; and where no line is of a query of the set.
    """
    by_query: dict[str, dict[str, float]] = {}
    names, known = ({escaped(name): name for name in side} for side in (queries, doc_ids))
    strange: dict[str, list[str]] = {"queries": [], "documents": []}
    tag = path.stem
    for number, line in enumerate(_lines(path), 1):
        query, doc_id, score, tag = _fields(line, f"{path}:{number}")
        if query not in names or doc_id not in known:
            strange["queries" if query not in names else "documents"].append(f"{(query, doc_id)} in line {number}")
            continue
        own = by_query.setdefault(names[query], {})
        if known[doc_id] in own:
            raise DataError(f"{path}:{number}: document {doc_id!r} stands twice for query {query!r}")
        own[known[doc_id]] = score
    for what, lines in strange.items():
        if lines:
            progress.notice(f"{path}: {len(lines)} lines are of {what} that the set lacks, as {lines[0]}; left out")
    if not by_query:
        raise DataError(f"{path}: no line has a query and a document of the set; is the run another set's?")
    ranked = {}
    for query, scored in by_query.items():  # a sort is stable: the second one keeps the order of ids
        ranked[query] = sorted(sorted(scored.items(), reverse=True), key=lambda hit: -hit[1])
    return tag, ranked


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as stream:
            yield from stream
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; expected a TREC run") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8; expected a TREC run") from None


def _fields(line: str, where: str) -> tuple[str, str, float, str]:
    """Query, document, score and tag of a line."""
    fields = line.split()
    if len(fields) != 6:
        raise DataError(f"{where}: {len(fields)} columns; expected six: query Q0 document rank score tag")
    try:
        score = float(fields[4])
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"{where}: score {fields[4]!r}; expected a finite number")
    return fields[0], fields[2], score, fields[5]


def first_hits(path: Path, queries: Iterable[str]) -> dict[str, str]:
    """The best document of each query in a file that `write_run` wrote, its id as it stands there.

    A query without a hit is left out. The file is searched and not read, as it has a thousand lines of a query:
    quickest with queries in its order.
    """
    hits: dict[str, str] = {}
    if not path.stat().st_size:
        return hits
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = 0
        for query in queries:
            line = f"{escaped(query)} Q0 ".encode()
            if content[: len(line)] == line:
                start = 0
            else:
                start = content.find(b"\n" + line, place)
                start = (content.find(b"\n" + line) if start < 0 else start) + 1
                if not start:
                    continue
            place = start
            hits[query] = content[start + len(line) : content.find(b" ", start + len(line))].decode()
    return hits


def write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements, `query 0 document relevance` a line, with ids as `write_run` has them."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for query, judged in qrels.items():
            stream.writelines(f"{escaped(query)} 0 {escaped(doc_id)} {grade}\n" for doc_id, grade in judged.items())
