"""Alerts of what the model answers and is asked: accuracy, confidence, drift, missing values."""

from __future__ import annotations

from collections.abc import Iterator

from modelwatch.alerts.conditions import All, AnyOf, Clause, Condition
from modelwatch.alerts.rule import KEEP_DRIFT_S, KEPT_FOR_REVIEW, MINUTE_S, Rule, Severity, level_of
from modelwatch.config import ModelConfig
from modelwatch.reference import Reference
from modelwatch.signals import (
    Signal,
)
from modelwatch.signals.drift import (
    ANSWER_CERTAINTY,
    ANSWER_PSI,
    CATEGORY_CERTAINTY,
    CATEGORY_DRIFT,
    FEATURE_CERTAINTY,
    FEATURE_KS,
    INVALID_EXCESS,
)
from modelwatch.signals.quality import ACCURACY_HIGH, LABELS, LOW_CONFIDENCE_RATIO, SAMPLES, SEGMENT_ACCURACY_HIGH
from modelwatch.signals.service import (
    SEASONED,
)
from modelwatch.slo.burn import DAY_S, HOUR_S


def accuracy(model: ModelConfig, _reference: Reference | None) -> Iterator[Rule]:
    """Yield those of labels that say the model is wrong."""
    if model.task == "regression":
        return
    name = "LowModelAccuracy"
    levels: tuple[tuple[Severity, str, float, float], ...] = (
        ("critical", "critical", DAY_S, 30 * MINUTE_S),
        ("critical", "catastrophic", 6 * HOUR_S, 5 * MINUTE_S),
        ("warning", "warning", DAY_S, 30 * MINUTE_S),
    )
    for severity, level, window_s, for_s in levels:
        limit = level_of(model, name, level)
        if limit is None:
            continue
        yield Rule(
            name, severity, model.name, Clause(ACCURACY_HIGH, window_s, "<", limit),
            "{model}: accuracy is surely below {limit}",
            "By the labels of the last {window} the accuracy of {model} is at most {value}; it should be {limit} "
            "({samples} labels).",
            for_s, labels={"level": level} if level == "catastrophic" else {}, urgency=float(level == "catastrophic"),
        )  # fmt: skip
    limit = level_of(model, "SegmentAccuracyLow", "warning")
    if limit is not None and model.ground_truth.strategy == "uniform":
        yield Rule(
            "SegmentAccuracyLow", "warning", model.name, Clause(SEGMENT_ACCURACY_HIGH, DAY_S, "<", limit),
            "{model}: accuracy of {segment} is surely below {limit}",
            "By the labels of the last {window} the accuracy of {model} on {segment} is at most {value}; it should be "
            "{limit} ({samples} labels).",
            for_s=30 * MINUTE_S,
        )  # fmt: skip


def confidence(model: ModelConfig, _reference: Reference | None) -> Iterator[Rule]:
    """Yield those of unsure predictions and of missing labels."""
    severities: tuple[Severity, ...] = ("warning", "info")
    for severity in severities:
        limit = level_of(model, "HighLowConfidencePredictions", severity)
        if limit is not None:
            yield Rule(
                "HighLowConfidencePredictions", severity, model.name,
                Clause(LOW_CONFIDENCE_RATIO, HOUR_S, ">", limit), "{model} is unsure of {value} of its predictions",
                f"{{value}} of the predictions of {{model}} in the last {{window}} have a confidence below "
                f"{model.low_confidence:g}; the limit is {{limit}} ({{samples}} predictions).",
                for_s=HOUR_S,
            )  # fmt: skip
    condition = All((Clause(LABELS, 3 * DAY_S, "<=", 0), Clause(SAMPLES, 3 * DAY_S, ">=", KEPT_FOR_REVIEW)))
    yield Rule(
        "LabelStarvation", "info", model.name, condition, "{model}: nobody labels its samples",
        "No label came in the last {window}, though predictions of {model} wait for review: its accuracy is not known.",
        for_s=DAY_S,
    )  # fmt: skip


