"""The embedded base encoder: a small bilingual BERT, pre-trained with masked language modelling.

Polish novels, both sides of Tatoeba and ParaCrawl, English SNLI sentences; aligned pairs also as
one sequence (translation language modelling, arXiv 1901.07291, section 3.3). Its embeddings start
from co-occurrence counts of the same text. It is not tuned for similarity and never sees a
paragraph of the retrieval sets.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast
from transformers.modeling_outputs import MaskedLMOutput

from recipes import cooccurrence
from recipes import data as texts
from recipes.loop import Batch, fit

VOCABULARY = 16_000
MAX_TOKENS = 192
MASKED_SHARE = 0.2
NOVEL_LINES_PER_EPOCH = 25_000
HIDDEN = 192
INITIAL_STD = 0.05
Segments = tuple[list[int], list[int]]  # token ids, token types


class MaskedOnly(torch.nn.Module):
    """Computes the vocabulary's logits at masked positions alone: a third of the work."""

    def __init__(self, model: BertForMaskedLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, labels: torch.Tensor, **inputs: torch.Tensor) -> MaskedLMOutput:
        hidden = self.model.bert(**inputs).last_hidden_state
        masked = labels != -100
        return MaskedLMOutput(loss=cross_entropy(self.model.cls(hidden[masked]), labels[masked]))


def build_tokenizer(data: Path, folder: Path) -> BertTokenizerFast:
    """The tokenizer in `folder`, learned there first where none is.

    Learning breaks ties by chance, and COMET shares the tokenizer, so what is there is kept.
    """
    if (folder / "vocab.txt").exists():
        return BertTokenizerFast.from_pretrained(folder)
    web = texts.paracrawl(data)
    sentences = texts.novels(data)[::4] + texts.snli_sentences(data)
    sentences += [text for pair in texts.tatoeba(data) + web for text in pair]
    learner = BertWordPieceTokenizer(lowercase=True, strip_accents=False)
    learner.train_from_iterator(sentences, vocab_size=VOCABULARY, limit_alphabet=300, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    learner.save_model(str(folder))
    vocabulary = str(folder / "vocab.txt")
    tokenizer = BertTokenizerFast(vocabulary, do_lower_case=True, strip_accents=False, model_max_length=512)
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_model(tokenizer: BertTokenizerFast, words: np.ndarray) -> BertForMaskedLM:
    """`words`: float32 [V, D], unit norm, what the word embeddings start from."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=6,
        intermediate_size=768,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.1,
        max_position_embeddings=512,
        initializer_range=INITIAL_STD,
    )
    model = BertForMaskedLM(config)
    embeddings = model.bert.embeddings
    with torch.no_grad():
        # Noise keeps apart the tokens whose vectors are equal, or zero.
        start = torch.from_numpy(words) * INITIAL_STD * config.hidden_size**0.5
        embeddings.word_embeddings.weight.mul_(0.3).add_(start)
        # What a token is must not drown in where it stands.
        embeddings.position_embeddings.weight.mul_(0.1)
        embeddings.token_type_embeddings.weight.mul_(0.1)
    return model


def epoch(mono: list[list[int]], pairs: list[tuple[list[int], list[int]]], novels: list[list[int]], rng: random.Random):
    rows: list[Segments] = [(row, [0] * len(row)) for row in mono]
    for en, pl in pairs:
        first, second = (en, pl) if rng.random() < 0.5 else (pl, en)
        rows.append((first + second[1:], [0] * len(first) + [1] * (len(second) - 1)))
    rows += [(row, [0] * len(row)) for row in rng.sample(novels, min(NOVEL_LINES_PER_EPOCH, len(novels)))]
    return [(ids[:MAX_TOKENS], types[:MAX_TOKENS]) for ids, types in rows]


def mask(ids: torch.Tensor, special: int, mask_id: int, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT's corruption: of the chosen tokens 80 % masked, 10 % random, 10 % left."""
    chosen = (torch.rand(ids.shape) < MASKED_SHARE) & (ids >= special)
    labels = torch.where(chosen, ids, -100)
    dice = torch.rand(ids.shape)
    corrupted = torch.where(chosen & (dice < 0.8), mask_id, ids)
    noise = torch.randint(special, vocabulary, ids.shape)
    return torch.where(chosen & (dice > 0.9), noise, corrupted), labels


def batches(rows_of_epoch, tokenizer: BertTokenizerFast, budget: int, seed: int) -> Iterator[Batch]:
    rng = random.Random(seed)
    while True:
        rows = rows_of_epoch(rng)
        rng.shuffle(rows)
        rows.sort(key=lambda row: len(row[0]) // 4)
        groups, group = [], []
        for row in rows:
            if group and len(row[0]) * (len(group) + 1) > budget:
                groups.append(group)
                group = []
            group.append(row)
        rng.shuffle(groups)
        for group in groups:
            ids = pad_sequence([torch.tensor(row) for row, _ in group], batch_first=True)
            types = pad_sequence([torch.tensor(types) for _, types in group], batch_first=True)
            corrupted, labels = mask(ids, 5, tokenizer.mask_token_id, len(tokenizer))
            yield {
                "input_ids": corrupted,
                "attention_mask": (ids != 0).long(),
                "token_type_ids": types,
                "labels": labels,
            }


def build(data: Path, work: Path, output: Path, budget_s: float, seed: int = 1) -> None:
    """Pre-train within `budget_s` and save the encoder in half precision to `output`."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(data, output)

    def ids(sentences: list[str]) -> list[list[int]]:
        return tokenizer(sentences, truncation=True, max_length=MAX_TOKENS)["input_ids"]

    pairs = texts.tatoeba(data) + texts.paracrawl(data)
    english, polish = ids([en for en, _ in pairs]), ids([pl for _, pl in pairs])
    aligned = [pair for pair in zip(english, polish, strict=True) if len(pair[0]) + len(pair[1]) < 96]
    novels = [row for row in ids(texts.novels(data)) if len(row) > 8]
    snli = ids(texts.snli_sentences(data))
    mono = snli + polish[-len(polish) // 2 :]
    both_sides = list(zip(english, polish, strict=True))
    words = cooccurrence.vectors(novels + snli + english + polish, both_sides, len(tokenizer), HIDDEN)
    model = MaskedOnly(build_model(tokenizer, words))
    print(f"{sum(p.numel() for p in model.model.bert.parameters()) / 1e6:.2f} M parameters", flush=True)
    print(f"{len(mono)} sentences, {len(aligned)} pairs, {len(novels)} paragraphs", flush=True)
    fit(
        model,
        lambda step: batches(lambda rng: epoch(mono, aligned, novels, rng), tokenizer, 4096, step),
        folder=work,
        budget_s=budget_s,
        learning_rate=1e-3,
        warmup_steps=300,
        snapshots=(0.5,),
    )
    model.model.bert.half().save_pretrained(output)
