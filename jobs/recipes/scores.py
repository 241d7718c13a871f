"""What the embedded models score on data they never saw, as Markdown for docs/results.md."""

import random
from pathlib import Path

import numpy as np
import sacrebleu

from nlift.evaluation.metrics import spearman
from nlift.models.comet import CometScorer
from nlift.models.translator import Translator
from nlift.settings import ScoreConfig, TranslateConfig
from recipes import comet
from recipes import data as texts

CAPTIONS = 3000  # STS-B's rows of captions come first
SAMPLE = 20
DEMO = TranslateConfig(length_penalty=2, no_repeat_ngram_size=3)  # chosen on SICK


def translator_scores(data: Path) -> list[str]:
    """chrF and BLEU by decoding, and twenty SNLI sentences as the demo translates them, unpicked."""
    captions = [(en, pl) for en, pl in texts.table(data / "parallel/stsb_deepl_en_pl_train.tsv")][:CAPTIONS]
    rows = [
        "| test set | pairs | length_penalty | no_repeat_ngram_size | chrF | BLEU |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for config in (TranslateConfig(), DEMO):
        translator = Translator(config)
        for name, pairs in (("tatoeba_laser1000", texts.tatoeba_test(data)), ("STS-B captions (DeepL)", captions)):
            translations = translator.translate([en for en, _ in pairs])
            references = [[pl for _, pl in pairs]]
            chrf = sacrebleu.corpus_chrf(translations, references).score
            bleu = sacrebleu.corpus_bleu(translations, references).score
            settings = f"{config.length_penalty:g} | {config.no_repeat_ngram_size}"
            rows.append(f"| {name} | {len(pairs)} | {settings} | {chrf:.1f} | {bleu:.1f} |")
    sentences = sorted({text for row in texts.table(data / "nli/snli_dev.tsv") for text in row[:2]})
    chosen = random.Random(1).sample(sentences, SAMPLE)
    rows += ["", "| SNLI | translation |", "|---|---|"]
    rows += [f"| {en} | {pl} |" for en, pl in zip(chosen, translator.translate(chosen), strict=True)]
    return rows


def comet_scores(data: Path, scorer: CometScorer) -> list[str]:
    """AUC of true against wrong targets of pairs held out, and Spearman with human scores."""
    _, held_out = comet.split(data)
    rng = random.Random(11)
    sources, true = [en for en, _ in held_out], [pl for _, pl in held_out]
    shuffled = true[1:] + true[:1]
    scored = {
        "true": scorer.score(sources, true),
        "random": scorer.score(sources, shuffled),
        "near": scorer.score(sources, comet.similar_length(held_out, rng)),
    }
    rows = ["| measure | value |", "|---|---:|"]
    for name, title in (("random", "a random wrong target"), ("near", "a wrong target of like length")):
        auc = comet.auc(scored["true"], scored[name])
        rows.append(f"| AUC, true against {title} ({len(sources)} Tatoeba pairs) | {auc:.3f} |")
    for part in ("dev", "testA"):
        human = texts.table(data / f"qe/poleval2021_en_pl_{part}.tsv")
        scores = scorer.score([row[0] for row in human], [row[1] for row in human])
        correlation = spearman(scores, np.array([float(row[2]) for row in human]))
        title = f"Spearman with human scores, poleval2021_en_pl_{part} ({len(human)} pairs)"
        rows.append(f"| {title} | {correlation:.3f} |")
    return rows


def show(data: Path) -> None:
    """Print the tables."""
    print("\n".join(translator_scores(data)), flush=True)
    print("\n" + "\n".join(comet_scores(data, CometScorer(ScoreConfig()))), flush=True)
