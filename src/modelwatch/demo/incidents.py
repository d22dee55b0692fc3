"""Incidents of the demo: what breaks, how, and when. Each says so itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Incident:
    """One fault. The service, the traffic and the runner each read what concerns them.

    Parameters
    ----------
    words : what a person would say is broken.
    error_ratio : share of the requests that fail.
    delay_s : median of the time that is added to an answer; it varies by a factor of about 2.
    kinds, share : this share of the reviews are of these kinds of `reviews_other.csv`.
    silent : no requests come.
    kills_worker : a worker process is killed when it begins.
    stops_service : the service is down from a third of its length to its end.
    """

    name: str
    words: str
    error_ratio: float = 0.0
    delay_s: float = 0.0
    kinds: tuple[str, ...] = ()
    share: float = 0.0
    silent: bool = False
    kills_worker: bool = False
    stops_service: bool = False


NOTHING = Incident("none", "Nothing is broken.")
FAULTS = (
    Incident("errors", "One request in eight fails, as when a dependency is half down.", error_ratio=0.125),
    Incident("latency", "Answers take about 0.3 s longer, as on a machine that is short of CPU.", delay_s=0.3),
    Incident(
        "drift",
        "Half of the reviews are German, Spanish or very long: not what the model was made for.",
        kinds=("language", "long"),
        share=0.5,
    ),
    Incident(
        "accuracy",
        "Half of the reviews are sarcastic: the model takes them at their word.",
        kinds=("sarcasm",),
        share=0.5,
    ),
    Incident("outage", "A worker is killed; then the service is down.", kills_worker=True, stops_service=True),
    Incident("slow-burn", "Three requests in a hundred fail: few, but too many for the month.", error_ratio=0.03),
    Incident("traffic-stop", "No requests come, as when a caller is broken.", silent=True),
)

#: An alert that fires when its service goes down: it must not end meanwhile.
FAILING_OUTAGE = Incident(
    "failing-outage", "One request in eight fails; then the service is down.", error_ratio=0.125, stops_service=True
)


@dataclass(frozen=True)
class Script:
    """Incidents one after another; the whole comes again.

    first_s, lasts_s, every_s : when the first begins, how long each is, and from one beginning to the next, in seconds.
    """

    name: str
    incidents: tuple[Incident, ...]
    first_s: float = 20.0
    lasts_s: float = 120.0
    every_s: float = 420.0

    def position(self, elapsed_s: float) -> tuple[Incident, float]:
        """Return (the incident under way, or `NOTHING`, and the seconds since it began)."""
        since = elapsed_s - self.first_s
        if not self.incidents or since < 0:
            return NOTHING, 0.0
        number, inside = divmod(since, self.every_s)
        if inside >= self.lasts_s:
            return NOTHING, 0.0
        return self.incidents[int(math.fmod(number, len(self.incidents)))], inside

    def at(self, elapsed_s: float) -> Incident:
        """Return the incident under way, seconds after the start of the demo."""
        return self.position(elapsed_s)[0]

    def spans(self, elapsed_s: float) -> Iterator[tuple[Incident, float, float]]:
        """Yield (incident, its beginning, its end), in seconds from the start of the demo, of those that have begun.

        Examples
        --------
        >>> [(one.name, begun, ended) for one, begun, ended in SCRIPTS["tour"].spans(200)]
        [('errors', 20.0, 80.0), ('latency', 110.0, 170.0), ('drift', 200.0, 260.0)]
        """
        begun = self.first_s
        while self.incidents and begun <= elapsed_s:
            yield self.at(begun), begun, begun + self.lasts_s
            begun += self.every_s

    def is_down(self, elapsed_s: float) -> bool:
        """Tell whether the service is meant to be down."""
        incident, inside = self.position(elapsed_s)
        return incident.stops_service and inside >= self.lasts_s / 3

    def note(self, elapsed_s: float) -> str | None:
        """Return a sentence for people, None when nothing will ever break."""
        if not self.incidents:
            return None
        incident = self.at(elapsed_s)
        length = f"{self.lasts_s:.0f} s, every {self.every_s:.0f} s"
        if incident is not NOTHING:
            return f"Incident '{incident.name}' is on: {incident.words} It lasts {length}."
        names = ", ".join(one.name for one in self.incidents)
        return (
            f"No incident now. On the script '{self.name}': {names}; each for {length}, from {self.first_s:.0f} s on."
        )


SCRIPTS: dict[str, Script] = {
    "none": Script("none", ()),
    **{fault.name: Script(fault.name, (fault,)) for fault in FAULTS},
    FAILING_OUTAGE.name: Script(FAILING_OUTAGE.name, (FAILING_OUTAGE,), first_s=16.0, lasts_s=66.0, every_s=600.0),
    "tour": Script("tour", FAULTS, lasts_s=60.0, every_s=90.0),
}
