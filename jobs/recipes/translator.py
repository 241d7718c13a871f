"""The embedded English-Polish translator: M2M100 in miniature (pre-norm, shared vocabulary)."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import sentencepiece
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

from recipes import data as texts
from recipes.loop import Batch, fit

VOCABULARY = 6000
WEB_PER_EPOCH = 16_000  # ParaCrawl gives vocabulary, Tatoeba gives the kind of sentence
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


def encode(tokenizer: M2M100Tokenizer, pairs: list[texts.Pair]) -> list[Ids]:
    source = tokenizer([en for en, _ in pairs])["input_ids"]
    target = tokenizer(text_target=[pl for _, pl in pairs])["input_ids"]
    return list(zip(source, target, strict=True))


def join(parts: list[Ids]) -> Ids:
    """Several pairs as one longer pair: Tatoeba means 6 words a sentence, SNLI premises 14."""
    source = parts[0][0][:1] + [token for s, _ in parts for token in s[1:-1]] + parts[0][0][-1:]
    target = parts[0][1][:1] + [token for _, t in parts for token in t[1:-1]] + parts[0][1][-1:]
    return source, target


def epoch(short: list[Ids], web: list[Ids], joined_share: float, rng: random.Random) -> list[Ids]:
    short = rng.sample(short, len(short))
    cut = int(len(short) * (1 - joined_share))
    rows = short[:cut] + rng.sample(web, min(WEB_PER_EPOCH, len(web)))
    while cut < len(short):
        step = rng.choice((2, 3))
        rows.append(join(short[cut : cut + step]))
        cut += step
    return rows


def batches(short: list[Ids], web: list[Ids], budget: int, pad: int, seed: int) -> Iterator[Batch]:
    rng = random.Random(seed)
    share = 0.0 if seed == 0 else 0.4
    while True:
        rows = epoch(short, web, share, rng)
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
    short = encode(tokenizer, texts.tatoeba(data))
    web = encode(tokenizer, texts.paracrawl(data, max_words=20))
    web = [row for row in web if max(len(row[0]), len(row[1])) <= 60]
    print(f"{len(short)} Tatoeba pairs, {len(web)} ParaCrawl pairs", flush=True)
    fit(
        model,
        lambda step: batches(short, web, 2000, tokenizer.pad_token_id, step),
        folder=work,
        budget_s=budget_s,
        learning_rate=1.5e-3,
        warmup_steps=400,
        snapshots=(0.04, 0.1, 0.25),
    )
    save(model, output)


def save(model: M2M100ForConditionalGeneration, output: Path) -> None:
    model.generation_config.num_beams = 4
    model.generation_config.max_length = 96
    model.half().save_pretrained(output)