# -- drift ------------------------------------------------------------------------------------------------------------


def _certain(score: Signal, certainty: Signal, window_s: float, limit: float) -> All:
    return All(
        (
            Clause(score, window_s, ">=", limit),
            Clause(certainty, window_s, ">=", 1.0),
            Clause(SEASONED, window_s, ">", 0),
        )
    )


def drift(model: ModelConfig, reference: Reference | None) -> Iterator[Rule]:
    """Yield those of inputs and answers that are not as in training, and of missing values."""
    if reference is not None and reference.numeric:
        yield from _drifts(model, "DataDriftDetected", FEATURE_KS, FEATURE_CERTAINTY, "feature_name")
    if reference is not None and reference.categorical:
        yield from _drifts(model, "DataDriftDetected", CATEGORY_DRIFT, CATEGORY_CERTAINTY, "feature_name")
    if reference is not None and (reference.prediction is not None or reference.confidence is not None):
        yield from _drifts(model, "ConceptDriftDetected", ANSWER_PSI, ANSWER_CERTAINTY, "of")
    limit = level_of(model, "MissingValues", "warning")
    if limit is not None and model.features:
        yield Rule(
            "MissingValues", "warning", model.name, Clause(INVALID_EXCESS, HOUR_S, ">", limit),
            "{model}: values of {feature_name} are missing",
            "The share of {feature_name} that is missing or no value is above that of training by at least {value} in "
            "the last {window}; the limit is {limit} ({samples} values, version {model_version}).",
            for_s=15 * MINUTE_S,
        )  # fmt: skip


def _drifts(model: ModelConfig, name: str, score: Signal, certainty: Signal, label: str) -> Iterator[Rule]:
    kind = {"kind": score.name}
    what = "{feature_name}" if label == "feature_name" else "The {of} of the predictions"
    summary = f"{{model}}: {what if label == 'feature_name' else 'the answers ({of})'} drifted"
    text = (
        f"{what} is not distributed as in training: a score of {{value}} over the last {{window}}; the limit is "
        "{limit} ({samples} values, version {model_version})."
    )
    drift = model.drift
    slight: tuple[Severity, ...] = ("info", "warning")
    for severity in slight:
        limit = level_of(model, name, severity)
        if limit is not None:
            condition = _certain(score, certainty, drift.window_s, limit)
            yield Rule(name, severity, model.name, condition, summary, text, 5 * MINUTE_S, KEEP_DRIFT_S, kind)
    limit = level_of(model, name, "critical")
    if limit is None:
        return
    severe = _certain(score, certainty, drift.severe_window_s, limit)
    labels = {**kind, "drift": "severe"}
    yield Rule(
        name, "warning", model.name, severe, f"{summary} severely", text, 5 * MINUTE_S, KEEP_DRIFT_S, labels, 1.0
    )
    worse: Condition | None = severe if drift.pages else _with_harm(model, severe, label)
    if worse is not None:
        text = text if drift.pages else f"{text} Beside it the accuracy is below its objective, or values are missing."
        yield Rule(
            name, "critical", model.name, worse, f"{summary} severely", text, 5 * MINUTE_S, KEEP_DRIFT_S, labels, 1.0
        )


def _with_harm(model: ModelConfig, severe: All, label: str) -> Condition | None:
    """Return severe drift together with its harm: an accuracy below its bound, or a broken schema."""
    accuracy = level_of(model, "LowModelAccuracy", "warning")
    missing = level_of(model, "MissingValues", "warning")
    harmed: list[Condition] = []
    if accuracy is not None:
        harmed.append(All((*severe.parts, Clause(ACCURACY_HIGH, DAY_S, "<", accuracy))))
    if missing is not None and label == "feature_name":
        harmed.append(All((*severe.parts, Clause(INVALID_EXCESS, HOUR_S, ">", missing))))
    return AnyOf(tuple(harmed)) if harmed else None
