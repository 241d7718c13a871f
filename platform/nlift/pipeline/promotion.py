"""The one way a version becomes what an alias means: compared with the current one first."""

from dataclasses import dataclass, replace
from pathlib import Path

from nlift.data.files import read_jsonl
from nlift.errors import ArtifactError
from nlift.evaluation.datasets import load_beir
from nlift.evaluation.gate import LEAST_QUERIES, MARGIN, Comparison, Judged, compare
from nlift.search import aliases
from nlift.search.aliases import CANDIDATE, PRODUCTION
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import JUDGED_FILE


@dataclass(frozen=True)
class Promotion:
    """What came of wanting an alias to mean a version."""

    alias: str
    version: str
    comparison: Comparison | None
    reason: str
    """Why nothing was compared; empty where it was."""
    forced: bool = False

    @property
    def refused(self) -> bool:
        """Whether the gate says no."""
        return self.comparison is not None and self.comparison.refused

    def __str__(self) -> str:
        return str(self.comparison) if self.comparison else f"not compared: {self.reason}"


def plan(
    bundles: Path, version: str, alias: str = PRODUCTION, *, queries: Path | None = None, margin: float = MARGIN
) -> Promotion:
    """How a version compares with what the alias means now; nothing is changed.

    Args:
        bundles: A folder of bundles.
        version: Which one is wanted.
        alias: For which name.
        queries: A BEIR folder whose queries decide; those that the version keeps when None: the dev queries that its
            settings were chosen on, else pairs made of its corpus.
        margin: NDCG@10 that it may lose.

    Raises:
        ArtifactError: There is no such version, or a file of one was changed.
        DataError: The queries cannot be read.
    """
    aliases.check_version(bundles, version)
    new = Bundle.load(bundles / version)
    current = aliases.read_aliases(bundles).get(alias)
    if current is None or current == version:
        reason = f"{alias} is {version} already" if current else f"there is no {alias} yet"
        return Promotion(alias, version, None, reason)
    if queries is not None:
        given = load_beir(queries.name, queries)
        names = list(given.qrels)
        judged = Judged(f"queries of {queries}", [given.queries[name] for name in names], list(given.qrels.values()))
    else:
        judged = Judged.of_records(read_jsonl(bundles / version / JUDGED_FILE))
    try:
        before = Bundle.load(bundles / current)
    except ArtifactError as error:  # whatever is wrong with it, it is to be replaced
        return Promotion(alias, version, None, f"what {alias} means cannot be loaded: {error}")
    comparison = compare(new, before, judged, margin)
    reason = "" if comparison else f"fewer than {LEAST_QUERIES} queries whose documents both versions have"
    return Promotion(alias, version, comparison, reason)


def promote(
    bundles: Path,
    version: str,
    alias: str = PRODUCTION,
    *,
    queries: Path | None = None,
    margin: float = MARGIN,
    force: bool = False,
) -> Promotion:
    """Let an alias mean a version unless the version is worse than what it means now; the arguments are `plan`'s.

    `force` overrules the gate, which the log of aliases says. Raises ArtifactError where the gate refuses.
    """
    planned = plan(bundles, version, alias, queries=queries, margin=margin)
    if planned.refused and not force:
        raise ArtifactError(f"{version}: not promoted, worse than {alias}: {planned}; --force promotes it all the same")
    return _carried_out(bundles, planned)


def promote_or_keep(bundles: Path, version: str) -> Promotion:
    """Let `production` mean a new version; where it is worse than the current one, `candidate` means it instead."""
    planned = plan(bundles, version)
    if planned.refused:
        assert planned.comparison is not None
        aliases.promote(bundles, version, CANDIDATE, by="index", gate=planned.comparison.as_json())
        return replace(planned, alias=CANDIDATE)
    return _carried_out(bundles, planned)


def _carried_out(bundles: Path, planned: Promotion) -> Promotion:
    """Let the alias mean the version, by force where the gate refuses, and write down why."""
    figures = planned.comparison.as_json() if planned.comparison else {"not_compared": planned.reason}
    aliases.promote(bundles, planned.version, planned.alias, gate=figures, forced=planned.refused)
    return replace(planned, forced=planned.refused)
