"""Whatever a sentence-transformers folder says, vectors are those of that library, or the setting is refused."""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from nlift.errors import ModelError
from nlift.models.encoder import Encoder

TYPES = {
    "5.1": "sentence_transformers.models.{0}",
    "5.4": "sentence_transformers.{1}.{2}.{0}",
}
HOMES = {"Transformer": "base.modules", "Dense": "base.modules", "Normalize": "base.modules"}
PROMPTS = ["", "the map ", "query: ", "A RED ball: ", " ", "unheard-of ☃ ", "the small dog wants to find "]
MODE_KEYS = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}
MODE_KEYS |= {"weightedmean": "weightedmean_tokens", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens"}
WORDS = [
    "a woman",
    "the map",
    "A RED BALL",
    "near the river",
    "Żółw",
    "ſtraße",
    "İI",
    "☃",
    "[SEP]",
    "<s>",
    "12.5",
    "名前",
]

texts = st.lists(
    st.one_of(
        st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        st.just("the small dog wants to find the map " * 20),
    ),
    min_size=1,
    max_size=5,
)


@dataclass(frozen=True)
class Folder:
    """What a generated folder says."""

    kind: str
    version: str
    modes: tuple[str, ...]
    include_prompt: bool
    prompts: dict[str, str]
    default_prompt_name: str | None
    max_seq_length: int | None
    do_lower_case: bool
    normalize: bool
    dense: bool
    backbone: str
    truncation_side: str
    settings_file: str

    @property
    def supported(self) -> bool:
        return self.modes in (("mean",), ("cls",))


folders = st.builds(
    Folder,
    kind=st.sampled_from(["bert", "xlm_roberta"]),
    version=st.sampled_from(["5.1", "5.4"]),
    modes=st.one_of(
        st.sampled_from([("mean",), ("cls",)]),
        st.sampled_from([("mean",), ("cls",)]),
        st.sampled_from([("mean",), ("cls",)]),
        st.lists(st.sampled_from(list(MODE_KEYS)), min_size=1, max_size=2, unique=True).map(tuple),
    ),
    include_prompt=st.booleans(),
    prompts=st.dictionaries(
        st.sampled_from(["query", "document", "passage", "corpus", "task"]), st.sampled_from(PROMPTS)
    ),
    default_prompt_name=st.sampled_from([None, None, "query", "document", "task", "passage"]),
    max_seq_length=st.sampled_from([None, 4, 9, 40, 64, 1000]),
    do_lower_case=st.booleans(),
    normalize=st.booleans(),
    dense=st.booleans(),
    backbone=st.sampled_from(["", "0_Transformer", "0_BERT"]),
    truncation_side=st.sampled_from(["right", "left"]),
    settings_file=st.sampled_from(["bert", "roberta", "xlm-roberta", "distilbert"]),
)


@pytest.fixture(scope="module")
def bases(bert, xlm_roberta, tmp_path_factory):
    """Folders of backbones whose tokenizers know how long a text may be, and whose poolers are in the checkpoint."""
    made = {}
    for name, base in (("bert", bert), ("xlm_roberta", xlm_roberta)):
        made[name] = shutil.copytree(base, tmp_path_factory.mktemp("bases") / name)
        change(made[name] / "tokenizer_config.json", model_max_length=64)
    return made


def change(path, **settings):
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def build(said: Folder, base, folder, version=None):
    """The folder as a version of sentence-transformers writes it."""
    version = version or said.version
    shutil.copytree(base, folder / said.backbone, dirs_exist_ok=True)
    change(folder / said.backbone / "tokenizer_config.json", truncation_side=said.truncation_side)
    names = ["Transformer", "Pooling", *["Dense"] * said.dense, *["Normalize"] * said.normalize]
    paths = [said.backbone, *(f"{i}_{name}" for i, name in enumerate(names) if i)]
    types = [
        TYPES[version].format(name, HOMES.get(name, "sentence_transformer.modules"), name.lower()) for name in names
    ]
    listing = [{"idx": i, "name": str(i), "path": path, "type": types[i]} for i, path in enumerate(paths)]
    write(folder / "modules.json", listing)
    prompts = {"prompts": said.prompts, "default_prompt_name": said.default_prompt_name}
    write(folder / "config_sentence_transformers.json", prompts)
    transformer = {"max_seq_length": said.max_seq_length, "do_lower_case": said.do_lower_case}
    write(folder / said.backbone / f"sentence_{said.settings_file}_config.json", transformer)
    pooling = {f"pooling_mode_{key}": mode in said.modes for mode, key in MODE_KEYS.items()}
    pooling = {"word_embedding_dimension": 32, **pooling}
    if version == "5.4":
        mode = said.modes[0] if len(said.modes) == 1 else list(said.modes)
        pooling = {"embedding_dimension": 32, "pooling_mode": mode}
    write(folder / "1_Pooling" / "config.json", {**pooling, "include_prompt": said.include_prompt})
    if said.dense:
        weights = load_file(base / "model.safetensors")
        activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
        write(folder / "2_Dense" / "config.json", {"in_features": 32, "out_features": 32, "bias": True, **activation})
        head = {f"linear.{name}": weights[f"pooler.dense.{name}"].clone() for name in ("weight", "bias")}
        save_file(head, folder / "2_Dense" / "model.safetensors")
    return folder


def theirs(said: Folder, folder):
    """sentence-transformers on the folder; it lets a text be longer than the model has positions for, and crashes."""
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = min(model.max_seq_length, 64)
    return model


def expected(model, said: Folder, role, batch):
    """encode_query, encode_document, encode; a document has the first prompt that the folder has of three names."""
    name = next((name for name in ("document", "passage", "corpus") if name in said.prompts), "document")
    with torch.inference_mode():
        if role == "query":
            vectors = model.encode_query(batch)
        elif role == "passage":
            vectors = model.encode(batch, prompt_name=name)
        else:
            vectors = model.encode(batch)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def refusal(said: Folder, folder):
    with pytest.raises(ModelError) as caught:
        Encoder.load(folder)
    line = str(caught.value)
    assert "\n" not in line and str(folder) in line
    return line


@settings(
    max_examples=40,
    database=None,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
@given(said=folders, batch=texts)
def test_vectors_are_theirs_or_the_setting_is_refused(bases, tmp_path_factory, said, batch):
    folder = build(said, bases[said.kind], tmp_path_factory.mktemp("folder"))
    if not said.supported:
        line = refusal(said, folder)
        assert all(mode in line for mode in said.modes)
        return
    if said.default_prompt_name not in (None, "query", "document", *said.prompts):
        assert f"default_prompt_name {said.default_prompt_name!r}" in refusal(said, folder)
        return
    known = folder if said.version == "5.1" else build(said, bases[said.kind], tmp_path_factory.mktemp("old"), "5.1")
    model, encoder = theirs(said, known), Encoder.load(folder)
    saved = tmp_path_factory.mktemp("saved")
    encoder.save(saved)
    again, their_again = Encoder.load(saved), theirs(said, saved)
    for role in ("query", "passage", None):
        vectors = encoder.encode(batch, role=role)
        assert np.abs(vectors - expected(model, said, role, batch)).max() < 1e-5
        assert np.array_equal(again.encode(batch, role=role), vectors)
    for role, encode in (("query", their_again.encode_query), ("passage", their_again.encode_document)):
        assert np.abs(encode(batch) - encoder.encode(batch, role=role)).max() < 1e-5
    assert np.abs(their_again.encode(batch) - encoder.encode(batch)).max() < 1e-5
