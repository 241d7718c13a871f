"""The model card: what the hub's own library reads of it, what it says of sources, and that nothing depends on it."""

import json
import shutil

import pytest
import yaml
from conftest import GEOMETRY, RETRIEVAL, STS, encoder_metrics
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from nlift import pipeline
from nlift.cli import app
from nlift.config import Experiment
from nlift.data import sources
from nlift.data.files import write_json
from nlift.models.encoder import Encoder
from nlift.pipeline import evaluate, index, train, tune
from nlift.report import model_card
from nlift.report.licences import strictest
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import read_info, verify

HOSTILE = [
    "a: b",
    "x | y",
    "[x](http://y) <b>",
    "--- # no",
    "'\"",
    "*x* _y_ `z`",
    "{{ 7 * 7 }}",
    "{a: [b",
    "ends with \\",
    "żółw 北京",
    "null",
    "1e3",
]
COMPARISON = {"set": "places", "metric": "ndcg@10", "name": "tuned", "against": "base", "value": 0.5}
COMPARISON |= {"against_value": 0.25, "difference": 0.25, "low": 0.125, "high": 0.375, "p_holm": 0.0001}
COMPARISON |= {"detectable": 0.0625, "count": 10, "words": "tuned is above base by NDCG@10, +0.250 [+0.125, +0.375]"}


@pytest.fixture
def experiment(tmp_path):
    sets = [
        {"name": "places", "kind": "retrieval", "path": "embedded:osm_places_pl"},
        {"name": "pairs", "kind": "sts", "path": "embedded:stsb_pl"},
    ]
    return Experiment.model_validate(
        {
            "name": "tiny",
            "output_dir": str(tmp_path / "runs"),
            "nli": {"path": "embedded"},
            "train": {"dev": "places"},
            "evaluate": {"sets": sets},
        }
    )


def trained(experiment, encoder, stage=train.STAGE, **notes):
    """The folder of a stage with an encoder in it."""
    with stage.folder(experiment).writing() as output:
        shutil.copytree(encoder, output.path / "encoder")
        output.rows_out, output.notes = 1234, {"steps": 7, "guard": None, **notes}
        chosen = experiment.override({"train.temperature": 0.07, "tune": None})
        (output.path / "best.yaml").write_text(yaml.safe_dump(chosen.model_dump(mode="json")))


def evaluated(experiment, comparisons=()):
    """The folder of `evaluate`, with the same figures for every set of a kind."""
    kinds = {"sts": STS, "retrieval": RETRIEVAL, "classification": {"accuracy": 0.75, "macro_f1": float("nan")}}
    groups = {"sts": {}, "retrieval": {}, "transfer": {}}
    for config in experiment.evaluate.sets:
        group = "transfer" if config.kind == "classification" else config.kind
        groups[group][config.name] = kinds[config.kind]
    geometry = {config.name: GEOMETRY for config in experiment.evaluate.sets}
    encoders = {name: {**encoder_metrics(geometry=geometry), **groups} for name in ("base", "tuned")}
    encoders["bm25"] = encoder_metrics(retrieval=groups["retrieval"])
    with evaluate.STAGE.folder(experiment).writing() as output:
        write_json(output.path / "metrics.json", {"encoders": encoders, "deployed": {}})
        write_json(output.path / "comparisons.json", list(comparisons))


def written(experiment):
    (path,) = model_card.write(experiment)
    return ModelCard.load(path), path


