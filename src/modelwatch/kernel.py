"""The kernel: turns a chunk of raw events, or columns of a log, into counts.

All judging of values happens here, never in the caller.

Every column has a vector path and, when that raises, a path that takes each value alone. Both convert in the same
way (the C double of a number; text is never parsed), so a bad neighbour cannot change how a good value counts.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import is_not, itemgetter
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch import names
from modelwatch.events import CANCELLED, LabelCount
from modelwatch.labels import NONE_CODE, Coded, LabelCodes, is_missing
from modelwatch.schema import ModelSchema, can_fall
from modelwatch.tally import Labels, Table, Tally

Floats = npt.NDArray[np.float64]


class Gapped:
    """A column of numbers with gaps.

    values : (rows,) of any kind of number; where there is a gap, anything.
    there : (rows,) whether there is a value.
    """

    __slots__ = ("there", "values")

    def __init__(self, values: npt.NDArray[Any], there: npt.NDArray[np.bool_]) -> None:
        self.values, self.there = values, there

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Gapped:
        return Gapped(self.values[rows], self.there[rows])

    def given(self) -> list[tuple[int, Any]]:
        """Return (row, value) where there is one."""
        return [(row, self.values[row]) for row in np.flatnonzero(self.there).tolist()]

    def tolist(self) -> list[Any]:
        """Return the values, None in the gaps."""
        return [value if there else None for value, there in zip(self.values.tolist(), self.there, strict=True)]


Plain = Sequence[Any] | npt.NDArray[Any]
Column = Plain | Coded | Gapped
#: Doubles, their positions (None: all), how many values were missing, how many were no number.
Numbers = tuple[Floats, "npt.NDArray[np.intp] | None", int, int]

HUGE = 1e200  # values are taken as at most this in a sum, which must stay finite
LONGEST_SECONDS = 86_400.0  # more is another unit or a fault of a clock; sums of nanoseconds must fit
_ABSENT = object()


def numbers(values: Column, caught: type[BaseException] = BaseException) -> Numbers:
    """Return (doubles, their positions or None for all, how many were missing, how many were no number)."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64), None, 0, 0
    if isinstance(values, Gapped):
        at = np.flatnonzero(values.there)
        return values.values[at].astype(np.float64), at, len(values) - len(at), 0
    if isinstance(values, Coded):
        return _coded_numbers(values, caught)
    try:
        return np.frombuffer(array("d", values)).copy(), None, 0, 0
    except caught:  # a value's own __float__ may raise anything
        good, rows, missing = array("d"), [], 0
    for i, value in enumerate(values):
        if is_missing(value):
            missing += 1
            continue
        try:
            good.append(value)  # the same conversion as array("d", values), one at a time
            rows.append(i)
        except caught:
            continue
    return np.frombuffer(good).copy(), np.array(rows, np.intp), missing, len(values) - missing - len(good)


def _coded_numbers(column: Coded, caught: type[BaseException]) -> Numbers:
    """Judge each distinct value once."""
    found, at, _, _ = numbers(list(column.values), caught)
    each, good = np.zeros(len(column.values)), np.zeros(len(column.values), bool)
    each[slice(None) if at is None else at], good[slice(None) if at is None else at] = found, True
    rows = np.flatnonzero(good[column.at])
    gaps = np.array([is_missing(value) for value in column.values], bool)
    missing = int(column.counts()[gaps].sum())
    return each[column.at[rows]], rows, missing, len(column) - missing - len(rows)


def cumulative(values: Floats, edges: Floats) -> npt.NDArray[np.intp]:
    """Sort `values` in place and return how many are <= each edge.

    Sorting first is twice as fast as searching each value.
    """
    values.sort()
    return values.searchsorted(edges, "right")


