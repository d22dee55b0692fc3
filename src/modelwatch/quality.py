"""Views of one model's quality over its labelled predictions: the last labels, and windows of prediction time.

A view places a label at its prediction and uses what Prometheus cannot compute: it is shown and named as such, never
paged on. What is too little is no number but a `Missing`: "12 of 30 labels".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.qualityrows import LabelledRows, OrderedRows, Task
from modelwatch.statistics import (
    Z95,
    CalibrationError,
    CalibrationSums,
    Classification,
    DelayHistogram,
    RegressionQuality,
    RegressionSums,
    ReliabilityPoint,
    SampleSums,
    classification,
    shrinkage,
    shrunk,
    wilson,
)
from modelwatch.statistics.maturity import DAY, DELAY_EDGES, HOUR, MATURE

MINIMUM = 30  # labels
LASTS = (100, 1000)
MOST_CLASSES = 200  # more give no confusion matrix

Index = npt.NDArray[np.intp]
State = Literal["decided", "too_young", "too_few"]


class Window(NamedTuple):
    """Predictions that are at least `youngest_s` and less than `oldest_s` seconds old."""

    name: str
    youngest_s: float
    oldest_s: float


WINDOWS = (
    Window("last hour", 0, HOUR),
    Window("last 24 hours", 0, DAY),
    Window("1 to 2 days old", DAY, 2 * DAY),
    Window("2 to 3 days old", 2 * DAY, 3 * DAY),
    Window("last 7 days", 0, 7 * DAY),
    Window("last 30 days", 0, 30 * DAY),
)


@dataclass(frozen=True)
class Missing:
    """What is missing before there is a number.

    Examples
    --------
    >>> str(Missing(12, 30))
    '12 of 30 labels'
    """

    have: int
    need: int
    what: str = "labels"

    def __str__(self) -> str:
        return f"{self.have} of {self.need} {self.what}"


class Accuracy(NamedTuple):
    """Share of right predictions, 0 to 1, with its interval.

    right, n : labels as they were counted.
    n_eff : labels of a uniform sample that would tell as much.
    method : "wilson" where all were kept alike; "hajek", weighted by 1/π, where not.
    """

    value: float
    low: float
    high: float
    right: int
    n: int
    n_eff: float
    method: Literal["wilson", "hajek"]


@dataclass(frozen=True)
class Segment:
    """One segment of a view.

    accuracy, regression : None below the minimum, see `missing`.
    shrunk : accuracy drawn towards that of the whole view: to rank and colour by, however few labels there are.
    """

    name: str
    n: int
    right: int | None
    accuracy: Accuracy | None = None
    shrunk: float | None = None
    regression: RegressionQuality | None = None
    missing: Missing | None = None


@dataclass(frozen=True)
class Confusion:
    """Labels by true class (row) and predicted class (column), and what follows from them.

    counts : as they were counted. quality : weighted by 1/π where the labels were not kept alike.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    quality: Classification


@dataclass(frozen=True)
class Calibration:
    """Confidence against truth, of the labels that have a confidence."""

    n: int
    curve: tuple[ReliabilityPoint, ...]
    error: CalibrationError
    brier: float


@dataclass(frozen=True)
class View:
    """The quality over some labels.

    kind : "labels", the last of them by arrival; "predictions", by the time of the prediction.
    state : decided; too_young: not all labels have come, drawn dotted, nothing follows from it; too_few: no number.
    maturity : share of the window's labels that have come; None: it cannot be told yet, or does not apply.
    since, until : first and last moment of prediction that the view covers, seconds since the epoch.
    missing : what is missing when it is too_few; the numbers are then None.
    calibration_missing : what is missing where a classifier has no calibration.
    confusion : None also above 200 classes.
    """

    name: str
    kind: Literal["labels", "predictions"]
    state: State
    n: int
    since: float | None
    until: float | None
    maturity: float | None = None
    missing: Missing | None = None
    accuracy: Accuracy | None = None
    segments: tuple[Segment, ...] = ()
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    calibration_missing: Missing | None = None
    regression: RegressionQuality | None = None

    def sentence(self) -> str:
        """Say it in words.

        Examples
        --------
        >>> View("last hour", "predictions", "too_few", 12, None, None, missing=Missing(12, 30)).sentence()
        'last hour: 12 of 30 labels'
        """
        if self.missing is not None:
            return f"{self.name}: {self.missing}"
        if self.accuracy is not None:
            value, low, high = (f"{100 * share:.0f}" for share in self.accuracy[:3])
            number = f"accuracy {value} % ({low}–{high} %)"
        else:
            found = self.regression
            assert found is not None
            number = f"MAE {found.mae:.4g} ({found.mae_low:.4g}–{found.mae_high:.4g})"
        come = "" if self.maturity is None else f", {100 * self.maturity:.0f} % of its labels have come"
        young = ", too young to decide on" if self.state == "too_young" else ""
        return f"{self.name}: {number}, from {self.n} labels{come}{young}"


