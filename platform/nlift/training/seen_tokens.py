"""Only the word embeddings of tokens that training meets are trained; the others cost nothing.

Of a multilingual model's quarter of a million tokens a corpus has a few thousand. The gradient of every other row is
zero all along, but a dense one is computed, sent between ranks, clipped and moved by AdamW at every step: most of what
such a model's step does. The rows that are met are a parameter of their own here; they change as they would in the
whole table, and the rest stays as it is, without weight decay too.

Shape suffixes: V tokens of the vocabulary, S tokens that are seen, D dimensions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import embedding

from nlift.models.backbone import word_embeddings
from nlift.models.encoder import Encoder

UNSEEN = -1


class SeenTokens(torch.nn.Module):
    """Stands for a table of word embeddings while texts are embedded whose tokens are all among those seen."""

    tokens_S: Tensor
    places_V: Tensor

    def __init__(self, whole: torch.nn.Embedding, tokens_S: Tensor) -> None:
        super().__init__()
        tokens_S = tokens_S.to(whole.weight.device)
        places_V = torch.full((whole.num_embeddings,), UNSEEN, device=tokens_S.device)
        places_V[tokens_S] = torch.arange(len(tokens_S), device=tokens_S.device)
        self.whole = whole.requires_grad_(False)
        self.seen_SD = torch.nn.Parameter(whole.weight[tokens_S].detach().clone())
        self.register_buffer("tokens_S", tokens_S, persistent=False)
        self.register_buffer("places_V", places_V, persistent=False)
        self.padding = None if whole.padding_idx is None else int(places_V[whole.padding_idx])

    @property
    def weight(self) -> Tensor:
        """The whole table, as some models look at its type."""
        return self.whole.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeddings of tokens, which are all among those seen."""
        return embedding(self.places_V[tokens], self.seen_SD, padding_idx=self.padding)

    @torch.no_grad()
    def write(self) -> None:
        """Put the rows that were trained into the whole table."""
        self.whole.weight[self.tokens_S] = self.seen_SD

    @torch.no_grad()
    def read(self) -> None:
        """Take the rows from the whole table, which may hold others now."""
        self.seen_SD.copy_(self.whole.weight[self.tokens_S])


def train_seen_tokens(encoder: Encoder, texts: Iterable[tuple[list[str], int]], ranks: int = 1, rank: int = 0) -> None:
    """From now on train only the word embeddings of tokens that `texts` have.

    Nothing changes where word embeddings are not trained, or are no plain table that stands in one place.

    Args:
        encoder: Whose word embeddings.
        texts: All that training embeds, with prefixes, and how many tokens of each are read; every rank looks at its
            share of them.
        ranks: How many ranks there are.
        rank: Which of them this one is.
    """
    whole = _plain_table(encoder)
    if whole is None or not whole.weight.requires_grad:
        return
    seen_V = torch.zeros(whole.num_embeddings, dtype=torch.int32)
    seen_V[encoder.tokenizer.all_special_ids] = 1
    if whole.padding_idx is not None:
        seen_V[whole.padding_idx] = 1
    for group, max_length in texts:
        for tokens in encoder.tokens(group[rank::ranks], max_length):
            seen_V[tokens] = 1
    if ranks > 1:
        torch.distributed.all_reduce(seen_V := seen_V.to(encoder.device), op=torch.distributed.ReduceOp.MAX)
    _replace(encoder, whole, SeenTokens(whole, seen_V.nonzero().flatten()))


@contextmanager
def whole_table(encoder: Encoder) -> Iterator[None]:
    """Inside, the encoder has its whole table of word embeddings, with what was trained: to encode any text, to save.

    What is loaded into it inside is what training goes on from.
    """
    seen = next((module for module in encoder.backbone.modules() if isinstance(module, SeenTokens)), None)
    if seen is None:
        yield
        return
    seen.write()
    _replace(encoder, seen, seen.whole)
    try:
        yield
    finally:
        _replace(encoder, seen.whole, seen)
        seen.read()


def _plain_table(encoder: Encoder) -> torch.nn.Embedding | None:
    """The table of word embeddings; None where there is none, or one that is looked up otherwise."""
    table = word_embeddings(encoder.backbone)
    places = [name for name, module in encoder.backbone.named_modules(remove_duplicate=False) if module is table]
    if type(table) is not torch.nn.Embedding or len(places) != 1:
        return None
    plain = table.max_norm is None and not table.scale_grad_by_freq and not table.sparse
    return table if plain else None


def _replace(encoder: Encoder, old: torch.nn.Module, new: torch.nn.Module) -> None:
    """Put a module where another one is."""
    for parent in list(encoder.backbone.modules()):
        for name, module in parent.named_children():
            if module is old and parent is not new:
                setattr(parent, name, new)
                return
