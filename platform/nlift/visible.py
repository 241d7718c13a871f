"""Text as a person can see it."""

import re

SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSEEN_IN_A_PAGE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def visible(text: str) -> str:
    """A text with its control characters, which a terminal would obey, and what is no Unicode as escapes."""
    return _UNSEEN.sub(_escape, text)


def visible_page(page: str) -> str:
    """The same of a page, whose lines and tabs stay."""
    return _UNSEEN_IN_A_PAGE.sub(_escape, page)


def size_text(size: float) -> str:
    """Bytes as a person reads them, as 1.4 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _escape(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]
