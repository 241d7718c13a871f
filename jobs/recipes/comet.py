"""The embedded COMET: reference-free, trained by unbabel-comet on graded corruptions of Tatoeba.

Scores are what the corruption leaves: 1 for a human translation, 0 for another sentence's, in
between for dropped, swapped or repeated words, for the translator's own rough checkpoints (graded
by chrF against the human translation), 0.1 for an untranslated copy. Before that the encoder learns for
a while to find a sentence's translation among others (translation ranking, arXiv 1907.04307): from
masked language modelling alone it hardly knows that two languages can say the same.
"""

import csv
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sacrebleu
import torch
import yaml
from transformers import M2M100ForConditionalGeneration, M2M100Tokenizer
from transformers.modeling_outputs import MaskedLMOutput

from nlift.models.encoder import Encoder
from nlift.training.loss import supervised_simcse_loss
from recipes import data as texts
from recipes.loop import Batch, fit

Example = tuple[str, str, float]
HELD_OUT = 2000  # Tatoeba pairs that COMET never sees, for the AUC
ROUGH_PAIRS = 3000  # translated by each rough checkpoint
RANKING_SHARE = 0.35  # of the time budget
RANKING_PAIRS = 128  # a batch: each target among so many
HPARAMS = {
    "activations": "Tanh",
    "batch_size": 64,
    "class_identifier": "referenceless_regression_metric",
    "dropout": 0.1,
    "encoder_learning_rate": 2.0e-4,
    "encoder_model": "BERT",
    "hidden_sizes": [384, 128],
    "keep_embeddings_frozen": False,
    "layer": "mix",
    "layer_norm": True,
    "layer_transformation": "softmax",
    "layerwise_decay": 1.0,
    "learning_rate": 5.0e-4,
    "loss": "mse",
    "nr_frozen_epochs": 0,
    "optimizer": "AdamW",
    "pool": "avg",
    "warmup_steps": 0,  # unbabel-comet counts them in epochs
}


def split(data: Path) -> tuple[list[texts.Pair], list[texts.Pair]]:
    """Tatoeba pairs for training, and the held-out ones."""
    pairs = texts.tatoeba(data)
    random.Random(7).shuffle(pairs)
    return pairs[HELD_OUT:], pairs[:HELD_OUT]


def similar_length(pairs: list[texts.Pair], rng: random.Random) -> list[str]:
    """For each pair the target of another pair of about the same length: a wrong target that is no give-away."""
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][1]), rng.random()))
    wrong = [""] * len(pairs)
    for position, i in enumerate(order):
        for _ in range(10):
            neighbour = order[min(max(position + rng.randint(-30, 30), 0), len(order) - 1)]
            if pairs[neighbour][1] != pairs[i][1] and pairs[neighbour][0] != pairs[i][0]:
                break
        wrong[i] = pairs[neighbour][1]
    return wrong


def damage(target: str, rng: random.Random) -> tuple[str, float]:
    """A target with dropped, swapped or repeated words, and what is left of its worth."""
    words = target.split()
    kind = rng.choice(("drop", "swap", "repeat"))
    share = rng.choice((0.15, 0.3, 0.5))
    count = max(1, round(share * len(words)))
    share = count / max(len(words), 1)
    if kind == "drop" and len(words) > count:
        gone = set(rng.sample(range(len(words)), count))
        return " ".join(word for i, word in enumerate(words) if i not in gone), max(0.0, 1 - 1.4 * share)
    if kind == "swap" and len(words) > 2:
        for _ in range(count):
            i = rng.randrange(len(words) - 1)
            words[i], words[i + 1] = words[i + 1], words[i]
        return " ".join(words), max(0.3, 1 - 0.8 * share)
    i = rng.randrange(len(words))
    return " ".join([*words[: i + 1], *([words[i]] * (count + 1)), *words[i + 1 :]]), max(0.1, 0.8 - share)


@torch.inference_mode()
def translate_rough(folder: Path, checkpoint: Path, sources: list[str]) -> list[str]:
    """What an early checkpoint of the translator makes of sentences, greedily."""
    from recipes.translator import build_model

    tokenizer = M2M100Tokenizer.from_pretrained(folder, src_lang="en", tgt_lang="pl")
    model: M2M100ForConditionalGeneration = build_model(tokenizer)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    model.eval()
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    decoding = {"forced_bos_token_id": tokenizer.get_lang_id("pl"), "num_beams": 1, "max_new_tokens": 48}
    targets = [""] * len(sources)
    for start in range(0, len(order), 128):
        rows = order[start : start + 128]
        inputs = tokenizer([sources[i] for i in rows], return_tensors="pt", padding=True)
        tokens = model.generate(**inputs, **decoding)
        for i, text in zip(rows, tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True):
            targets[i] = text
    return targets


def rough_examples(pairs: list[texts.Pair], folder: Path, checkpoints: list[Path], rng: random.Random) -> list[Example]:
    """Rough translations graded by chrF against the human target."""
    examples = []
    for checkpoint in checkpoints:
        chosen = rng.sample(pairs, ROUGH_PAIRS)
        for (en, pl), target in zip(chosen, translate_rough(folder, checkpoint, [en for en, _ in chosen]), strict=True):
            if target:
                examples.append((en, target, min(1.0, sacrebleu.sentence_chrf(target, [pl]).score / 100)))
    return examples


