"""What one look at an installation found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warning", "failure", "unknown"]
_MARKS: dict[State, str] = {"ok": "ok     ", "warning": "warning", "failure": "FAILURE", "unknown": "unknown"}


@dataclass(frozen=True)
class Finding:
    """What one check found.

    state : `unknown` where it could not be looked at.
    says : what was seen.
    remedy : what to do; empty when nothing is to be done.
    """

    check: str
    state: State
    says: str
    remedy: str = ""

    def line(self) -> str:
        """Return it for a terminal."""
        return f"{_MARKS[self.state]}  {self.check}: {self.says}" + (f" {self.remedy}" if self.remedy else "")

    def to_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return asdict(self)


Check = Callable[[], Iterator[Finding]]
