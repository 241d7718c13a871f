"""Licences of models that are often named; docs/models.md cites where each is stated."""

LICENCES = {
    "embedded": "Apache-2.0 (data: see NOTICE)",
    "facebook/m2m100_418M": "MIT",
    "facebook/m2m100_1.2B": "MIT",
    "facebook/mbart-large-50-many-to-many-mmt": "MIT (by fairseq; its model card states none)",
    "facebook/nllb-200-distilled-600M": "CC-BY-NC-4.0 (no commercial use)",
    "Unbabel/wmt20-comet-qe-da": "Apache-2.0",
    "Unbabel/wmt22-cometkiwi-da": "CC-BY-NC-SA-4.0 (no commercial use)",
    "Unbabel/XCOMET-XL": "CC-BY-NC-SA-4.0 (no commercial use)",
    "allegro/herbert-base-cased": "CC-BY-4.0",
    "allegro/herbert-large-cased": "CC-BY-4.0",
    "google-bert/bert-base-uncased": "Apache-2.0",
    "bert-base-uncased": "Apache-2.0",
    "FacebookAI/xlm-roberta-base": "MIT",
    "xlm-roberta-base": "MIT",
}


def licence(model: str) -> str:
    """The licence of a model field's value, `unknown` where the table has none."""
    return LICENCES.get(model, "unknown")