def examples(pairs: list[texts.Pair], rng: random.Random) -> list[Example]:
    """True, wrong, damaged and untranslated targets of every pair."""
    wrong_near, wrong_any = similar_length(pairs, rng), [pl for _, pl in pairs]
    rng.shuffle(wrong_any)
    rows: list[Example] = []
    for (en, pl), near, far in zip(pairs, wrong_near, wrong_any, strict=True):
        rows += [(en, pl, 1.0), (en, near if rng.random() < 0.8 else far, 0.0)]
        if rng.random() < 0.5:
            rows.append((en, *damage(pl, rng)))
        if rng.random() < 0.05:
            rows.append((en, en, 0.1))
    rng.shuffle(rows)
    return rows


def auc(positive: list[float], negative: list[float]) -> float:
    """Chance that a true pair scores above a wrong one."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))


class Ranker(torch.nn.Module):
    """Loss of finding each source's target among a batch's targets."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, source: Batch, target: Batch) -> MaskedLMOutput:
        return MaskedLMOutput(loss=supervised_simcse_loss(self.encoder(source), self.encoder(target)))


def ranking_batches(pairs: list[texts.Pair], encoder: Encoder, seed: int) -> Iterator[dict[str, Batch]]:
    """Pairs of like length, so that length alone does not tell the target."""
    rng = random.Random(seed)
    while True:
        order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][0]) // 6, rng.random()))
        starts = list(range(0, len(order) - RANKING_PAIRS, RANKING_PAIRS))
        rng.shuffle(starts)
        for start in starts:
            rows = [pairs[i] for i in order[start : start + RANKING_PAIRS]]
            both = ([en for en, _ in rows], [pl for _, pl in rows])
            source, target = (dict(encoder.tokenizer(side, padding=True, return_tensors="pt")) for side in both)
            yield {"source": source, "target": target}


def align(base: Path, pairs: list[texts.Pair], work: Path, budget_s: float) -> Path:
    """The base encoder after translation ranking, saved in a folder of `work`."""
    encoder = Encoder.load(base)
    fit(
        Ranker(encoder),
        lambda step: ranking_batches(pairs, encoder, step),
        folder=work,
        budget_s=budget_s,
        learning_rate=5e-4,
        warmup_steps=50,
    )
    encoder.save(work / "aligned")
    return work / "aligned"


def write_csv(path: Path, rows: list[Example]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["src", "mt", "score"])
        writer.writerows(rows)


def build(
    data: Path,
    work: Path,
    output: Path,
    encoder: Path,
    translator: Path,
    roughs: list[Path],
    budget_s: float,
    seed: int = 1,
) -> None:
    """Train on top of `encoder` within `budget_s` and save to `output` in COMET's own layout."""
    import pytorch_lightning
    from comet.models import ReferencelessRegression

    pytorch_lightning.seed_everything(seed)
    rng = random.Random(seed)
    work.mkdir(parents=True, exist_ok=True)
    train_pairs, held_out = split(data)
    train_csv, valid_csv = work / "train.csv", work / "valid.csv"
    if not train_csv.exists():
        rows = examples(train_pairs, rng) + rough_examples(train_pairs, translator, roughs, rng)
        rng.shuffle(rows)
        write_csv(valid_csv, examples(held_out, rng)[:1000])
        write_csv(train_csv, rows)
    aligned = align(encoder, train_pairs, work / "ranking", RANKING_SHARE * budget_s)
    model = ReferencelessRegression(
        **{k: v for k, v in HPARAMS.items() if k != "class_identifier"},
        pretrained_model=str(aligned.resolve()),
        train_data=[str(train_csv)],
        validation_data=[str(valid_csv)],
    )
    trainer = _trainer(work, (1 - RANKING_SHARE) * budget_s)
    began = time.perf_counter()
    trainer.fit(model)
    print(f"{trainer.global_step} steps in {time.perf_counter() - began:.0f} s", flush=True)
    save(model, output)


def _trainer(work: Path, budget_s: float) -> Any:
    """A trainer of pytorch-lightning that stops after `budget_s` and keeps its log and checkpoints in `work`."""
    import pytorch_lightning

    return pytorch_lightning.Trainer(
        accelerator="cpu",
        max_epochs=100,
        max_time={"seconds": budget_s},
        reload_dataloaders_every_n_epochs=1,  # COMET loads its data sets by epoch
        gradient_clip_val=1.0,
        enable_progress_bar=False,
        log_every_n_steps=50,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        logger=pytorch_lightning.loggers.CSVLogger(work),
        callbacks=[pytorch_lightning.callbacks.ModelCheckpoint(work, filename="last", every_n_train_steps=500)],
    )


def save(model: torch.nn.Module, output: Path) -> None:
    """COMET's layout, tensors in half precision; the encoder is named by its place beside the checkpoint."""
    (output / "checkpoints").mkdir(parents=True, exist_ok=True)
    weights = model.state_dict().items()
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights}
    hparams = {**HPARAMS, "pretrained_model": "../encoder"}
    checkpoint = {"state_dict": state, "hyper_parameters": hparams, "pytorch-lightning_version": "2.0.0"}
    torch.save(checkpoint, output / "checkpoints" / "model.ckpt")
    (output / "hparams.yaml").write_text(yaml.safe_dump(hparams), encoding="utf-8")