@dataclass(frozen=True)
class Delays:
    """How late labels come: share of them that have come by each age; `shares` is None below 30 labels."""

    n: int
    ages_s: tuple[float, ...]
    shares: tuple[float, ...] | None


@dataclass(frozen=True)
class Quality:
    """All views of one model at one moment.

    labels : in use.  unusable : left out, since the prediction or the label of a regression is no finite number.
    """

    now: float
    task: Task
    labels: int
    unusable: int
    minimum: int
    last: tuple[View, ...]
    windows: tuple[View, ...]
    delays: Delays

    def decided(self) -> View | None:
        """Return the first window that is decided on; None while there is none."""
        return next((view for view in self.windows if view.state == "decided"), None)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON takes; a `Missing` also in words."""
        found = plain(self)
        assert isinstance(found, dict)
        return found


def quality(
    rows: LabelledRows,
    now: float,
    *,
    task: Task = "classification",
    classes: Sequence[str] = (),
    lasts: Sequence[int] = LASTS,
    windows: Sequence[Window] = WINDOWS,
    minimum: int = MINIMUM,
    z: float = Z95,
    shift: float | None = None,
) -> Quality:
    """Return the views of a model's quality. The order of the rows does not matter.

    Parameters
    ----------
    rows : labelled predictions; those labelled after `now`, or not at all, are left out.
    now : seconds since the epoch.
    classes : of the configuration, shown first and even without labels.
    lasts : sizes of the views over the last labels. windows : of prediction time.
    minimum : labels below which there is no number.
    z : half-width of the intervals in standard errors.
    shift : about the mean of the true values of a regression; None: their median.

    Raises
    ------
    ValueError   columns of different length, or an inclusion probability that is none.
    """
    table = OrderedRows.of(rows, now, task, classes)
    maker = _Maker(table, minimum, z, shift)
    every = np.arange(table.n)
    last = tuple(maker.view(f"last {size} labels", "labels", every[-size:] if size else every[:0]) for size in lasts)
    delays = DelayHistogram.of(table.predicted_at, table.labelled_at, now, table.inclusion)
    timed = []
    for window in windows:
        since, until = now - window.oldest_s, now - window.youngest_s
        inside = np.flatnonzero((table.predicted_at >= since) & (table.predicted_at < until))
        oldest_s = now - float(table.predicted_at[inside].min()) if len(inside) else window.oldest_s
        maturity = delays.maturity(window.youngest_s, oldest_s)  # before the first label there may be no traffic
        timed.append(maker.view(window.name, "predictions", inside, (since, until), maturity))
    come = [delays.share_by(age) for age in DELAY_EDGES]
    shares = None if None in come else tuple(share for share in come if share is not None)
    return Quality(
        now, task, table.n, table.unusable, minimum, last, tuple(timed), Delays(delays.n, DELAY_EDGES, shares)
    )


@dataclass(frozen=True)
class _Maker:
    """Makes views of some of the rows."""

    table: OrderedRows
    minimum: int
    z: float
    shift: float | None

    def view(
        self,
        name: str,
        kind: Literal["labels", "predictions"],
        rows: Index,
        span: tuple[float, float] | None = None,
        maturity: float | None = None,
    ) -> View:
        t, n = self.table, len(rows)
        if span is None and n:
            span = float(t.predicted_at[rows].min()), float(t.predicted_at[rows].max())
        since, until = span or (None, None)
        if n < self.minimum or not n:
            missing = Missing(n, max(self.minimum, 1))
            return View(name, kind, "too_few", n, since, until, maturity, missing)
        young = kind == "predictions" and (maturity is None or maturity < MATURE)
        state: State = "too_young" if young else "decided"
        if t.task == "regression":
            segments = self._segments(rows, None)
            found = self._regression(rows)
            return View(name, kind, state, n, since, until, maturity, segments=segments, regression=found)
        accuracy = self._accuracy(rows)
        calibration, unknown = self._calibration(rows)
        return View(
            name, kind, state, n, since, until, maturity,
            accuracy=accuracy,
            segments=self._segments(rows, accuracy),
            confusion=self._confusion(rows),
            calibration=calibration,
            calibration_missing=unknown,
        )  # fmt: skip

    def _alike(self, rows: Index) -> bool:
        pi = self.table.inclusion[rows]
        return not len(pi) or bool((pi == pi[0]).all())

    def _accuracy(self, rows: Index) -> Accuracy:
        right = self.table.predicted[rows] == self.table.truth[rows]
        k, n = int(right.sum()), len(rows)
        if self._alike(rows):
            share = wilson(k, n, self.z)
            assert share is not None
            return Accuracy(*share, k, n, float(n), "wilson")
        sums = SampleSums.of(right, self.table.inclusion[rows])
        share, n_eff = sums.interval(self.z), sums.n_eff()
        assert share is not None
        assert n_eff is not None
        return Accuracy(*share, k, n, n_eff, "hajek")

    def _segments(self, rows: Index, overall: Accuracy | None) -> tuple[Segment, ...]:
        t = self.table
        rows = rows[np.argsort(t.segments[rows], kind="stable")]
        codes, starts = np.unique(t.segments[rows], return_index=True)
        split = zip(codes.tolist(), np.split(rows, starts[1:]), strict=True) if len(codes) else ()
        parts = {code: part for code, part in split if code >= 0}
        if overall is None:
            return tuple(
                Segment(t.segment_names[code], len(part), None, regression=self._regression(part))
                if len(part) >= self.minimum
                else Segment(t.segment_names[code], len(part), None, missing=Missing(len(part), self.minimum))
                for code, part in parts.items()
            )
        each = {code: self._accuracy(part) for code, part in parts.items()}
        sizes = [a.n_eff for a in each.values()]
        kappa = shrinkage([a.value * a.n_eff for a in each.values()], sizes)
        segments = []
        for code, a in each.items():
            drawn = None if kappa is None else shrunk(a.value * a.n_eff, a.n_eff, overall.value, kappa)
            enough = a.n >= self.minimum
            missing = None if enough else Missing(a.n, self.minimum)
            segments.append(Segment(t.segment_names[code], a.n, a.right, a if enough else None, drawn, None, missing))
        return tuple(segments)

    def _confusion(self, rows: Index) -> Confusion | None:
        t = self.table
        size = len(t.names)
        if size > MOST_CLASSES:
            return None
        cells = (t.truth[rows] * size + t.predicted[rows]).astype(np.int64)
        counts = np.bincount(cells, minlength=size * size).reshape(size, size)
        weighted = np.bincount(cells, 1 / t.inclusion[rows], size * size).reshape(size, size)
        quality_of = classification(t.names, counts if self._alike(rows) else weighted)
        return Confusion(t.names, tuple(tuple(row) for row in counts.tolist()), quality_of)

    def _calibration(self, rows: Index) -> tuple[Calibration | None, Missing | None]:
        t = self.table
        confidence = t.confidence[rows]
        told = rows[(confidence >= 0) & (confidence <= 1)]
        if len(told) < self.minimum:
            return None, Missing(len(told), self.minimum, "labels with a confidence")
        inclusion = None if self._alike(told) else t.inclusion[told]
        sums = CalibrationSums.of(t.confidence[told], t.predicted[told] == t.truth[told], inclusion)
        error, brier = sums.error(), sums.brier()
        assert error is not None
        assert brier is not None
        return Calibration(len(told), sums.curve(self.z), error, brier), None

    def _regression(self, rows: Index) -> RegressionQuality | None:
        t = self.table
        shift = float(np.median(t.truth[rows])) if self.shift is None else self.shift
        inclusion = None if self._alike(rows) else t.inclusion[rows]
        return RegressionSums.of(t.truth[rows], t.predicted[rows], inclusion, shift).quality(self.z)


def plain(value: Any) -> Any:
    """Return a result as plain values that JSON takes."""
    if isinstance(value, Missing):
        return {"have": value.have, "need": value.need, "what": value.what, "words": str(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
