"""The embedded English-Polish translator: M2M100 in miniature (pre-norm, shared vocabulary)."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

from nlift.models.comet import CometScorer
from recipes import data as texts
from recipes.loop import Batch, fit

VOCABULARY = 6000
WEB_PER_EPOCH = 16_000  # ParaCrawl gives vocabulary, Tatoeba gives the kind of sentence
LONGEST = 60  # tokens of a pair from the web
BELIEVED = 0.6  # COMET of a pair from the web, above which it is likely no misaligned one
Ids = tuple[list[int], list[int]]


def build_tokenizer(data: Path, folder: Path) -> M2M100Tokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    pairs = texts.tatoeba(data) + texts.paracrawl(data)
    sentences = [text for pair in pairs for text in pair] + texts.snli_sentences(data)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=VOCABULARY,
        character_coverage=0.9998,
        num_threads=2,
        minloglevel=2,
    )
    model = folder / "sentencepiece.bpe.model"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    learned = [pieces.id_to_piece(i) for i in range(len(pieces)) if pieces.id_to_piece(i) not in special]
    vocabulary = {piece: i for i, piece in enumerate(special + learned)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, indent=0))
    model.with_suffix(".vocab").unlink()
    return save_tokenizer(folder, model)


def save_tokenizer(folder: Path, model: Path) -> M2M100Tokenizer:
    """The M2M100 tokenizer; its language tokens must be said to be special, or they stay in translations."""
    languages = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
    tokenizer = M2M100Tokenizer(
        str(folder / "vocab.json"), str(model), src_lang="en", tgt_lang="pl", additional_special_tokens=languages
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_model(tokenizer: M2M100Tokenizer) -> M2M100ForConditionalGeneration:
    config = M2M100Config(
        vocab_size=max(tokenizer.lang_token_to_id.values()) + 1 + tokenizer.num_madeup_words,
        d_model=192,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=768,
        decoder_ffn_dim=768,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        dropout=0.1,
        attention_dropout=0.0,
        activation_dropout=0.0,
        max_position_embeddings=256,
        init_std=0.07,
        forced_bos_token_id=tokenizer.get_lang_id("pl"),
    )
    return M2M100ForConditionalGeneration(config)


@dataclass(frozen=True)
class Corpus:
    """Pairs to learn from, cut into pieces anew every epoch."""

    tokenizer: M2M100Tokenizer
    short: list[texts.Pair]
    web: list[texts.Pair]
    web_per_epoch: int
    sampled_share: float = 0.0  # of the pairs, cut into pieces at random (subword regularisation, arXiv 1804.10959)

    def epoch(self, joined_share: float, rng: random.Random) -> list[Ids]:
        """All short pairs, some of them joined, and a sample of the web."""
        short = self.cut(rng.sample(self.short, len(self.short)), rng)
        position = int(len(short) * (1 - joined_share))
        web = self.cut(rng.sample(self.web, min(self.web_per_epoch, len(self.web))), rng)
        rows = short[:position] + [row for row in web if max(map(len, row)) <= LONGEST]
        while position < len(short):
            step = rng.choice((2, 3))
            rows.append(join(short[position : position + step]))
            position += step
        return rows

    def cut(self, pairs: list[texts.Pair], rng: random.Random) -> list[Ids]:
        """Source and target ids of pairs, as the tokenizer lays them out."""
        source = self._ids([en for en, _ in pairs], "en", rng)
        return list(zip(source, self._ids([pl for _, pl in pairs], "pl", rng), strict=True))

    def _ids(self, sentences: list[str], language: str, rng: random.Random) -> list[list[int]]:
        begin, end = self.tokenizer.get_lang_id(language), self.tokenizer.eos_token_id
        unknown, ids, pieces = self.tokenizer.unk_token_id, self.tokenizer.encoder, self.tokenizer.sp_model
        rows = pieces.encode(sentences, out_type=str)
        drawn = [i for i in range(len(rows)) if rng.random() < self.sampled_share]
        for i in drawn:
            rows[i] = pieces.encode(sentences[i], out_type=str, enable_sampling=True, alpha=0.5, nbest_size=-1)
        return [[begin, *(ids.get(piece, unknown) for piece in row), end] for row in rows]


def join(parts: list[Ids]) -> Ids:
    """Several pairs as one longer pair: Tatoeba means 6 words a sentence, SNLI premises 14."""
    source = parts[0][0][:1] + [token for s, _ in parts for token in s[1:-1]] + parts[0][0][-1:]
    target = parts[0][1][:1] + [token for _, t in parts for token in t[1:-1]] + parts[0][1][-1:]
    return source, target


def batches(corpus: Corpus, budget: int, joined_first: float, seed: int) -> Iterator[Batch]:
    """Batches of pairs of like length, `budget` padded tokens each, for ever; the first epoch joins less."""
    rng, pad = random.Random(seed), corpus.tokenizer.pad_token_id
    sentencepiece.set_random_generator_seed(seed)
    share = joined_first
    while True:
        rows = corpus.epoch(share, rng)
        share = 0.4
        rows.sort(key=lambda row: (len(row[1]) // 2, len(row[0]), rng.random()))
        groups, group, widest = [], [], 0
        for row in rows:
            widest = max(widest, len(row[0]), len(row[1]))
            if group and widest * (len(group) + 1) > budget:
                groups.append(group)
                group, widest = [], max(len(row[0]), len(row[1]))
            group.append(row)
        rng.shuffle(groups)
        for group in groups:
            source = pad_sequence([torch.tensor(s) for s, _ in group], batch_first=True, padding_value=pad)
            labels = pad_sequence([torch.tensor(t) for _, t in group], batch_first=True, padding_value=-100)
            yield {"input_ids": source, "attention_mask": (source != pad).long(), "labels": labels}


def build(data: Path, work: Path, output: Path, budget_s: float, seed: int = 1) -> None:
    """Train within `budget_s` and save the model in half precision to `output`."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(data, output)
    model = build_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    corpus = Corpus(tokenizer, texts.tatoeba(data), texts.paracrawl(data, max_words=20), WEB_PER_EPOCH)
    print(f"{len(corpus.short)} Tatoeba pairs, {len(corpus.web)} ParaCrawl pairs", flush=True)
    fit(
        model,
        lambda step: batches(corpus, 2000, 0.0 if step == 0 else 0.4, step),
        folder=work,
        budget_s=budget_s,
        learning_rate=1.5e-3,
        warmup_steps=400,
        snapshots=(0.04, 0.1, 0.25),
    )
    save(model, output)


