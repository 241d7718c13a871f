"""Other people's clients: openai's, mteb's, and one that tries whatever the OpenAPI description allows."""

import numpy as np
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from over_http import served
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from nlift_serve.app import api
from nlift_serve.config import Limits

LONG = "The woman sees the map near the cold river. " * 400  # 17,600 characters


@pytest.fixture(scope="module")
def address(bundle):
    with served(bundle, Limits()) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        yield client


def test_openai_gets_our_vectors(client, bundle):
    texts = ["a map", "Wisła 🐟", LONG]
    answer = client.embeddings.create(model="nlift", input=texts)  # it asks for base64, and decodes it
    vectors = np.array([row.embedding for row in answer.data])
    np.testing.assert_allclose(
        vectors, bundle.encoder.encode(texts, max_length=bundle.info.get("max_length")), atol=1e-6
    )
    assert answer.usage.total_tokens > 3 and [row.index for row in answer.data] == [0, 1, 2]
    numbers = client.embeddings.create(model="nlift", input="a map", encoding_format="float")
    np.testing.assert_allclose(numbers.data[0].embedding, vectors[0], atol=1e-6)
    query = client.embeddings.create(model="nlift", input="a map", extra_body={"input_type": "query"})
    np.testing.assert_allclose(query.data[0].embedding, bundle.encoder.encode(["a map"], role="query")[0], atol=1e-6)


def test_openai_lists_the_models(client):
    assert [model.id for model in client.models.list()] == ["nlift", "v1"]


def test_openai_says_what_is_wrong(client):
    with pytest.raises(openai.UnprocessableEntityError, match="input: List should have at least 1 item"):
        client.embeddings.create(model="nlift", input=[])
    with pytest.raises(openai.NotFoundError, match="expected nlift or v1"):
        client.embeddings.create(model="gpt", input="a map")


@pytest.mark.filterwarnings("ignore")  # of what mteb itself calls
def test_mteb_scores_the_endpoint_as_it_scores_the_encoder(address, bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import mteb
    from datasets import Dataset
    from mteb.models import OpenAIAPIEncodeWrapper
    from sentence_transformers import SentenceTransformer

    documents = [document for document in bundle.documents if document.text]
    pairs = [(documents[i].text, documents[(i * 7 + 3) % len(documents)].text) for i in range(40)]
    scores = [float(i % 6) for i in range(40)]

    class Pairs(mteb.abstasks.AbsTaskSTS):
        metadata = mteb.TaskMetadata(
            name="Pairs",
            description="Pairs of sentences.",
            dataset={"path": "none", "revision": "1"},
            type="STS",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )
        min_score, max_score = 0, 5

        def load_data(self, **_):
            first, second = zip(*pairs, strict=True)
            self.dataset = {"test": Dataset.from_dict({"sentence1": first, "sentence2": second, "score": scores})}
            self.data_loaded = True

    over_http = OpenAIAPIEncodeWrapper(
        endpoint_url=address, model_name="nlift", use_chat_template=False, max_length=64, modalities=["text"]
    )
    here = SentenceTransformer(str(bundle.folder / "encoder"), device="cpu")
    here.default_prompt_name = None  # mteb's wrapper puts no prompt before a text either
    results = [
        mteb.evaluate(model, Pairs(), cache=None, show_progress_bar=False).task_results[0].scores["test"][0]
        for model in (over_http, mteb.SentenceTransformerEncoderWrapper(here))
    ]
    for name in ("cosine_spearman", "cosine_pearson"):
        assert results[0][name] == pytest.approx(results[1][name], abs=1e-4)
    assert abs(results[0]["cosine_spearman"]) > 0.001


schema = schemathesis.openapi.from_dict(api.openapi())


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_the_description_allows_is_answered_as_it_says(case, address):
    response = case.call(base_url=address, headers={"host": "127.0.0.1"})
    excluded = [positive_data_acceptance]  # a description cannot say which filters the documents have
    if response.status_code == 413:  # which the check does not count among refusals
        excluded.append(negative_data_rejection)
    case.validate_response(response, excluded_checks=excluded)
