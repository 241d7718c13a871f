"""Translator and COMET against people: chrF and BLEU where references exist, Spearman where scores do."""

import numpy as np

from nlift import metrics
from nlift.config import Experiment
from nlift.score import CometScorer
from nlift.sections import EvaluationSet
from nlift.sets import QualitySet, TranslationSet, load_set
from nlift.translate import Translator, candidates

KINDS = ("translation", "quality")


def measure(experiment: Experiment, one: EvaluationSet) -> dict[str, dict[str, float]]:
    """Metrics by model: chrf and bleu (0 to 100) of translators, or spearman and pearson of COMET."""
    loaded = load_set(one)
    if isinstance(loaded, TranslationSet):
        assert experiment.translate is not None
        configs = candidates(experiment.translate)
        return {config.model: translation(Translator(config), loaded) for config in configs}
    assert isinstance(loaded, QualitySet) and experiment.score is not None
    return {experiment.score.model: quality(CometScorer(experiment.score), loaded)}


def translation(translator: Translator, loaded: TranslationSet) -> dict[str, float]:
    """sacrebleu's chrF and BLEU with its default settings, and how many pairs; faults count as empty."""
    import sacrebleu

    found = translator.translate([source for source, _ in loaded.pairs])
    gold = [[target for _, target in loaded.pairs]]
    return {
        "chrf": sacrebleu.corpus_chrf(found, gold).score,
        "bleu": sacrebleu.corpus_bleu(found, gold).score,
        "pairs": len(loaded.pairs),
    }


def quality(scorer: CometScorer, loaded: QualitySet) -> dict[str, float]:
    """Correlation of COMET with human scores of the same translations."""
    found = scorer.score([source for source, _ in loaded.pairs], [target for _, target in loaded.pairs])
    human = np.array(loaded.scores)
    return {
        "spearman": metrics.spearman(found, human),
        "pearson": metrics.pearson(found, human),
        "pairs": len(loaded.pairs),
    }
