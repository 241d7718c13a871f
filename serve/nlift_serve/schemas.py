"""What is asked and what is answered over HTTP."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from nlift.search.hits import fault
from nlift.search.searchers import Mode, WantedMode


def _unicode(query: Any) -> Any:
    """Refuse what is no Unicode text, in the words of `Bundle.search`."""
    why = fault(query) if isinstance(query, str) else None
    if why is not None:
        raise PydanticCustomError("string_unicode", "{why}", {"why": why})
    return query


def _not_blank(query: str) -> str:
    if not query.strip():
        raise PydanticCustomError("blank", "a query is empty")
    return query


Query = Annotated[str, Field(min_length=1, max_length=10_000), BeforeValidator(_unicode), AfterValidator(_not_blank)]


Scalar = Annotated[str, BeforeValidator(_unicode)] | bool | int | float
Text = Annotated[str, Field(min_length=1, max_length=1_000_000), BeforeValidator(_unicode), AfterValidator(_not_blank)]
"""A text to embed, which may be a whole document: the limit of a body is the shorter one."""


class Range(BaseModel):
    """Ends of a range, both included."""

    model_config = ConfigDict(extra="forbid", strict=True)

    gte: str | int | float | None = None
    lte: str | int | float | None = None


Wanted = Scalar | Annotated[list[Scalar], Field(min_length=1, max_length=1000)] | Range
"""A value that a document must have, several of which it must have one, or a range."""


class SearchRequest(BaseModel):
    """One query or several."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: Query | None = None
    queries: Annotated[list[Query], Field(min_length=1, max_length=1000)] | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    mode: WantedMode = "auto"
    filter: dict[str, Wanted] = {}
    explain: bool = False

    @model_validator(mode="before")
    @classmethod
    def _unicode_names(cls, content: Any) -> Any:
        for name in content if isinstance(content, dict) else ():
            _unicode(name)
        return content

    @model_validator(mode="after")
    def _query_or_queries(self) -> "SearchRequest":
        if (self.query is None) == (self.queries is None):
            raise ValueError("give exactly one of query and queries")
        return self


class LegScore(BaseModel):
    """What one leg of the search says of a document."""

    score: float | None
    rank: int | None


class Explanation(BaseModel):
    """Why a document stands where it does."""

    dense: LegScore
    lexical: LegScore
    words: list[str]
    sentence: str | None


class SearchHit(BaseModel):
    """A document that was found; higher scores are better, null is a score that is no number."""

    doc_id: str
    score: float | None
    title: str
    text: str
    metadata: dict[str, Any]
    passage: str | None = None
    """The part of a long text that answers best."""
    explain: Explanation | None = None


class SearchResponse(BaseModel):
    """The results of each query, in the order asked."""

    version: str
    mode: Mode
    took_ms: float
    results: list[list[SearchHit]]


class Refusal(BaseModel):
    """A version that did not take over, and why; the version is empty where the alias means none."""

    version: str
    why: str


class Health(BaseModel):
    """What is being served."""

    status: str
    version: str
    documents: int
    refused: Refusal | None = None
    """A version that the alias means and that did not take over."""


class Failure(BaseModel):
    """Why a request was not answered."""

    detail: str


class EmbeddingsRequest(BaseModel):
    """Texts to vectors, as OpenAI's API has it; `input_type` says which of an encoder's prefixes stands before them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    input_type: Literal["query", "passage"] | None = None


class Embedding(BaseModel):
    """A text's vector: numbers, or their bytes (float32, little endian) in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """The vectors of the texts, in their order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """An encoder that `/v1/embeddings` has."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["nlift"] = "nlift"


class Models(BaseModel):
    """What `/v1/embeddings` has: `nlift`, the encoder that is served, and the same by its version."""

    object: Literal["list"] = "list"
    data: list[Model]


class FieldOfMetadata(BaseModel):
    """What documents can be filtered by: of numbers the ends, of others the most common values."""

    kind: Literal["number", "boolean", "text", "texts"]
    least: int | float | None = None
    greatest: int | float | None = None
    values: list[str | bool] | None = None