def go_on(data: Path, work: Path, output: Path, scorer: CometScorer, budget_s: float, seed: int = 2) -> None:
    """Train the saved translator further: more of the web, as far as COMET believes it, and pieces cut at random."""
    torch.manual_seed(seed)
    tokenizer = M2M100Tokenizer.from_pretrained(output, src_lang="en", tgt_lang="pl")
    model = M2M100ForConditionalGeneration.from_pretrained(output, dtype=torch.float32)
    web = texts.paracrawl(data, max_words=20)
    scores = scorer.score([en for en, _ in web], [pl for _, pl in web])
    web = [pair for pair, score in zip(web, scores, strict=True) if score >= BELIEVED]
    print(f"{len(web)} ParaCrawl pairs with COMET >= {BELIEVED}", flush=True)
    corpus = Corpus(tokenizer, texts.tatoeba(data), web, 2 * WEB_PER_EPOCH, sampled_share=0.5)
    fit(
        model,
        lambda step: batches(corpus, 4000, 0.4, seed + step),
        folder=work,
        budget_s=budget_s,
        learning_rate=1e-3,
        warmup_steps=200,
    )
    save(model, output)


def save(model: M2M100ForConditionalGeneration, output: Path) -> None:
    model.generation_config.num_beams = 4
    model.generation_config.max_length = 96
    model.half().save_pretrained(output)
