"""What a search finds as a term of a step's loss: the encoder alone learns to rank as BM25 and an encoder do together.

Passages of a batch are neighbours (topic-aware batches, arXiv 2104.06967, section 4), so that each query has hard
negatives, and many queries share the passages, which are the long texts. Its target is the softmax of the search's
scores over them (as arXiv 2110.06918, section 3, which imitates a lexical search by its best passages alone).

A query's first passage, mostly the one that it is made of, is far ahead of the others, and from some queries it is
hidden: how the search ranks the rest says more.

Shape suffixes: Q queries of a batch, P passages of a batch, D dimensions, K ranks of a list.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

from nlift.data.schema import RankedPassages
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.gradcache import LossTerm
from nlift.training.loss import gathered, global_gradient

CLUSTERS, NEIGHBOURS = 10, 3  # of a batch, and how many passages beside the first of each
HIDDEN_SHARE = 0.5  # of queries, from which the first passage is hidden
LEAST_RELEVANT = 0.3  # score of the best passage beside it; below, there is nothing to say of the rest
NEVER = -1e9  # a logit


def ranking_loss(
    query_QD: Tensor,
    passage_PD: Tensor,
    target_QP: Tensor,
    hidden_QP: Tensor | None = None,
    *,
    temperature: float,
) -> Tensor:
    """The mean over queries of the Kullback-Leibler divergence of the encoder's ranking from the target.

    Args:
        query_QD: Queries' vectors, float [Q, D], of any length.
        passage_PD: Passages' vectors, float [P, D], of any length.
        target_QP: What each query's probabilities should be, float [Q, P], rows of sum 1.
        hidden_QP: bool [Q, P], passages that are none for a query, whose target is 0.
        temperature: Above 0; divides the cosines.

    Returns:
        float scalar, at least 0; 0 where the softmax of the cosines is the target.
    """
    logits_QP = normalize(query_QD, dim=-1) @ normalize(passage_PD, dim=-1).T / temperature
    if hidden_QP is not None:
        logits_QP = logits_QP.masked_fill(hidden_QP, NEVER)
    entropy = torch.special.entr(target_QP).sum(1).mean()
    return -(target_QP * log_softmax(logits_QP, dim=-1)).sum(1).mean() - entropy


def _shared(places: list[int], ranks: int) -> list[int]:
    """As many of these as ranks share evenly; where there are fewer than ranks, some of them again."""
    if len(places) < ranks:
        return [places[i % len(places)] for i in range(ranks)]
    return places[: len(places) - len(places) % ranks]


class SearchDistillation:
    """Ranked passages, and the term that each step has of them."""

    def __init__(
        self,
        rankings: Sequence[RankedPassages],
        config: TrainConfig,
        seed: int,
        *,
        passage_length: int,
        device_texts: int | None = None,
    ) -> None:
        self.config, self.seed = config, seed
        self.passage_length, self.device_texts = passage_length, device_texts
        self.queries = [ranking.query for ranking in rankings]
        places: dict[str, int] = {}
        self.lists = [
            np.array([places.setdefault(passage, len(places)) for passage in ranking.passages]) for ranking in rankings
        ]
        self.scores = [np.array(ranking.scores) for ranking in rankings]
        self.passages = list(places)
        self.first: dict[int, list[int]] = {}
        beside: dict[int, Counter[int]] = {}
        for query, ranked in enumerate(self.lists):
            self.first.setdefault(int(ranked[0]), []).append(query)
            beside.setdefault(int(ranked[0]), Counter()).update(ranked[1 : 2 * NEIGHBOURS].tolist())
        self.beside = {
            passage: [place for place, _ in near.most_common(NEIGHBOURS)] for passage, near in beside.items()
        }
        self.leaders = sorted(self.first)

    def texts(self, encoder: Encoder) -> Iterator[tuple[list[str], int]]:
        """All texts that it may embed, with prefixes, and the tokens of each that are read."""
        yield encoder.prefixed(self.queries, "query"), self.passage_length
        yield encoder.prefixed(self.passages, "passage"), self.passage_length

    def batch(self, step: int, ranks: int) -> tuple[list[int], list[int]]:
        """Queries and passages of a step, by their places; as many of each as ranks share evenly.

        The passages are clusters: some that are first for a query, in a fresh shuffle every epoch, and what is ranked
        beside them. The queries are drawn from those for which one of these is first.
        """
        clusters = min(CLUSTERS, len(self.leaders))
        epoch, position = divmod(step, len(self.leaders) // clusters)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.leaders)
        leaders = order[position * clusters : (position + 1) * clusters].tolist()
        passages = list(dict.fromkeys([*leaders, *(place for leader in leaders for place in self.beside[leader])]))
        queries = [query for passage in passages for query in self.first.get(passage, [])]
        wanted = min(self.config.distillation_batch_size, len(queries))
        drawn = np.random.default_rng([self.seed, step]).choice(queries, wanted, replace=False).tolist()
        return _shared(drawn, ranks), _shared(passages, ranks)

    def target(self, queries: Sequence[int], passages: Sequence[int], step: int) -> tuple[Tensor, Tensor]:
        """What each query's probabilities should be, float32 [Q, P], and what is hidden from it, bool [Q, P].

        The softmax of the search's scores; a passage that a query's list lacks has the score 0. Where a query's first
        passage is hidden, the best of the rest is brought to the score 1. A passage that stands twice counts once.
        """
        columns = {passage: column for column, passage in enumerate(passages)}
        scores_QP = np.zeros((len(queries), len(passages)))
        hidden_QP = np.zeros(scores_QP.shape, dtype=bool)
        hidden_QP[:, [column for column, passage in enumerate(passages) if columns[passage] != column]] = True
        chances_Q = np.random.default_rng([self.seed, step, 1]).random(len(self.queries))[list(queries)]
        for row, query in enumerate(queries):
            for passage, score in zip(self.lists[query].tolist(), self.scores[query], strict=True):
                if passage in columns:
                    scores_QP[row, columns[passage]] = score
            first = columns.get(int(self.lists[query][0]))
            best = np.delete(scores_QP[row], first).max(initial=0) if first is not None else 0
            if chances_Q[row] < HIDDEN_SHARE and best > LEAST_RELEVANT:
                scores_QP[row] /= best
                hidden_QP[row, first] = True
        logits_QP = torch.from_numpy(scores_QP / self.config.search_temperature)
        hidden = torch.from_numpy(hidden_QP)
        return torch.softmax(logits_QP.masked_fill(hidden, NEVER), dim=1).float(), hidden

    def term(self, step: int, encoder: Encoder, rank: int, ranks: int) -> LossTerm:
        """What a rank does for a step."""
        queries, passages = self.batch(step, ranks)
        own_queries, own_passages = queries[rank::ranks], passages[rank::ranks]
        texts = encoder.prefixed([self.queries[query] for query in own_queries], "query")
        texts += encoder.prefixed([self.passages[passage] for passage in own_passages], "passage")
        # gathered vectors stand in the order of ranks
        queries, passages = ([place for r in range(ranks) for place in side[r::ranks]] for side in (queries, passages))
        target_QP, hidden_QP = self.target(queries, passages, step)

        def loss(vectors: Tensor) -> Tensor:
            query, passage = vectors.split([len(own_queries), len(own_passages)])
            target, hidden = target_QP.to(vectors), hidden_QP.to(vectors.device)
            whole = ranking_loss(
                gathered(query), gathered(passage), target, hidden, temperature=self.config.temperature
            )
            return global_gradient(whole)

        return LossTerm(
            "distillation", texts, self.passage_length, loss, self.config.distillation_share, self.device_texts
        )
