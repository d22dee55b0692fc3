"""What is known of one model at one moment: windows of its counts, of each version and over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelwatch.explain import History
from modelwatch.reference import Reference
from modelwatch.schema import ModelSchema
from modelwatch.signals.core import Counts, Facts, Measure, Measured, Objectives, Signal
from modelwatch.tally import Tally

#: From (version, seconds before now at which the window began, seconds before now at which it ended) to its counts.
#: They must not be changed. None: nothing is known of so early a time.
Window = Callable[[str, float, float], "Tally | None"]


class Look:
    """One look at a model. Every window is summed, and every signal measured, at most once.

    Parameters
    ----------
    model : its name.
    now : Unix time.
    window : where counts come from.
    schemas : of every version that counted something, the newest last.
    references : profile of the training data, by version.
    began : Unix time of the first count; windows that reach further back are shorter.
    histories : of a version what drift compares, by the signal of its score and its name; read where something drifts.
    """

    def __init__(
        self,
        model: str,
        now: float,
        window: Window,
        schemas: Mapping[str, ModelSchema],
        objectives: Objectives,
        *,
        references: Mapping[str, Reference] | None = None,
        facts: Facts | None = None,
        began: float = 0.0,
        histories: Callable[[str], Mapping[tuple[str, str], History]] = lambda _version: {},
    ) -> None:
        self.model, self.now, self.objectives = model, now, objectives
        self.facts = facts or Facts()
        self.schemas = dict(schemas)
        self._window, self._references, self._began = window, references or {}, began
        self._histories, self._read = histories, dict[str, Mapping[tuple[str, str], History]]()
        self._counts: dict[tuple[str, float, float], Counts | None] = {}
        self._measured: dict[tuple[str, float, float], Measured] = {}

    @property
    def version(self) -> str:
        """The newest version; empty where nothing was counted."""
        return next(reversed(self.schemas), "")

    def counts(self, window_s: float, offset_s: float = 0.0, version: str = "") -> Counts | None:
        """Return the counts of a window that ended `offset_s` ago; of all versions without one.

        None where nothing is known of that time.
        """
        key = (version, window_s, offset_s)
        if key not in self._counts:
            self._counts[key] = self._make(window_s, offset_s, version)
        return self._counts[key]

    def _make(self, window_s: float, offset_s: float, version: str) -> Counts | None:
        schema = self.schemas.get(version or self.version, ModelSchema())
        tally = self._one(version, window_s, offset_s) if version else self._all(schema, window_s, offset_s)
        if tally is None:
            return None
        end = self.now - offset_s
        covered = max(end - max(end - window_s, self._began), 1.0)
        return Counts(
            tally, schema, covered, self.objectives, version, self._references.get(version or self.version), self.facts,
            lambda earlier_s: self.counts(window_s, offset_s + earlier_s, version),
            lambda length_s: self.counts(length_s, offset_s + window_s, version),
        )  # fmt: skip

    def _one(self, version: str, window_s: float, offset_s: float) -> Tally | None:
        return self._window(version, offset_s + window_s, offset_s)

    def _all(self, schema: ModelSchema, window_s: float, offset_s: float) -> Tally | None:
        parts = [tally for version in self.schemas if (tally := self._one(version, window_s, offset_s)) is not None]
        if len(parts) <= 1:
            return parts[0] if parts else None
        total = Tally()
        for tally in parts:
            total.add_matching(tally.matching(schema.fingerprints))
        return total

    def history(self, signal: Signal, name: str, version: str = "") -> History | None:
        """Return the counts over time of what a signal of drift compares; None where they are not kept."""
        version = version or self.version
        if version not in self._read:
            self._read[version] = self._histories(version)
        return self._read[version].get((signal.name, name))

    def measure(self, signal: Signal, window_s: float, offset_s: float = 0.0) -> Measured:
        """Return the values of a signal by its labels; nothing where the counts have nothing of it."""
        key = (signal.name, window_s, offset_s)
        if key not in self._measured:
            self._measured[key] = self._measure(signal, window_s, offset_s)
        return self._measured[key]

    def _measure(self, signal: Signal, window_s: float, offset_s: float) -> Measured:
        if not signal.by_version:
            counts = self.counts(window_s, offset_s)
            return {(): Measure(None, 0)} if counts is None else signal.measure(counts)
        found: dict[tuple[str, ...], Measure | tuple[float | None, int]] = {}
        for version in self.schemas:
            counts = self.counts(window_s, offset_s, version)
            if counts is not None:
                found |= signal.measure(counts)
        return found
