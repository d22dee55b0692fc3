"""The kernel: turns a chunk of raw events, or columns of a log, into counts.

All judging of values happens here, never in the caller.

What is in a column is told by `columns`; features are counted by `featurekernel`; requests, answers and labels here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from operator import is_not
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch import names
from modelwatch.columns import (
    HUGE,
    Column,
    Floats,
    Gapped,
    Numbers,
    Plain,
    cumulative,
    floor,
    numbers,
    per_bucket,
    present,
)
from modelwatch.events import CANCELLED, LabelCount
from modelwatch.featurekernel import FeatureKernel
from modelwatch.labels import NONE_CODE, Coded, LabelCodes, is_missing
from modelwatch.schema import ModelSchema
from modelwatch.tally import Labels, Table, Tally

__all__ = ["HUGE", "LONGEST_SECONDS", "Column", "Gapped", "Kernel", "Numbers", "Plain", "numbers"]

LONGEST_SECONDS = 86_400.0  # more is another unit or a fault of a clock; sums of nanoseconds must fit


class Kernel(FeatureKernel):
    """Folds events of one model version into `tally`. Not thread-safe: the recorder holds its lock."""

    def __init__(self, schema: ModelSchema) -> None:
        super().__init__(schema)
        tables = self.tally.tables
        self._requests, self._failed = tables[names.REQUESTS.name], tables[names.FAILED.name]
        self._errors, self._cancelled = tables[names.ERRORS.name], tables[names.CANCELLED.name]
        self._durations, self._confidences = tables[names.DURATION.name], tables[names.CONFIDENCE.name]
        self._predictions, self._values = tables.get(names.PREDICTIONS.name), tables.get(names.PREDICTION_VALUE.name)
        self._segments, self._low = tables[names.SEGMENTS.name], tables[names.LOW_CONFIDENCE.name]
        self._events = tables[names.EVENTS.name]
        self._latency_edges = np.array([*schema.latency, np.inf])
        self._confidence_edges = np.array([*schema.confidence, np.inf])
        self._value_edges = np.array([*schema.value_edges, np.inf])
        self._value_floor = floor(schema.value_edges)
        self._threshold = (f"{schema.threshold:g}",)
        cap = schema.cap
        self.endpoints, self.error_types = (
            LabelCodes(cap),
            LabelCodes(cap, (CANCELLED,)),
        )  # told apart above the cap, too
        self.classes, self.segments = LabelCodes(cap, schema.classes or ()), LabelCodes(cap)

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
            self._fold_feature_columns(features, absent)

    def fold_answers(self, answers: Sequence[tuple[Any, Any, float | None]]) -> None:
        """Count answers without a request: (prediction, confidence, threshold of a low confidence or None)."""
        self._events.count((), len(answers))
        predictions, confidences, thresholds = zip(*answers, strict=True)
        if self._predictions is not None:
            self._count_labels("prediction", names.PREDICTIONS, self.classes, self._predictions, predictions)
        else:
            assert self._values is not None
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
            for code, n in present(codes[chosen]):
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

    # -- caps -----------------------------------------------------------------------------------------

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
        seen = present(codes)
        for code, n in seen:
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
        if len(seen) == 1 and len(codes):
            self._observe_durations((self.endpoints.names[codes[0]],), seconds)
            return
        for code, _ in present(codes):
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
        else:
            assert self._values is not None
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
