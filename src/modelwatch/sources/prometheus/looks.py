"""Looks at a model through a Prometheus: what the host's own counts give, over all replicas that are scraped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from modelwatch import names
from modelwatch.config import Config
from modelwatch.errors import fault
from modelwatch.reference import Reference
from modelwatch.schema import ModelSchema
from modelwatch.signals import Facts, Look, Objectives
from modelwatch.signals.core import MODEL, VERSION, matcher
from modelwatch.slo.burn import DAY_S
from modelwatch.sources.prometheus.client import Client, PrometheusUnavailable, Series
from modelwatch.sources.prometheus.tallies import (
    COUNTED,
    HISTOGRAMS,
    OF_OBJECTIVES,
    Answers,
    edges_expression,
    expression,
    found_metrics,
    schemas_of,
    series_name,
)
from modelwatch.tally import Tally

MINUTE_S = 60.0
FINENESS = 240  # a window is asked for anew when that part of it has passed, and once a minute at most


class PrometheusCounts:
    """The counts of a Prometheus, with the looks that `HostCounts` gives.

    Parameters
    ----------
    config : whose models and service are asked for; its time_scale divides minutes and days here, too.

    Raises
    ------
    PrometheusUnavailable   it does not answer.
    """

    def __init__(self, config: Config, client: Client) -> None:
        self.config, self.client = config, client
        self.now = client.now()
        self.minute_s = max(MINUTE_S / config.time_scale, 1.0)
        self.day_s = max(DAY_S / config.time_scale, self.minute_s)
        self._first: dict[str, dict[str, float]] = {}
        self._schemas: dict[str, dict[str, ModelSchema]] = {}

    def first_seen(self, model: str) -> dict[str, float]:
        """Return when each version was seen first in the last day, as Unix time, the newest last.

        Raises
        ------
        PrometheusUnavailable   there are no series of the model.
        """
        if model not in self._first:
            info, every = f"{names.MODEL_INFO.name}{{{matcher(MODEL, model)}}}", _promql(self.minute_s)
            times = f"min by ({VERSION}) (min_over_time(timestamp({info})[{_promql(self.day_s)}:{every}]))"
            found = {
                one.labels.get(VERSION, ""): next(iter(one.values.values()))
                for one in self.client.query(times, self.now)
            }
            if not found:
                what, expected = f"series of {model}", f"{names.MODEL_INFO.name} of the last day"
                remedy = "Is its service scraped, and is this the name of the model?"
                raise PrometheusUnavailable(fault("prometheus", what, "none", expected, remedy))
            self._first[model] = dict(sorted(found.items(), key=lambda item: (item[1], item[0])))
        return self._first[model]

    def schemas(self, model: str) -> dict[str, ModelSchema]:
        """Return the schema of every version of the last day, the newest last."""
        if model not in self._schemas:
            versions = self.first_seen(model)
            base = self.config.model(model)
            plain = ModelSchema(
                threshold=base.low_confidence,
                classes=None if base.task == "regression" else tuple(base.classes or ()),
                numeric={name: ((), ()) for name, kind in base.features.items() if kind == "numeric"},
                reviewed=True,
            )
            window = _promql(self.day_s)
            edges = self.client.query(edges_expression(HISTOGRAMS, matcher(MODEL, model), window), self.now)
            self._schemas[model] = schemas_of(plain, edges, versions)
        return self._schemas[model]

    def looks(
        self,
        model: str,
        windows_s: set[int],  # noqa: ARG002  # a Prometheus knows any window
        objectives: Objectives,
        references: Mapping[str, Reference],
        since: float,
        *,
        time_scale: float = 1.0,
        drift_s: float = DAY_S,
    ) -> Iterator[Look]:
        """Return a look at every minute from `since` to now; parameters as those of `HostCounts.looks`."""
        schemas, first = self.schemas(model), self.first_seen(model)
        asked = _Asked(self, model, since, max(drift_s, self.day_s))
        job = matcher("job", self.config.service.name)
        up = self._by_time(f"up{{{job}}}", since)
        there = self._by_time(f"group({names.MODEL_INFO.name}{{{matcher(MODEL, model)}}})", since)
        for back in range(self._steps(since), -1, -1):
            at = self.now - back * self.minute_s

            def window(version: str, began_s: float, ended_s: float, at: float = at) -> Tally:
                return asked.tally(version, at, began_s - ended_s, ended_s)

            answers = {labels.get("instance", ""): value > 0 for labels, value in up.get(back, ())}
            ages = {version: (at - seen) * time_scale for version, seen in first.items() if self._is_young(seen)}
            yield Look(
                model, at, window, schemas, objectives, references=references,
                facts=Facts(answers, back in there, ages), began=0.0,
            )  # fmt: skip

    def minutes(self, model: str, version: str, starts: range) -> dict[int, Tally]:
        """Return the counts of a version in each step of `starts`, by its beginning."""
        text = expression(COUNTED, matcher(MODEL, model), _promql(starts.step))
        found = self.client.query_range(text, starts[0] + starts.step, starts[-1] + starts.step, starts.step)
        answers = Answers(found, self.schemas(model))
        return {start: answers.tally(version, start + starts.step) for start in starts}

    def value(self, text: str) -> float | None:
        """Return the one value of an expression; None where it has none."""
        return next((value for one in self.client.query(text, self.now) for value in one.values.values()), None)

    def _is_young(self, seen: float) -> bool:
        """Tell whether a version was seen to begin: not at the edge of the time that is asked for."""
        return seen - (self.now - self.day_s) > 2 * self.minute_s

    def _steps(self, since: float) -> int:
        return max(math.floor((self.now - since) / self.minute_s + 1e-6), 0)

    def _by_time(self, text: str, since: float) -> dict[int, list[tuple[Mapping[str, str], float]]]:
        """Return the values of an expression by how many minutes ago they were."""
        start = self.now - self._steps(since) * self.minute_s
        found: dict[int, list[tuple[Mapping[str, str], float]]] = {}
        for one in self.client.query_range(text, start, self.now, self.minute_s):
            for at, value in one.values.items():
                found.setdefault(round((self.now - at) / self.minute_s), []).append((one.labels, value))
        return found


class _Asked:
    """The windows of a model that were asked for: each is one question for all looks."""

    def __init__(self, counts: PrometheusCounts, model: str, since: float, detailed_s: float) -> None:
        self._counts, self._model, self._since, self._detailed_s = counts, model, since, detailed_s
        self._selector = matcher(MODEL, model)
        self._known: dict[tuple[float, float], Answers] = {}
        self._tallies: dict[tuple[str, float, float, float], Tally] = {}
        self._there = found_metrics(self._names())

    def _names(self) -> list[Series]:
        wanted = "|".join(series_name(metric) for metric in COUNTED)
        every = f'{{__name__=~"{wanted}",{self._selector}}}[{_promql(self._detailed_s)}]'
        text = f"group by (__name__) (last_over_time({every}))"
        return self._counts.client.query(text, self._counts.now)

    def tally(self, version: str, at: float, length_s: float, ended_s: float) -> Tally:
        """Return the counts of a version in a window that ended `ended_s` before `at`."""
        counts = self._counts
        step_s = math.ceil(max(length_s / FINENESS, counts.minute_s) / counts.minute_s) * counts.minute_s
        back = math.floor((counts.now - at) / step_s + 1e-6)  # the first answer that is not older
        moment = counts.now - ended_s - back * step_s
        key = version, moment, length_s, ended_s
        if key not in self._tallies:
            if (length_s, ended_s) not in self._known:
                self._known[length_s, ended_s] = self._ask(length_s, ended_s, step_s)
            self._tallies[key] = self._known[length_s, ended_s].tally(version, moment)
        return self._tallies[key]

    def _ask(self, length_s: float, ended_s: float, step_s: float) -> Answers:
        counts = self._counts
        metrics = [m for m in self._there if m in OF_OBJECTIVES or length_s <= self._detailed_s + counts.minute_s]
        end = counts.now - ended_s
        start = end - math.floor((counts.now - self._since) / step_s + 1e-6) * step_s
        text = expression(metrics, self._selector, _promql(length_s))
        found = counts.client.query_range(text, start, end, step_s) if metrics else []
        return Answers(found, counts.schemas(self._model))


def _promql(seconds: float) -> str:
    """Return a span of time as PromQL writes it, to the millisecond."""
    whole = max(round(seconds * 1000), 1)
    return f"{whole // 1000}s" if whole % 1000 == 0 else f"{whole}ms"
