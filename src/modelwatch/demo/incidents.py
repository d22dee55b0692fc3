"""Incidents of the demo: what breaks, how, and when. Each says so itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["none", "errors", "latency"]


@dataclass(frozen=True)
class Incident:
    """A fault of the service that begins and ends by the clock, and comes again.

    Parameters
    ----------
    words : what a person would say is broken.
    error_ratio : share of the requests that fail while it lasts.
    delay_s : median of the time that is added to an answer; it varies by a factor of about 2.
    """

    name: Kind
    words: str
    error_ratio: float = 0.0
    delay_s: float = 0.0
    first_s: float = 20.0
    lasts_s: float = 120.0
    every_s: float = 420.0

    def is_on(self, elapsed_s: float) -> bool:
        """Tell whether the incident is under way, seconds after the start of the demo."""
        since = elapsed_s - self.first_s
        return self.name != "none" and since >= 0 and math.fmod(since, self.every_s) < self.lasts_s

    def note(self, elapsed_s: float) -> str | None:
        """Return a sentence for people, None when there is nothing to tell."""
        if self.name == "none":
            return None
        when = "is on" if self.is_on(elapsed_s) else "is off"
        return f"Incident '{self.name}' {when}: {self.words} It lasts {self.lasts_s:.0f} s, every {self.every_s:.0f} s."


INCIDENTS: dict[str, Incident] = {
    "none": Incident("none", "Nothing is broken."),
    "errors": Incident("errors", "One request in eight fails, as when a dependency is half down.", error_ratio=0.125),
    "latency": Incident(
        "latency", "Answers take about 0.3 s longer, as on a machine that is short of CPU.", delay_s=0.3
    ),
}
