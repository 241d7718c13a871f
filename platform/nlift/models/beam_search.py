"""Beam search over sequence-to-sequence models: the translations of transformers' `generate`, in less time.

A sentence leaves the batch when its translation is settled, so that a batch does not wait for its longest one;
scores are added to the best tokens of a beam instead of to the whole vocabulary; keys and values of the source,
which all beams of a sentence share, are not moved when beams are.

Suffixes say the shape of an array: N sentences, K beams, T tokens, C candidates of a sentence.
"""

from typing import Any

import torch
from transformers import (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    GenerationConfig,
    LogitsProcessorList,
)
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from nlift.models.auto_classes import PreTrainedModel

WHOLE_BATCH = (EncoderNoRepeatNGramLogitsProcessor, EncoderRepetitionPenaltyLogitsProcessor)  # know which row is which
SETTLED_SHARE = 0.2  # of a batch, at which it is cut down; cutting moves the source's keys and values


class Beams:
    """What a search over N sentences with K beams knows; `length` tokens of each beam are chosen."""

    def __init__(self, prompt: torch.Tensor, num_beams: int, config: GenerationConfig) -> None:
        self.config, self.prompt_length = config, prompt.shape[1]
        self.tokens_NKT = prompt.view(-1, num_beams, self.prompt_length)
        count, device = len(self.tokens_NKT), prompt.device
        self.alive_N = torch.arange(count, device=device)  # positions in the batch as it was given
        self.scores_NK = torch.zeros(count, num_beams, device=device)
        self.scores_NK[:, 1:] = -1e9  # all beams begin alike: the first one alone may branch
        self.ended_NK = torch.full((count, num_beams), -torch.inf, device=device)  # best scores of ended translations
        self.settled_N = torch.zeros(count, dtype=torch.bool, device=device)
        self.best = torch.full((count, config.max_length), int(config._pad_token_tensor), device=device)
        self.best_length = torch.zeros(count, dtype=torch.long, device=device)

    @property
    def length(self) -> int:
        """Tokens of a beam, the prompt left out."""
        return self.tokens_NKT.shape[2] - self.prompt_length

    def advance(self, scores: torch.Tensor) -> torch.Tensor:
        """The rows that the new beams go on from, after each beam's next token is chosen.

        `scores` are log-probabilities of the whole vocabulary, float32 [N * K, V].
        """
        count, beams = self.scores_NK.shape
        top, parent, token = self._candidates(scores)
        ending = torch.isin(token, self.config._eos_token_tensor)
        if self.tokens_NKT.shape[2] + 1 == self.config.max_length:
            ending = torch.ones_like(ending)
        grown = torch.cat((self._of_parents(self.tokens_NKT, parent), token[:, :, None]), dim=2)
        self._end(torch.where(ending, top, -torch.inf)[:, :beams], grown)
        top, chosen = torch.where(ending, -torch.inf, top).topk(beams)
        self.scores_NK, self.tokens_NKT = top, self._of_parents(grown, chosen)
        self._settle()
        return (parent.gather(1, chosen) + beams * torch.arange(count, device=parent.device)[:, None]).flatten()

    def _candidates(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each sentence the best that its beams can go on with, [N, C] each: score, beam and token."""
        count, beams = self.scores_NK.shape
        if beams == 1:  # greedy search: whatever its score is, and with its ties
            token = scores.argmax(dim=1, keepdim=True)
            return torch.zeros_like(token, dtype=scores.dtype), torch.zeros_like(token), token
        keep = max(2, 1 + len(self.config._eos_token_tensor)) * beams  # enough of them do not end
        top, token = scores.topk(min(keep, scores.shape[1]), dim=1)
        top, place = (top.view(count, beams, -1) + self.scores_NK[:, :, None]).flatten(1).topk(keep)
        return top, place // token.shape[1], token.view(count, -1).gather(1, place)

    def drop_settled(self) -> torch.Tensor:
        """The rows [N * K] that stay, as a mask, after sentences that are settled are let go of."""
        stay = ~self.settled_N
        for name in ("tokens_NKT", "alive_N", "scores_NK", "ended_NK", "settled_N"):
            setattr(self, name, getattr(self, name)[stay])
        return stay.repeat_interleave(self.scores_NK.shape[1])

    def _end(self, scores_NK: torch.Tensor, tokens: torch.Tensor) -> None:
        """Take note of beams that end now (those with a finite score) where they are better than what had ended."""
        scores_NK = scores_NK / (tokens.shape[2] - self.prompt_length) ** self.config.length_penalty
        scores_NK = scores_NK.masked_fill(self.settled_N[:, None], -torch.inf)
        score, beam = scores_NK.max(dim=1)
        better = (score > self.ended_NK[:, 0]).nonzero()[:, 0]
        self.best[self.alive_N[better], : tokens.shape[2]] = tokens[better, beam[better]]
        self.best_length[self.alive_N[better]] = tokens.shape[2]
        self.ended_NK = torch.cat((self.ended_NK, scores_NK), dim=1).topk(scores_NK.shape[1]).values

    def _settle(self) -> None:
        """Mark sentences that no running beam can better, by the estimate that `generate` makes (early_stopping)."""
        beams, stop = self.scores_NK.shape[1], self.config.early_stopping
        farthest = stop == "never" and self.config.length_penalty > 0
        length = self.config.max_length - self.prompt_length if farthest else self.length
        hopeless = self.scores_NK[:, 0] / length**self.config.length_penalty <= self.ended_NK[:, -1]
        full = self.ended_NK[:, -1].isfinite()
        self.settled_N |= full if stop is True or beams == 1 else full & hopeless
        if self.tokens_NKT.shape[2] >= self.config.max_length:
            self.settled_N[:] = True  # where half precision overflowed too: such a sentence has no translation

    @staticmethod
    def _of_parents(values: torch.Tensor, parent: torch.Tensor) -> torch.Tensor:
        return values.gather(1, parent[:, :, None].expand(-1, -1, values.shape[2]))


@torch.inference_mode()
def search(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    generation_config: GenerationConfig,
    **inputs: Any,
) -> torch.Tensor:
    """The best translation of each sentence, int64 [N, T], padded: what `generate` calls as its `custom_generate`.

    `input_ids` [N * K, P] are K beams of each sentence's prompt. Equal to `generate`'s own search but for rounding.
    """
    beams = Beams(input_ids, generation_config.num_beams, generation_config)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    states, attention_mask, fresh = inputs["encoder_outputs"].last_hidden_state, inputs["attention_mask"], input_ids
    whole = any(isinstance(processor, WHOLE_BATCH) for processor in logits_processor)
    while len(beams.alive_N):
        output = model(
            decoder_input_ids=fresh,
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=True,
        )
        scores = output.logits[:, -1].float()
        if generation_config.num_beams > 1:  # greedy search compares tokens of one row alone, as they are
            scores = scores.log_softmax(-1)
        parents = beams.advance(logits_processor(beams.tokens_NKT.flatten(0, 1), scores))
        stay = None
        if beams.settled_N.float().mean() >= (1.0 if whole else SETTLED_SHARE):
            stay = beams.drop_settled()
            parents, states, attention_mask = parents[stay], states[stay], attention_mask[stay]
            _select(cache.cross_attention_cache, stay.nonzero()[:, 0])
        if stay is not None or generation_config.num_beams > 1:
            _select(cache.self_attention_cache, parents)
        fresh = beams.tokens_NKT[:, :, -1:].flatten(0, 1)
    return beams.best[:, : int(beams.best_length.max())]


def _select(cache: DynamicCache, rows: torch.Tensor) -> None:
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys.index_select(0, rows), layer.values.index_select(0, rows)
