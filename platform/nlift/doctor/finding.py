"""A finding: what was looked at, how it is, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

OK, NOTE, WRONG = "ok", "note", "wrong"
State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """`ok`; `note`, what works but less well, or what is worth knowing; `wrong`, what a run would stumble over."""

    state: State
    subject: str
    text: str
    fix: str = ""
    """What to do; "" where there is nothing to do."""

    def __str__(self) -> str:
        """The line that a person reads."""
        return f"{self.state:<5}  {self.subject}: {self.text}{f'; {self.fix}' if self.fix else ''}"
