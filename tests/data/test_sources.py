"""Where models and data are, and their fingerprints."""

import json
from pathlib import Path

import pytest

from nlift.data import sources
from nlift.errors import DataError, ModelError


def test_embedded_means_what_ships():
    for kind in ("translator", "comet", "encoder"):
        assert sources.model_source("embedded", kind) == str(sources.EMBEDDED / kind)
    assert sources.data_path("embedded") == sources.data_path("embedded:snli") == sources.EMBEDDED / "data" / "snli.tsv"
    assert sources.data_path("embedded:poquad_pl").is_dir()


def test_unknown_embedded_data_names_what_is_known():
    with pytest.raises(DataError, match=r"embedded:snil: no embedded data .* known are .*snli"):
        sources.data_path("embedded:snil")


def test_a_folder_is_taken_as_it_is_and_a_hub_name_too(tmp_path):
    assert sources.model_source(str(tmp_path), "encoder") == str(tmp_path)
    assert sources.model_source("org/name", "encoder") == "org/name"
    assert sources.model_source("name", "encoder") == "name"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere", "runs/nothing/train/encoder"])
def test_a_path_where_no_model_is(name):
    with pytest.raises(ModelError, match="no such folder; expected"):
        sources.model_source(name, "encoder")


def test_a_data_path_where_nothing_is(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        sources.data_path(str(tmp_path / "nowhere.tsv"))


def test_a_hub_model_is_identified_by_name_and_revision():
    assert sources.model_fingerprint("org/name", "encoder") == "org/name@main"
    assert sources.model_fingerprint("org/name", "encoder", "abc") == "org/name@abc"


def test_a_local_model_is_identified_by_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert sources.model_fingerprint(str(tmp_path), "encoder", "ignored") == sources.fingerprint(tmp_path)


def make(folder, **files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return sources.fingerprint(folder)


def test_a_folder_is_fingerprinted_by_names_and_contents(tmp_path):
    first = make(tmp_path / "1", **{"a": "x", "b/c": "y"})
    assert first == make(tmp_path / "2", **{"b/c": "y", "a": "x"})
    assert len(first) == 16 and int(first, 16) >= 0
    others = [
        make(tmp_path / "3", **{"a": "x", "b/c": "z"}),
        make(tmp_path / "4", **{"a": "x", "b/d": "y"}),
        make(tmp_path / "5", **{"a": "y", "b/c": "x"}),
        make(tmp_path / "6", **{"a": "x"}),
    ]
    assert len({first, *others}) == 5


def test_compiled_python_does_not_count(tmp_path):
    first = make(tmp_path, a="x")
    assert first == make(tmp_path, **{"__pycache__/a.pyc": "z"})


def test_a_changed_file_has_another_fingerprint(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    first = sources.fingerprint(path)
    path.write_text("four")
    assert sources.fingerprint(path) != first


UNREAD = [
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    ".cache/huggingface/download/config.json.metadata",
    ".git/HEAD",
    ".gitattributes",
    ".config.json.swp",
    ".#config.json",
    "#config.json#",
    "config.json~",
    "config.json.swp",
    "config.json.bak",
    "README.md",
    "README",
    "readme.txt",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "model_card.md",
    "model.safetensors.lock",
    "images/loss.png",
    "onnx/model.onnx",
    "tf_model.h5",
    "flax_model.msgpack",
    "1_Pooling/.DS_Store",
    "1_Pooling/README.md",
    "__pycache__/a.pyc",
]
READ = [
    "vocab.txt",
    "merges.txt",
    "tokenizer.json",
    "chat_template.jinja",
    "0_Transformer/config.json",
    "pytorch_model.bin",
    "readme_queries.jsonl",
    "license.tsv",
    "sentencepiece.bpe.model",
    "hparams.yaml",
    "checkpoints/model.ckpt",
    "corpus.jsonl",
    "qrels/test.tsv",
    "model.py",
]


@pytest.mark.parametrize("name", UNREAD)
def test_a_file_that_no_result_depends_on_does_not_count(tmp_path, name):
    model = {"config.json": "{}", "model.safetensors": "x", "1_Pooling/config.json": "{}"}
    first = make(tmp_path, **model)
    assert make(tmp_path, **{name: "1"}) == first
    assert sources.model_fingerprint(str(tmp_path), "encoder") == first


@pytest.mark.parametrize("name", READ)
def test_a_file_that_a_result_may_depend_on_counts(tmp_path, name):
    first = make(tmp_path, **{"config.json": "{}"})
    second = make(tmp_path, **{name: "1"})
    assert len({first, second, make(tmp_path, **{name: "2"})}) == 3


@pytest.mark.parametrize("name", ["README.md", ".hidden", "LICENSE", "a~"])
def test_a_single_file_counts_whatever_its_name(tmp_path, name):
    (tmp_path / name).write_text("one")
    first = sources.fingerprint(tmp_path / name)
    (tmp_path / name).write_text("four")
    assert sources.fingerprint(tmp_path / name) != first


def test_a_folder_is_the_same_by_every_path_to_it(tmp_path, monkeypatch):
    folder = tmp_path / ".hidden" / "model"  # as in ~/.cache
    first = make(folder, **{"config.json": "{}", "1_Pooling/config.json": "{}"})
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    for path in (f"{folder}/", str(tmp_path / "link"), f"{tmp_path / 'link'}/", ".", f"{folder}/../model"):
        assert sources.model_fingerprint(path, "encoder") == first
    (folder / "config.json").touch()
    assert sources.fingerprint(folder) == first


def test_the_files_of_a_linked_folder_count(tmp_path):
    make(tmp_path / "base", **{"config.json": "{}"})
    model = tmp_path / "model"
    model.mkdir()
    (model / "0_Transformer").symlink_to(tmp_path / "base")
    (model / "itself").symlink_to(model)
    first = sources.fingerprint(model)
    make(tmp_path / "base", **{"config.json": '{"a": 1}'})
    assert sources.fingerprint(model) != first


def test_the_embedded_models_are_those_of_the_results():
    told = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    for kind in ("translator", "comet", "encoder"):
        assert f"`{sources.model_fingerprint('embedded', kind)}`" in told


def test_weights_beside_a_models_own_are_not_the_models(tmp_path):
    make(tmp_path, **{"config.json": "{}", "2_Dense/model.safetensors": "x"})
    with pytest.raises(ModelError, match="no weights there"):
        sources.check_model(str(tmp_path), "encoder")


@pytest.mark.parametrize(
    "name",
    [
        "openvino/openvino_model.bin",
        "openvino_model.xml",
        "onnx/config.json",
        "coreml/model.mlmodel",
        "model.gguf",
        "training_args.bin",
        "optimizer.pt",
        "rng_state_0.pth",
        "trainer_state.json",
        "eval_results.json",
        "runs/Nov25/events.out.tfevents.1",
        "checkpoint-100/config.json",
        "model.safetensors.incomplete",
        "model.safetensors.aria2",
        "benchmark_results.txt",
        "modelcard.json",
        "train.ipynb",
    ],
)
def test_what_trainers_and_downloads_leave_behind_changes_no_fingerprint(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    before = sources.fingerprint(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("left behind")
    assert sources.fingerprint(tmp_path) == before
    (tmp_path / "vocab.txt").write_text("a")
    assert sources.fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": ["x"], "auto_map": {"AutoModel": "m.M"}}, "is the model's own code"),
        ({"model_type": "bert", "_attn_implementation": "kernels-community/flash-attn"}, "code which is not run"),
    ],
)
def test_configs_that_would_run_code(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        sources.refuse_own_code(tmp_path)
