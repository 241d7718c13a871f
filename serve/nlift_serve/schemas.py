"""What is asked and what is answered over HTTP."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nlift.search.searchers import Mode

Query = Annotated[str, Field(min_length=1, max_length=10_000)]


class SearchRequest(BaseModel):
    """One query or several."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: Query | None = None
    queries: Annotated[list[Query], Field(min_length=1, max_length=1000)] | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    mode: Mode = "dense"

    @model_validator(mode="after")
    def _one_form(self) -> "SearchRequest":
        if (self.query is None) == (self.queries is None):
            raise ValueError("give exactly one of query and queries")
        return self


class SearchHit(BaseModel):
    """A document that was found; higher scores are better."""

    doc_id: str
    score: float
    title: str
    text: str
    metadata: dict[str, Any]


class SearchResponse(BaseModel):
    """The results of each query, in the order asked."""

    version: str
    took_ms: float
    results: list[list[SearchHit]]


class Health(BaseModel):
    """What is being served."""

    status: str
    version: str
    documents: int
