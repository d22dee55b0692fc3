"""A log over time: objectives day by day, and what it was like piece by piece, in a bounded number of pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from modelwatch.batch.analysis import Analysis
from modelwatch.report.labelled import regression_of
from modelwatch.signals import FAILURES, Counts, Look, Objectives
from modelwatch.signals.drift import ANSWER_PSI, CATEGORY_DRIFT, FEATURE_KS
from modelwatch.signals.quality import label_sums
from modelwatch.signals.requests import latency_quantile
from modelwatch.slo import Period, slo_statuses, slos_of
from modelwatch.tally import Tally

PIECES = 120  # at most, of which the history is made
FOLLOWED = 12  # features whose drift is followed over time


def counts_of(found: Analysis) -> Counts:
    """Return the counts of the whole log, as signals are measured on them."""
    return _counts(found, found.total, covered_of(found))


def covered_of(found: Analysis) -> float:
    """Return the seconds from the first bucket to the end of the last; 1 where no row has a time."""
    began, ended = found.began, found.ended
    return 1.0 if began is None or ended is None else float(ended - began)


def _counts(found: Analysis, tally: Tally, covered_s: float) -> Counts:
    objectives = Objectives.of(found.model, reference=found.reference)
    return Counts(tally, found.schema, covered_s, objectives, found.model.version, found.reference)


# -- objectives --------------------------------------------------------------------------------------------------------


def objectives_over(found: Analysis) -> list[dict[str, Any]]:
    """Return how the objectives of the configuration stood over the log, with what each day spent of the budget."""
    slos = slos_of(found.model)
    if not slos:
        return []
    covered = covered_of(found)
    ended = found.ended if found.ended is not None else covered
    version = found.model.version

    def window(_version: str, since_s: float, until_s: float) -> Tally | None:
        if since_s - until_s >= covered:
            return found.total
        if since_s - until_s < found.span:  # the buckets are too coarse
            return None
        begin, end = ended - since_s, ended - until_s
        return _sum(tally for start, tally in found.tallies() if begin <= start < end)

    references = {} if found.reference is None else {version: found.reference}
    look = Look(
        found.model.name, float(ended), window, {version: found.schema},
        Objectives.of(found.model, reference=found.reference), references=references, began=float(found.began or 0),
    )  # fmt: skip
    return [asdict(one) | {"period": "the log"} for one in slo_statuses(slos, look, Period("rolling", covered))]


def _sum(tallies: Iterator[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


# -- pieces ------------------------------------------------------------------------------------------------------------


def history_of(found: Analysis, followed: Sequence[str]) -> dict[str, Any] | None:
    """Return what the log was like over time; None where it is a single bucket, or has no times.

    Parameters
    ----------
    followed : features and answers whose drift is told piece by piece, by `FOLLOWED` at most.

    Returns
    -------
    `piece_s` and, one a piece: `start`, `requests`, `error_ratio`, `p95_s`, `accuracy`, `mae`; None where a piece does
    not tell. `drift` : {name: the score of each piece}.
    """
    began = found.began
    pieces = max(1, math.ceil(covered_of(found) / found.span / PIECES))
    every = found.span * pieces
    if began is None or covered_of(found) <= every:
        return None
    names = list(followed)[:FOLLOWED]
    has_errors = found.roles.error is not None
    rows = {
        start: _piece(_counts(found, tally, float(every)), names, has_errors=has_errors)
        for start, tally in _pieces(found, began, every)
    }
    starts = range(min(rows), max(rows) + 1, every)
    nothing: dict[str, Any] = {"requests": 0, "drift": {}}
    each = [rows.get(start, nothing) for start in starts]
    keys = ("requests", "error_ratio", "p95_s", "accuracy", "mae")
    return {
        "piece_s": every,
        "start": list(starts),
        **{key: [one.get(key) for one in each] for key in keys},
        "drift": {name: [one["drift"].get(name) for one in each] for name in names},
    }


def _pieces(found: Analysis, began: int, every: int) -> Iterator[tuple[int, Tally]]:
    at, total = began, Tally()
    for start, tally in found.tallies():
        piece = began + (start - began) // every * every
        if piece != at:
            yield at, total
            at, total = piece, Tally()
        total.add(tally)
    yield at, total


def _piece(counts: Counts, names: Sequence[str], *, has_errors: bool) -> dict[str, Any]:
    failed, n = FAILURES.count(counts)
    p95 = latency_quantile(counts, 0.95)
    sums, errors = label_sums(counts), regression_of(counts.tally) if "batch_errors" in counts.tally.tables else None
    scores: dict[str, float | None] = {}
    if counts.reference is not None and names:
        for signal in (ANSWER_PSI, CATEGORY_DRIFT, FEATURE_KS):
            scores |= {labels[-1]: found[0] for labels, found in signal.measure(counts).items()}
    return {
        "requests": n,
        "error_ratio": failed / n if has_errors and failed is not None and n else None,
        "p95_s": None if p95 is None else p95.value,
        "accuracy": sums.accuracy(),
        "mae": None if errors is None else errors.mae,
        "drift": {name: scores.get(name) for name in names},
    }