def per_bucket(upto: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the counts of the buckets from cumulative counts, in place.

    np.diff takes five times as long on so few.
    """
    upto[1:] -= upto[:-1].copy()
    return upto


class Kernel:
    """Folds events of one model version into `tally`. Not thread-safe: the recorder holds its lock."""

    def __init__(self, schema: ModelSchema) -> None:
        self.schema = schema
        # What a value's own code may raise, to be refused. In the main thread an exit is that of a signal handler.
        self.caught: type[BaseException] = BaseException
        self.tally: Tally = schema.empty()
        tables = self.tally.tables
        self._requests, self._failed = tables[names.REQUESTS.name], tables[names.FAILED.name]
        self._errors, self._cancelled = tables[names.ERRORS.name], tables[names.CANCELLED.name]
        self._durations, self._confidences = tables[names.DURATION.name], tables[names.CONFIDENCE.name]
        self._predictions, self._values = tables.get(names.PREDICTIONS.name), tables.get(names.PREDICTION_VALUE.name)
        self._segments, self._low = tables[names.SEGMENTS.name], tables[names.LOW_CONFIDENCE.name]
        self._features, self._categories = tables.get(names.FEATURE_VALUE.name), tables[names.FEATURE_CATEGORY.name]
        self._events, self._refusals = tables[names.EVENTS.name], tables[names.REFUSED.name]
        self._overflows, self._invalid = tables[names.OVERFLOW.name], tables[names.FEATURE_INVALID.name]
        self._latency_edges = np.array([*schema.latency, np.inf])
        self._confidence_edges = np.array([*schema.confidence, np.inf])
        self._value_edges = np.array([*schema.value_edges, np.inf])
        self._value_floor = _floor(schema.value_edges)
        self._threshold = (f"{schema.threshold:g}",)
        cap = schema.cap
        self.endpoints, self.error_types = (
            LabelCodes(cap),
            LabelCodes(cap, (CANCELLED,)),
        )  # told apart above the cap, too
        self.classes, self.segments = LabelCodes(cap, schema.classes or ()), LabelCodes(cap)
        fair = max(10, cap // max(1, len(schema.categorical)))
        self.categories = {name: LabelCodes(fair, known) for name, known in schema.categorical.items()}
        self._prepare_features()

    def _prepare_features(self) -> None:
        """Edges of all numeric features on one width, and the reader of a row's dict."""
        self.numeric = list(self.schema.numeric)
        bins = self.schema.feature_bins
        self._feature_edges = [
            np.array([*kept, *[np.inf] * (bins - len(kept))]) for kept, _ in self.schema.numeric.values()
        ]  # a feature with fewer edges leaves its last columns empty
        self._floors = np.array([_floor(kept) for kept, _ in self.schema.numeric.values()])
        self._pick: Callable[[Any], tuple[Any, ...]] = (
            itemgetter(*self.numeric) if len(self.numeric) > 1 else self._pick_few
        )
        self._pack = Struct(f"{len(self.numeric)}d").pack  # C doubles, as array("d")
        self._known = {*self.numeric, *self.categories}

    def _pick_few(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple([row[name] for name in self.numeric])

    # -- what is folded --------------------------------------------------------------------------------------------

    def fold(self, events: Sequence[tuple[Any, ...]]) -> None:
        """Count a chunk of events (see `Prediction` for the order of the fields)."""
        endpoints, durations, errors, segments, predictions, confidences, features = zip(*events, strict=True)
        self._events.count((), len(events))
        self._fold_requests(endpoints, durations, errors)
        self._fold_answers(segments, predictions, confidences)
        rows = [row for row in features if row is not None]
        if rows:
            self._fold_rows(rows)

    def fold_durations(self, endpoint: str, seconds: list[float]) -> None:
        """Count successful calls of one watched function: our own floats, nothing to judge."""
        self._events.count((), len(seconds))
        row = self._endpoint_row(endpoint)
        self._requests.count(row, len(seconds))
        self._observe_durations(row, np.array(seconds))

    def fold_columns(self, columns: Mapping[str, Column], features: Mapping[str, Column], n: int) -> None:
        """Count `n` rows of a log, given as columns: the same tally as one event a row."""
        absent = Coded.gap(n)
        self._events.count((), n)
        get = columns.get
        self._fold_requests(get("endpoint", absent), get("duration", absent), get("error", absent))
        self._fold_answers(get("segment", absent), get("prediction", absent), get("confidence", absent))
        if features:
            self.refuse("feature", "unknown", n * sum(name not in self._known for name in features))
            self._observe_features([numbers(features.get(name, absent), self.caught) for name in self.numeric])
            for name in self.categories:
                self._observe_categories(name, features.get(name, absent))

    def fold_answers(self, answers: Sequence[tuple[Any, Any, float | None]]) -> None:
        """Count answers without a request: (prediction, confidence, threshold of a low confidence or None)."""
        self._events.count((), len(answers))
        predictions, confidences, thresholds = zip(*answers, strict=True)
        if self._predictions is not None:
            self._count_labels("prediction", names.PREDICTIONS, self.classes, self._predictions, predictions)
        elif self._values is not None:
            self._observe("prediction", self._values, predictions, self._value_edges, self._value_floor)
        by_threshold: dict[float, list[Any]] = {}
        for confidence, given in zip(confidences, thresholds, strict=True):
            threshold = given if type(given) is float and np.isfinite(given) else self.schema.threshold
            by_threshold.setdefault(threshold, []).append(confidence)
        for threshold, column in by_threshold.items():
            self._fold_confidence(column, threshold)

    def fold_labels(self, found: Sequence[LabelCount]) -> None:
        """Count labels, and predictions kept for review."""
        tables = self.tally.tables
        kept = sum(one.kept for one in found)
        if kept:
            tables[names.SAMPLES.name].count((), kept)
        for one in found:
            if one.state is not None:
                tables[names.LABEL_STATES.name].count((one.state,))
            if one.dropped is not None:
                tables[names.SAMPLES_DROPPED.name].count((one.dropped,))
            if one.right is None:
                continue
            outcome = names.CORRECT if one.right else names.WRONG
            code = self.segments.encode_one(one.segment)
            segment = names.UNSEGMENTED if code == NONE_CODE else self.segments.names[code]
            tables[names.LABELS.name].count((segment, outcome))
            tables[names.LABELS_BY_INCLUSION.name].count((f"{one.inclusion:g}", outcome))
        self._settle("segment", names.LABELS, "segment", self.segments)

    def fold_one(self, what: str, values: Column) -> None:
        """Count one column of labels alone: prediction, segment, or a categorical feature."""
        if what == "prediction" and self._predictions is not None:
            self._count_labels("prediction", names.PREDICTIONS, self.classes, self._predictions, values)
        elif what == "segment":
            self._count_labels("segment", names.SEGMENTS, self.segments, self._segments, values)
        else:
            self._observe_categories(what, values)

    def fold_outcomes(self, segments: Column, right: npt.NDArray[np.bool_], inclusion: float = 1.0) -> None:
        """Count the first labels of predictions, given as columns: the same tally as `fold_labels` one by one.

        segments : of the predictions.
        right : whether each prediction has its label.
        inclusion : the probability with which the predictions were chosen for a label.
        """
        if not len(right):
            return
        codes = self._encode("segment", names.LABELS, self.segments, segments)
        tables = self.tally.tables
        tables[names.LABEL_STATES.name].count(("matched",), len(right))
        for outcome, chosen in ((names.CORRECT, right), (names.WRONG, ~right)):
            for code, n in _present(codes[chosen]):
                segment = names.UNSEGMENTED if code == NONE_CODE else self.segments.names[code]
                tables[names.LABELS.name].count((segment, outcome), n)
            if chosen.any():
                tables[names.LABELS_BY_INCLUSION.name].count((f"{inclusion:g}", outcome), int(chosen.sum()))

    def know_endpoint(self, endpoint: str) -> None:
        """Make the series of an endpoint exist, at 0."""
        row = self._endpoint_row(endpoint)
        for table in (self._requests, self._failed, self._cancelled, self._durations):
            table.row(row)

    def adopt(self, tally: Tally) -> None:
        """Learn the label values that are counted already, so that the caps hold over workers and restarts."""
        for name, codes, at in (
            (names.REQUESTS.name, self.endpoints, 0), (names.ERRORS.name, self.error_types, 1),
            (names.PREDICTIONS.name, self.classes, 0), (names.SEGMENTS.name, self.segments, 0),
        ):  # fmt: skip
            table = tally.tables.get(name)
            for labels in table.rows if table else ():
                codes.know(labels[at])
        table = tally.tables.get(names.FEATURE_CATEGORY.name)
        for feature, category in table.rows if table else ():
            if feature in self.categories:
                self.categories[feature].know(category)

    # -- refusals and caps -----------------------------------------------------------------------------------------

    def refuse(self, where: str, kind: str, n: int) -> None:
        """Count values that were left out."""
        if n:
            self._refusals.count((where, kind), n)

    def _settle(self, where: str, metric: names.Metric, label: str, codes: LabelCodes) -> None:
        """Count what a label refused or could not hold."""
        if codes.overflow or codes.refused:
            overflow, refused = codes.drain()
            if overflow:
                self._overflows.count((metric.name, label), overflow)
            for kind, n in refused.items():
                self.refuse(where, kind, n)

    def _encode(self, where: str, metric: names.Metric, codes: LabelCodes, values: Column) -> npt.NDArray[np.intp]:
        encoded = codes.encode(values, self.caught)
        self._settle(where, metric, metric.labels[0], codes)
        return encoded

    # -- requests ------------------------------------------------------------------------------------------------------

    def _endpoint_row(self, endpoint: object) -> Labels:
        code = self.endpoints.encode_one(endpoint)
        self._settle("endpoint", names.REQUESTS, "endpoint", self.endpoints)
        return (self.endpoints.names[code],)

    def _fold_requests(self, endpoints: Column, durations: Column, errors: Column) -> None:
        codes = self._encode("endpoint", names.REQUESTS, self.endpoints, endpoints)
        nameless = codes == NONE_CODE
        if nameless.any():
            self.refuse("endpoint", "type", int(nameless.sum()))
            codes[nameless] = self.endpoints.encode_one(names.INVALID)
        present = _present(codes)
        for code, n in present:
            self._requests.count((self.endpoints.names[code],), n)
        seconds, at, _, wrong = numbers(durations, self.caught)
        self.refuse("duration", "type", wrong)
        cancelled = self._fold_errors(codes, errors)
        if at is not None:
            codes = codes[at]
        if cancelled:
            stay = ~np.isin(np.arange(len(durations)) if at is None else at, cancelled)
            codes, seconds = codes[stay], seconds[stay]
        good = (seconds >= 0) & (seconds <= LONGEST_SECONDS)
        if not good.all():
            nan = int(np.isnan(seconds).sum())
            self.refuse("duration", "nan", nan)
            self.refuse("duration", "range", len(seconds) - int(good.sum()) - nan)
            codes, seconds = codes[good], seconds[good]
        if len(present) == 1 and len(codes):
            self._observe_durations((self.endpoints.names[codes[0]],), seconds)
            return
        for code, _ in _present(codes):
            self._observe_durations((self.endpoints.names[code],), seconds[codes == code])

    def _fold_errors(self, codes: npt.NDArray[np.intp], errors: Column) -> list[int]:
        """Count failed and cancelled requests; return the positions of the cancelled ones."""
        given: Iterable[tuple[int, Any]]
        if isinstance(errors, (Coded, Gapped)):
            given = errors.given()
        elif any(map(is_not, errors, repeat(None))):  # identity: == could run a value's own code
            given = enumerate(errors)
        else:
            return []
        cancelled = []
        for i, error in given:
            if is_missing(error):
                continue
            endpoint = self.endpoints.names[codes[i]]
            kind = self.error_types.names[self.error_types.encode_one(error)]
            if kind == CANCELLED:
                self._cancelled.count((endpoint,))
                cancelled.append(i)
                continue
            self._failed.count((endpoint,))
            row = (endpoint, kind)
            if row not in self._errors.rows and len(self._errors.rows) >= self.schema.cap:
                if kind != names.OTHER:  # else it is counted already
                    self._overflows.count((names.ERRORS.name, "error_type"))
                row = (names.OTHER, names.OTHER)
            self._errors.count(row)
        self._settle("error", names.ERRORS, "error_type", self.error_types)
        return cancelled

    def _observe_durations(self, labels: Labels, seconds: Floats) -> None:
        row = self._durations.row(labels)
        self._durations.sums[row] += np.rint(seconds * 1e9).astype(np.int64).sum()
        self._durations.counts[row] += per_bucket(cumulative(seconds, self._latency_edges))

    # -- answers -------------------------------------------------------------------------------------------------------

    def _fold_answers(self, segments: Column, predictions: Column, confidences: Column) -> None:
        self._count_labels("segment", names.SEGMENTS, self.segments, self._segments, segments)
        if self._predictions is not None:
            self._count_labels("prediction", names.PREDICTIONS, self.classes, self._predictions, predictions)
        elif self._values is not None:
            self._observe("prediction", self._values, predictions, self._value_edges, self._value_floor)
        self._fold_confidence(confidences, self.schema.threshold)

    def _fold_confidence(self, confidences: Column, threshold: float) -> None:
        values = self._observe("confidence", self._confidences, confidences, self._confidence_edges, 0.0, 1.0)
        low = int(np.count_nonzero(values < threshold))
        row = self._threshold if threshold == self.schema.threshold else (f"{threshold:g}",)
        if row not in self._low.rows and len(self._low.rows) >= self.schema.cap:
            self._overflows.count((names.LOW_CONFIDENCE.name, "threshold"), len(values))
            row = (names.OTHER,)
        self._low.count(row, low)

    def _observe(
        self, where: str, table: Table, column: Column, edges: Floats, low: float = -HUGE, high: float = HUGE
    ) -> Floats:
        """Count finite values into the buckets of `edges`.

        The sum takes them within [low, high], so it never falls below 0 for shares.
        """
        values, _, _, wrong = numbers(column, self.caught)
        self.refuse(where, "type", wrong)
        if not len(values):
            return values
        finite = np.isfinite(values)
        if not finite.all():
            nan = int(np.isnan(values).sum())
            self.refuse(where, "nan", nan)
            self.refuse(where, "inf", len(values) - int(finite.sum()) - nan)
            values = values[finite]
        row = table.row(())
        table.sums[row] += values.clip(low, high).sum()
        table.counts[row] += per_bucket(cumulative(values, edges))
        return values

    def _count_labels(self, where: str, metric: names.Metric, codes: LabelCodes, table: Table, values: Column) -> None:
        counts = codes.count(values, self.caught)
        self._settle(where, metric, metric.labels[0], codes)
        for code, n in counts:
            if code != NONE_CODE:  # not given
                table.count((codes.names[code],), n)

    # -- features ------------------------------------------------------------------------------------------------------

    def _fold_rows(self, rows: list[Any]) -> None:
        """Features by request. Fixed-width records, then one transposition: half the time of a column at a time."""
        good = [row for row in rows if type(row) is dict]
        self.refuse("feature", "type", len(rows) - len(good))
        if not good:
            return
        pick, pack = self._pick, self._pack
        given = len(good) * len(self.numeric)
        try:
            records = b"".join([pack(*pick(row)) for row in good])
            matrix = np.frombuffer(records).reshape(len(good), -1).T.copy()
        except self.caught:  # a feature is absent or no number: column by column
            columns, given = [], 0
            for name in self.numeric:
                values, present = _column(good, name, self.caught)
                given += present
                columns.append(numbers(values, self.caught))
            self._observe_features(columns)
        else:
            if not self._observe_matrix(matrix):
                self._observe_features([(column, None, 0, 0) for column in matrix])
        for name in self.categories:
            values, present = _column(good, name, self.caught)
            given += present
            self._observe_categories(name, values)
        self.refuse("feature", "unknown", sum(map(len, good)) - given)

    def _observe_matrix(self, matrix: Floats) -> bool:
        """Count a row of values a feature, all of them finite; return False when they are not. Sorts them in place."""
        table = self._features
        if table is None or not np.isfinite(matrix).all():
            return table is None
        with np.errstate(over="ignore"):
            sums = matrix.sum(axis=1)
        if not (np.abs(sums) < HUGE).all():
            return False
        matrix.sort(axis=1)
        for j in np.flatnonzero(matrix[:, 0] < self._floors).tolist():
            sums[j] = _sum(matrix[j], self._floors[j])
        block = np.empty((len(matrix), self.schema.feature_bins), np.int64)
        for j, edges in enumerate(self._feature_edges):
            block[j] = matrix[j].searchsorted(edges, "right")
        block[:, 1:] -= block[:, :-1].copy()
        table.sums[: len(matrix)] += sums
        table.counts[: len(matrix)] += block
        return True

    def _observe_features(self, columns: list[Numbers]) -> None:
        table = self._features
        if table is None:
            return
        block = np.empty((len(columns), self.schema.feature_bins), np.int64)
        for j, (values, _, missing, wrong) in enumerate(columns):
            finite = values
            with np.errstate(over="ignore", invalid="ignore"):
                total = float(values.sum())
            if not np.isfinite(total) and not np.isfinite(values).all():  # a finite sum has finite values only
                finite = values[np.isfinite(values)]
                nan = int(np.isnan(values).sum())
                self.count_invalid(self.numeric[j], "nan", nan)
                self.count_invalid(self.numeric[j], "inf", len(values) - len(finite) - nan)
            if missing or wrong:
                self.count_invalid(self.numeric[j], "missing", missing)
                self.count_invalid(self.numeric[j], "type", wrong)
            plain = self._floors[j] < 0 and finite is values and abs(total) < HUGE
            table.sums[j] += total if plain else _sum(finite, self._floors[j])
            block[j] = cumulative(values, self._feature_edges[j])
        block[:, 1:] -= block[:, :-1].copy()
        table.counts[: len(columns)] += block

    def _observe_categories(self, name: str, values: Column) -> None:
        codes = self.categories[name]
        counts = codes.count(values, self.caught)
        overflow, refused = codes.drain()
        if overflow:
            self._overflows.count((names.FEATURE_CATEGORY.name, "category"), overflow)
        for reason, n in refused.items():
            self.count_invalid(name, reason, n)
        for code, n in counts:
            if code == NONE_CODE:
                self.count_invalid(name, "missing", n)
            elif codes.names[code] != names.INVALID:
                self._categories.count((name, codes.names[code]), n)
            else:  # a category of this very name
                self.count_invalid(name, "type", n - sum(refused.values()))

    def count_invalid(self, feature: str, reason: str, n: int) -> None:
        """Count values in no bin; those that had a value of the wrong kind are refused values, too."""
        if n:
            self._invalid.count((feature, reason), n)
            if reason in ("nan", "type"):
                self.refuse("feature", reason, n)


def _present(codes: npt.NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return (code, how often) of the codes that occur."""
    counts = np.bincount(codes)
    return [(code, int(counts[code])) for code in np.flatnonzero(counts).tolist()]


def _column(rows: list[dict[str, Any]], name: str, caught: type[BaseException]) -> tuple[list[Any], int]:
    """Return the values of one feature, None where it is absent, and how many rows have the key."""
    try:
        values = list(map(dict.get, rows, repeat(name), repeat(_ABSENT)))
    except caught:  # another key's own __eq__
        values = [_value(row, name, caught) for row in rows]
    absent = sum(value is _ABSENT for value in values)
    return ([None if value is _ABSENT else value for value in values] if absent else values), len(rows) - absent


def _value(row: dict[str, Any], name: str, caught: type[BaseException]) -> Any:
    try:
        return row.get(name, _ABSENT)
    except caught:
        return _ABSENT


def _floor(edges: Sequence[float]) -> float:
    """Return what a value is taken as at least in a sum."""
    return -HUGE if can_fall(edges) else 0.0


def _sum(values: Floats, low: float) -> float:
    """Return the sum; of values so large that it would overflow, the sum of what they are within +-1e200."""
    if low == 0:
        values = values.clip(0.0)
    with np.errstate(over="ignore"):
        total = float(values.sum())
    return total if abs(total) < HUGE else float(values.clip(-HUGE, HUGE).sum())