def test_the_hub_reads_what_was_measured(experiment, encoder_folder):
    trained(experiment, encoder_folder)
    evaluated(experiment, [COMPARISON])
    card, path = written(experiment)
    assert path == experiment.folder / "train" / "encoder" / "README.md"
    data = card.data
    assert (data.library_name, data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    assert (data.language, data.license, data.datasets) == (["pl"], "cc-by-sa-4.0", ["stanfordnlp/snli"])
    figures = {(row.task_type, row.dataset_name, row.metric_name): row.metric_value for row in data.eval_results}
    retrieval = {("Retrieval", "places", name): RETRIEVAL[name] for name in ("ndcg@10", "recall@10", "recall@100")}
    assert retrieval.items() <= figures.items()
    assert figures["STS", "pairs", "spearman"] == STS["spearman"]
    assert not [name for _, _, name in figures if name in ("uniformity", "queries", "pairs")]
    assert {row.metric_type for row in data.eval_results} >= {"ndcg_at_10", "cosine_spearman"}
    again = ModelCard(str(card))
    assert again.data.eval_results == data.eval_results
    assert "| places | bm25 |" in card.text and "| places | tuned |" in card.text
    assert "+0.125 to +0.375" in card.text
    assert "Of places only the part" in card.text and "| rows | 1,234 |" in card.text


def test_a_probe_and_a_figure_that_is_no_number(experiment, encoder_folder, tmp_path):
    path = tmp_path / "classes.tsv"
    path.write_text("text\tlabel\na\tb\n")
    sets = [{"name": "classes", "kind": "classification", "path": str(path)}]
    changed = experiment.override({"evaluate.sets": sets, "train.dev": None})
    trained(changed, encoder_folder)
    evaluated(changed)
    (row,) = written(changed)[0].data.eval_results
    assert (row.task_type, row.metric_type, row.metric_value) == ("Classification", "accuracy", 0.75)


def test_an_encoder_that_was_not_measured(experiment, encoder_folder):
    trained(experiment, encoder_folder)
    card, _ = written(experiment)
    assert card.data.eval_results is None and "has not been evaluated" in card.text
    assert "model-index" not in str(card)


def test_results_of_another_encoder_are_not_taken(experiment, encoder_folder):
    trained(experiment, encoder_folder)
    evaluated(experiment)
    changed = experiment.override({"train.learning_rate": 1e-4})
    trained(changed, encoder_folder)
    card, _ = written(changed)
    assert card.data.eval_results is None and "has not been evaluated" in card.text


def test_an_encoder_of_other_settings_gets_no_card(experiment, encoder_folder):
    trained(experiment, encoder_folder)
    assert model_card.write(experiment.override({"train.learning_rate": 1e-4})) == []
    assert not (experiment.folder / "train" / "encoder" / "README.md").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_names(experiment, encoder_folder, tmp_path, name):
    sets = [{"name": name, "kind": "retrieval", "path": "embedded:osm_places_pl"}]
    base = tmp_path / "models" / name.replace("/", "|")
    shutil.copytree(encoder_folder, base)
    corpus = tmp_path / f"{base.name}.jsonl"
    corpus.write_text('{"_id": "1", "text": "A text. Another one."}\n')
    changes = {
        "train.dev": name,
        "evaluate.sets": sets,
        "train.base_model": str(base),
        "cloze": {"corpus": str(corpus)},
    }
    changed = experiment.override(changes)
    trained(changed, encoder_folder)
    evaluated(changed, [{**COMPARISON, "set": name}])
    card, path = written(changed)
    assert {row.dataset_name for row in card.data.eval_results} == {name}
    assert {row.dataset_type for row in card.data.eval_results} == {name}
    assert set(yaml.safe_load(path.read_text().split("\n---\n")[0])) == {
        *("datasets", "language", "library_name", "license", "model-index", "pipeline_tag", "tags")
    }
    tokens = MarkdownIt("commonmark").enable("table").parse(card.text)
    cells = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "td_open"]
    shown = ["".join(part.content for part in cell.children if part.type == "text") for cell in cells]
    assert shown.count(name) >= 4 and base.name in shown and corpus.name in shown
    inside = {part.type for cell in cells for part in cell.children}
    assert inside <= {"text"} and "html_block" not in {token.type for token in tokens[:-1]}


def test_control_characters_do_nothing(experiment, encoder_folder):
    """They cannot be in a name of a set; of other results nobody knows."""
    trained(experiment, encoder_folder)
    evaluated(experiment)
    folder = evaluate.STAGE.path(experiment)
    text = (folder / "metrics.json").read_text()
    (folder / "metrics.json").write_text(text.replace('"bm25"', '"b\\u001b\\n---\\n\\ud83dx"'))
    _, path = written(experiment)
    assert "b\\\\x1b\\\\n---\\\\n\\\\ud83dx" in path.read_text() and "\x1b" not in path.read_text()


def test_licences_are_said_plainly(experiment, encoder_folder, tmp_path):
    path = tmp_path / "very private" / "customers.jsonl"
    path.parent.mkdir()
    path.write_text('{"_id": "1", "text": "A text. Another one."}\n')
    changed = experiment.override(
        {
            "nli": {"dataset": "facebook/xnli"},
            "translate.model": "facebook/nllb-200-distilled-600M",
            "train.base_model": "someone/encoder",
            "cloze": {"corpus": str(path)},
        }
    )
    trained(changed, encoder_folder)
    card, _ = written(changed)
    assert card.data.base_model == "someone/encoder" and card.data.datasets == ["facebook/xnli"]
    assert card.data.license == "unknown"
    assert "Licence not stated: someone/encoder; customers.jsonl." in card.text
    assert "No commercial use is allowed of facebook/xnli; facebook/nllb-200-distilled-600M." in card.text
    assert "| customers.jsonl | licence not stated |" in card.text and "private" not in str(card)


def test_what_was_not_used_is_not_named(experiment, encoder_folder):
    changed = experiment.override(
        {"cloze": {"corpus": "embedded:osm_places_pl", "triplets": False}, "train.base_model": "xlm-roberta-base"}
    )
    trained(changed, encoder_folder)
    card, _ = written(changed)
    assert card.data.datasets is None and "NLI pairs" not in card.text and "| MIT |" in card.text
    assert card.data.license == "mit" and "Share-alike" not in card.text


