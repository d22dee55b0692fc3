"""The reference profile as series, so that Prometheus can compare with it what is counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise
from math import inf
from operator import attrgetter, itemgetter

from modelwatch import names
from modelwatch.exposition import GaugeValue, gauge_lines
from modelwatch.names import Metric, number
from modelwatch.reference import CategoricalProfile, NumericProfile, Profile, Reference, invalid_before
from modelwatch.schema import CONFIDENCE_EDGES, ModelSchema
from modelwatch.tally import Tally

_ORDER = (
    names.FEATURE_REFERENCE_CDF, names.FEATURE_REFERENCE_SAMPLES, names.FEATURE_REFERENCE_INVALID,
    names.CATEGORY_REFERENCE_SHARE, names.CONFIDENCE_REFERENCE_CDF, names.VALUE_REFERENCE_CDF,
    names.PREDICTION_REFERENCE_SHARE, names.PREDICTION_REFERENCE_SAMPLES,
)  # fmt: skip


def reference_series(model: str, version: str, reference: Reference) -> list[GaugeValue]:
    """Return the series of a profile, those of one metric together.

    Of every numeric profile the cumulative shares at the exported edges, and its size; of categories their shares.
    """
    found = [*_features(reference), *_predictions(reference)]
    constant = {"model_name": model, "model_version": version}
    ranked = sorted(found, key=lambda gauge: _ORDER.index(gauge.metric))
    return [GaugeValue(gauge.metric, gauge.value, {**constant, **gauge.labels}) for gauge in ranked]


def reference_page(profiles: Iterable[tuple[tuple[str, str], Reference]], *, openmetrics: bool = False) -> bytes:
    """Return the families of the profiles of all models, of each ((model, version), profile), for the exposition.

    They never change while a service runs, so that they are made once.
    """
    found = [
        gauge for key, reference in sorted(profiles, key=itemgetter(0)) for gauge in reference_series(*key, reference)
    ]
    found.sort(key=lambda gauge: _ORDER.index(gauge.metric))
    families = groupby(found, attrgetter("metric"))
    return b"".join([gauge_lines(metric, gauges, openmetrics=openmetrics) for metric, gauges in families])


def comparable(reference: Reference, schema: ModelSchema) -> Reference:
    """Return the part of a profile that has counts to be compared with: the same features, on the same bins."""
    confidence, prediction = reference.confidence, reference.prediction
    if confidence is not None and not set(confidence.exported) <= {*CONFIDENCE_EDGES, schema.threshold}:
        confidence = None
    if isinstance(prediction, CategoricalProfile) == (schema.classes is None):
        prediction = None
    if isinstance(prediction, NumericProfile) and not set(prediction.exported) <= set(schema.value_edges):
        prediction = None
    numeric = {
        name: profile
        for name, profile in reference.numeric.items()
        if name in schema.numeric and schema.numeric[name][1] == profile.exported
    }
    categorical = {name: profile for name, profile in reference.categorical.items() if name in schema.categorical}
    return replace(reference, numeric=numeric, categorical=categorical, confidence=confidence, prediction=prediction)


def inclusion_series(model: str, version: str, tally: Tally) -> list[GaugeValue]:
    """Return, of every inclusion probability that labels were counted under, the number that its name stands for."""
    table = tally.tables.get(names.LABELS_BY_INCLUSION.name)
    known = dict.fromkeys(labels[0] for labels in table.rows) if table else {}
    constant = {"model_name": model, "model_version": version}
    return [
        GaugeValue(names.LABEL_INCLUSION, float(text), {**constant, "inclusion": text})
        for text in known
        if text != names.OTHER
    ]


def _features(reference: Reference) -> Iterator[GaugeValue]:
    profiles: dict[str, Profile] = {**reference.numeric, **reference.categorical}
    for name, profile in profiles.items():
        of = {"feature_name": name}
        if isinstance(profile, NumericProfile):
            yield from _cdf(names.FEATURE_REFERENCE_CDF, profile, of)
        else:
            for category, n in profile.counts.items():
                labels = {**of, "category": category}
                yield GaugeValue(names.CATEGORY_REFERENCE_SHARE, n / max(profile.size, 1), labels)
        yield GaugeValue(names.FEATURE_REFERENCE_SAMPLES, profile.size, of)
        yield GaugeValue(names.FEATURE_REFERENCE_INVALID, invalid_before(profile), of)


def _predictions(reference: Reference) -> Iterator[GaugeValue]:
    prediction, confidence = reference.prediction, reference.confidence
    if confidence is not None:
        yield from _cdf(names.CONFIDENCE_REFERENCE_CDF, confidence, {})
        yield GaugeValue(names.PREDICTION_REFERENCE_SAMPLES, confidence.size, {"of": "confidence"})
    if isinstance(prediction, NumericProfile):
        yield from _cdf(names.VALUE_REFERENCE_CDF, prediction, {})
        yield GaugeValue(names.PREDICTION_REFERENCE_SAMPLES, prediction.size, {"of": "value"})
    elif prediction is not None:
        for name, n in prediction.counts.items():
            yield GaugeValue(names.PREDICTION_REFERENCE_SHARE, n / max(prediction.size, 1), {"predicted_class": name})
        yield GaugeValue(names.PREDICTION_REFERENCE_SAMPLES, prediction.size, {"of": "classes"})


def _cdf(metric: Metric, profile: NumericProfile, labels: dict[str, str]) -> Iterator[GaugeValue]:
    counts: Sequence[int] = profile.shown_counts
    edges = pairwise((-inf, *profile.exported, inf))
    for (lower, upper), upto in zip(edges, accumulate(counts), strict=True):
        share = upto / max(profile.size, 1)
        yield GaugeValue(metric, share, {**labels, "upper": number(upper), "lower": number(lower)})
