"""The model card of an encoder: README.md in its folder, as the Hugging Face hub takes it.

Nothing that nlift computes depends on it: no fingerprint of a folder counts its documents. A card that a person has
edited stays as it is; a hash in its last line says which one that is.
"""

import hashlib
from pathlib import Path

from huggingface_hub import ModelCardData

from nlift.config import Experiment, load_experiment
from nlift.data import transfer
from nlift.data.files import write_text
from nlift.data.languages import iso_639_1
from nlift.pipeline import train, tune
from nlift.pipeline.stage import Stage
from nlift.pipeline.stage_folder import read_manifest
from nlift.report import provenance
from nlift.report.card_results import Results, eval_results, results_of
from nlift.report.card_text import text_of
from nlift.report.licences import strictest

FILE = "README.md"
MARK = "<!-- written by nlift, which leaves an edited card alone: {} -->\n"
TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "nlift", "simcse")


def write(experiment: Experiment) -> list[Path]:
    """Write the cards of an experiment's encoders that are there; where they are.

    Results are those of the stage evaluate where it measured this very encoder.
    """
    paths = []
    for stage in (train.STAGE, tune.STAGE):
        folder = stage.path(experiment)
        if (folder / "encoder").is_dir() and stage.enabled(experiment) and stage.folder(experiment).done():
            path = folder / "encoder" / FILE
            if not is_edited(path):
                text = card(experiment, stage)
                write_text(path, text + MARK.format(_digest(text)))
                if experiment.folder_store is not None:
                    transfer.put(path, f"{experiment.folder_store}/{stage.name}/{FILE}")
            paths.append(path)
    return paths


def is_edited(path: Path) -> bool:
    """Whether a card is there that is not as nlift wrote it."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    written = text[: text.rfind(MARK.partition("{")[0])]
    return text != written + MARK.format(_digest(written))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def card(experiment: Experiment, stage: Stage) -> str:
    """The card of a stage's encoder: front matter and text."""
    folder = stage.path(experiment)
    results = results_of(experiment, read_manifest(folder)["fingerprint"])
    trained = load_experiment(folder / "best.yaml") if stage is tune.STAGE else experiment
    made_of = provenance.made_of(trained, stage)
    languages = _languages(trained, results)
    measured = list(eval_results(results))
    front = ModelCardData(
        model_name=experiment.name if measured else None,
        language=languages or None,
        license=strictest(source.licence for source in made_of),
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=list(TAGS),
        base_model=made_of[0].model,
        datasets=list(dict.fromkeys(source.dataset for source in made_of if source.dataset)) or None,
        eval_results=measured or None,
    )
    text = text_of(trained, stage, folder, made_of, languages, results)
    return f"---\n{front.to_yaml()}\n---\n\n{text}\n"


def _languages(experiment: Experiment, results: Results) -> list[str]:
    """ISO 639-1 of the texts that it learnt, else of those that it was measured on; [] where nothing says."""
    config, search = experiment.translate, experiment.search.language
    if config is not None:
        sides = {"target": [config.target_language], "source": [config.source_language]}
        both = [config.target_language, config.source_language]
        languages = [iso_639_1(code) for code in sides.get(experiment.triplets.side, both)]
    elif search != "auto":
        languages = [iso_639_1(search)]
    else:
        languages = [row["language"] for row in results.metrics.get("deployed", {}).values()]
    return list(dict.fromkeys(language for language in languages if language))
