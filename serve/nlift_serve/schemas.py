"""What is asked and what is answered over HTTP."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from nlift.search.bundle import fault
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


class SearchRequest(BaseModel):
    """One query or several."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: Query | None = None
    queries: Annotated[list[Query], Field(min_length=1, max_length=1000)] | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    mode: WantedMode = "auto"

    @model_validator(mode="before")
    @classmethod
    def _unicode_names(cls, content: Any) -> Any:
        for name in content if isinstance(content, dict) else ():
            _unicode(name)
        return content

    @model_validator(mode="after")
    def _one_form(self) -> "SearchRequest":
        if (self.query is None) == (self.queries is None):
            raise ValueError("give exactly one of query and queries")
        return self


class SearchHit(BaseModel):
    """A document that was found; higher scores are better, null is a score that is no number."""

    doc_id: str
    score: float | None
    title: str
    text: str
    metadata: dict[str, Any]


class SearchResponse(BaseModel):
    """The results of each query, in the order asked."""

    version: str
    mode: Mode
    took_ms: float
    results: list[list[SearchHit]]


class Health(BaseModel):
    """What is being served."""

    status: str
    version: str
    documents: int
