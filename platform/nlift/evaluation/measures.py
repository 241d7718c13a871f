"""Any further measure of rankings, by its name in ir-measures: `nDCG@20`, `P@5`, `AP(rel=2)`, `RR@10`.

What trec_eval computes of them is computed by it (pytrec_eval).
"""

from collections.abc import Mapping, Sequence

from nlift.evaluation.trec import Hits

QUERIES_AT_ONCE = 200  # a run of many queries is large as Python has it


def by_query(
    names: Sequence[str], run: Mapping[str, Hits], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, float]]:
    """Each measure of each judged query by its name; a query that the run lacks has 0, as trec_eval -c has it."""
    import ir_measures

    wanted = {ir_measures.parse_measure(name): name for name in names}
    values: dict[str, dict[str, float]] = {query: dict.fromkeys(names, 0.0) for query in qrels}
    asked = list(qrels)
    for start in range(0, len(asked), QUERIES_AT_ONCE):
        queries = asked[start : start + QUERIES_AT_ONCE]
        judged = {query: dict(qrels[query]) for query in queries}
        hits = {query: dict(run.get(query, ())) for query in queries}
        for metric in ir_measures.iter_calc(list(wanted), judged, hits) if wanted else ():
            values[metric.query_id][wanted[metric.measure]] = float(metric.value)
    return values
