"""Translator and COMET against people: chrF and BLEU where references exist, Spearman where scores do."""

import numpy as np

from nlift.evaluation import metrics
from nlift.evaluation.datasets import QualitySet, TranslationSet, load_set
from nlift.models.comet import CometScorer
from nlift.models.translator import Translator
from nlift.settings import EvaluationSet, ScoreConfig, TranslateConfig

KINDS = ("translation", "quality")


def measure(
    config: EvaluationSet, translators: list[TranslateConfig], scorer: ScoreConfig | None
) -> dict[str, dict[str, float]]:
    """Metrics by model: chrf and bleu (0 to 100) of translators, or spearman and pearson of COMET."""
    dataset = load_set(config)
    if isinstance(dataset, TranslationSet):
        return {settings.model: translation(Translator(settings), dataset) for settings in translators}
    assert isinstance(dataset, QualitySet)
    assert scorer is not None
    return {scorer.model: quality(CometScorer(scorer), dataset)}


def translation(translator: Translator, dataset: TranslationSet) -> dict[str, float]:
    """sacrebleu's chrF and BLEU with its default settings, and how many pairs; faults count as empty."""
    import sacrebleu

    targets = translator.translate([source for source, _ in dataset.pairs])
    references = [[target for _, target in dataset.pairs]]
    return {
        "chrf": sacrebleu.corpus_chrf(targets, references).score,
        "bleu": sacrebleu.corpus_bleu(targets, references).score,
        "pairs": len(dataset.pairs),
    }


def quality(scorer: CometScorer, dataset: QualitySet) -> dict[str, float]:
    """Correlation of COMET with human scores of the same translations."""
    predicted = scorer.score([source for source, _ in dataset.pairs], [target for _, target in dataset.pairs])
    human = np.array(dataset.scores)
    return {
        "spearman": metrics.spearman(predicted, human),
        "pearson": metrics.pearson(predicted, human),
        "pairs": len(dataset.pairs),
    }