def test_the_licence_of_a_local_model_is_that_of_its_own_card(experiment, encoder_folder, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(encoder_folder, base)
    (base / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n# base\n")
    changed = experiment.override({"train.base_model": str(base)})
    trained(changed, encoder_folder)
    card, _ = written(changed)
    assert card.data.license == "cc-by-nc-sa-4.0" and card.data.base_model is None
    assert "No commercial use is allowed of base." in card.text
    for broken in ("---\nlicense: [\n---\n", "---\n- 1\n---\n", "# none\n", "---\nlicense: [a, b]\n---\n"):
        (base / "README.md").write_text(broken)
        assert written(changed)[0].data.license == "unknown"


@pytest.mark.parametrize(
    ("licences", "name"),
    [
        (["MIT", "Apache-2.0"], "mit"),
        (["MIT", "CC-BY-4.0"], "cc-by-4.0"),
        (["CC-BY-4.0", "CC-BY-SA-4.0"], "cc-by-sa-4.0"),
        (["CC-BY-SA-4.0", "CC-BY-NC-4.0 (no commercial use)"], "cc-by-nc-4.0"),
        (["CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"], "cc-by-nc-sa-4.0"),
        (["CC-BY-SA (of Wikipedia)"], "other"),
        (["CC-BY-NC-4.0", "unknown"], "unknown"),
    ],
)
def test_the_strictest_licence(licences, name):
    assert strictest(licences) == strictest(licences[::-1]) == name or name == "mit"


def test_an_edited_card_stays(experiment, encoder_folder):
    trained(experiment, encoder_folder)
    _, path = written(experiment)
    evaluated(experiment)
    assert written(experiment)[0].data.eval_results
    edited = path.read_text().replace("# tiny", "# Our own words")
    path.write_text(edited)
    written(experiment)
    assert path.read_text() == edited


def test_the_encoder_of_a_sweep(experiment, encoder_folder):
    sweep = {"space": {"train.temperature": {"choice": [0.05, 0.07]}}, "scheduler": "none"}
    swept = experiment.override({"tune": sweep})
    trained(swept, encoder_folder, tune.STAGE, steps=None, best={"mean": 0.5})
    evaluated(swept)
    card, path = written(swept)
    assert path == swept.folder / "tune" / "encoder" / "README.md"
    assert "| trials | 1234 |" in card.text and "| temperature | 0.07 |" in card.text and card.data.eval_results


@pytest.fixture
def copied(tiny_run, tmp_path):
    """The tiny run in a folder of this test."""
    shutil.copytree(tiny_run.root, tmp_path / "copied")
    return tiny_run.override({"output_dir": str(tmp_path / "copied")})


def test_nothing_depends_on_a_card(copied, tmp_path):
    encoder = copied.folder / "train" / "encoder"
    before, manifest = sources.fingerprint(encoder), (copied.folder / "train" / "manifest.json").read_bytes()
    vectors = Encoder.load(encoder).encode(["pies"])
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(copied.model_dump(mode="json")))
    for _ in range(2):
        result = CliRunner().invoke(app, ["run", str(tmp_path / "tiny.yaml")])
        assert result.exit_code == 0 and "nothing to do" in result.output, result.output
    card = ModelCard.load(encoder / "README.md")
    metrics = json.loads((copied.folder / "evaluate" / "metrics.json").read_text())["encoders"]["tuned"]
    figures = {(row.dataset_name, row.metric_name): row.metric_value for row in card.data.eval_results}
    assert figures["tiny", "ndcg@10"] == round(metrics["retrieval"]["tiny"]["ndcg@10"], 4)
    assert sources.fingerprint(encoder) == before
    assert (copied.folder / "train" / "manifest.json").read_bytes() == manifest
    assert all(result.seconds == 0 for result in pipeline.run(copied))
    assert (Encoder.load(encoder).encode(["pies"]) == vectors).all()


def test_a_bundle_with_a_card_is_the_same_version(copied):
    before, _ = index.newest(copied)
    model_card.write(copied)
    shutil.rmtree(index.STAGE.path(copied))
    pipeline.run(copied, ["index"])
    folder, _ = index.newest(copied)
    assert folder == before and (folder / "encoder" / "README.md").is_file()
    (copied.folder / "train" / "encoder" / "README.md").unlink()
    model_card.write(copied)
    verify(folder, read_info(folder))
    assert Bundle.load(folder).search(["pies"], 1)[0]


def test_an_encoder_with_a_card_is_evaluated(copied):
    encoder = copied.folder / "train" / "encoder"
    before = sources.model_fingerprint(str(encoder), "encoder")
    model_card.write(copied)
    assert sources.model_fingerprint(str(encoder), "encoder") == before
    results = evaluate.measure_all(copied, evaluate.contenders([str(encoder)]))
    measured = evaluate.collect(results)["encoders"]["encoder"]
    known = evaluate.read_metrics(evaluate.STAGE.path(copied))["encoders"]["tuned"]
    assert measured["sts"] == known["sts"]
