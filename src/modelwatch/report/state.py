"""The state of a report: plain values that all renderings are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelwatch import __version__, names
from modelwatch.batch.analysis import Analysis
from modelwatch.report.compared import compared
from modelwatch.report.findings import fails_on, findings_of, verdict_of
from modelwatch.report.labelled import quality_of
from modelwatch.report.raw import Raw
from modelwatch.report.timeline import counts_of, history_of, objectives_over
from modelwatch.signals import FAILURES, SLOW, Counts
from modelwatch.signals.requests import latency_quantile

FORMAT = 1
QUANTILES = {"p50_s": 0.5, "p90_s": 0.9, "p95_s": 0.95, "p99_s": 0.99}
MOST_CLASSES = 50  # of the answers, and types of errors, that are told


@dataclass(frozen=True)
class Report:
    """A report; `state` is what `docs/report.md` describes."""

    state: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain values that JSON takes."""
        return dict(self.state)

    def to_json(self) -> str:
        """Return the state as JSON."""
        return json.dumps(self.state, indent=1, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        from modelwatch.report.markdown import markdown

        return markdown(self.state)

    def to_html(self) -> str:
        """Return the report as one HTML document that needs nothing else.

        Raises
        ------
        MissingExtra   the pages are not installed: `modelwatch[server]`.
        """
        from modelwatch.report.html import html

        return html(self.state)

    def fails_on(self, severity: str) -> bool:
        """Tell whether a finding is at least so severe: info, warning or critical."""
        return fails_on(self.state["findings"], severity)


def report_of(
    found: Analysis,
    *,
    log: str = "log",
    reference: str = "",
    configured: bool = False,
    raw: Raw | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Return the report on the counts of a log.

    Parameters
    ----------
    log, reference : what they are called.
    configured : the model is that of a configuration, not inferred.
    raw : what raw values tell beside the counts.
    notes : what to know about log and reference, a sentence each.
    """
    counts = counts_of(found)
    undated = found.undated.tables.get(names.REQUESTS.name)
    features, answers = compared(found, counts, raw or Raw())
    state: dict[str, Any] = {
        "format": FORMAT,
        "modelwatch": __version__,
        "log": {
            "name": log, "rows": found.rows, "requests": found.requests, "from": found.began, "until": found.ended,
            "span_s": found.span, "undated": undated.total() if undated else 0,
        },
        "model": {
            "name": found.model.name, "version": found.model.version, "task": found.model.task,
            "configured": configured,
        },
        "reference": None if found.reference is None else {
            "name": reference, "rows": found.reference.rows, "sha256": found.reference.sha256,
        },
        "features": features,
        "answers": answers,
        "quality": quality_of(found, counts),
        "data_quality": {"refused": [
            {"where": labels[0], "kind": labels[1], "count": n}
            for labels, n in sorted(found.refused.items(), key=lambda one: -one[1]) if n
        ]},
        "requests": _requests(found, counts),
        "slos": objectives_over(found),
        "notes": list(notes),
    }  # fmt: skip
    moved = [name for name, row in {**features, **answers}.items() if row["outcome"] != "cannot_tell"]
    state["history"] = history_of(found, moved)
    state = _plain(state)
    state["findings"] = findings_of(state, found.model)
    state["verdict"] = verdict_of(state, state["findings"])
    return Report(state)


def _requests(found: Analysis, counts: Counts) -> dict[str, Any]:
    """Return rate, errors, latency and answers; None what the log does not tell."""
    failed, n = FAILURES.count(counts)
    slow, timed = SLOW.count(counts)
    dated = found.began is not None
    quantiles = {name: latency_quantile(counts, q) for name, q in QUANTILES.items()}
    return {
        "count": found.requests,
        "per_second": found.requests / counts.covered_s if dated and found.requests else None,
        "failed": failed if found.roles.error else None,
        "error_ratio": failed / n if found.roles.error and failed is not None and n else None,
        "errors": _most(counts, names.ERRORS, 1),
        "latency": None if not found.roles.latency or not timed else {
            **{name: None if one is None else one.value for name, one in quantiles.items()},
            "requests": timed, "threshold_s": counts.objectives.latency_threshold_s,
            "slow_share": slow / timed if slow is not None else None,
        },
        "answers": _most(counts, names.PREDICTIONS, 0),
    }  # fmt: skip


def _most(counts: Counts, metric: names.Metric, at: int) -> dict[str, int]:
    """Return {label: how often}, the most frequent first; what is left over is not told."""
    table = counts.table(metric)
    if table is None:
        return {}
    sums: dict[str, int] = {}
    for labels, row in table.rows.items():
        if table.counts[row, 0]:
            sums[labels[at]] = sums.get(labels[at], 0) + int(table.counts[row, 0])
    return dict(sorted(sums.items(), key=lambda one: -one[1])[:MOST_CLASSES])


def _plain(value: Any) -> Any:
    """Return values that JSON takes: no NumPy, no tuples, no number that is none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
