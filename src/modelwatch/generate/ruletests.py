"""Unit tests of the alert rules for promtool: each fires on a story just beyond its limit, and not on one below."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from modelwatch import names
from modelwatch.alerts import Rule
from modelwatch.config import ModelConfig
from modelwatch.generate import rules
from modelwatch.generate.context import Context
from modelwatch.generate.rules import SERVICE, SERVICE_FILE, alert_labels, by_topic, rule_file
from modelwatch.generate.text import duration, matcher, yaml_text
from modelwatch.names import number
from modelwatch.schema import latency_edges
from modelwatch.signals.core import MODEL, VERSION, joined
from modelwatch.slo.burn import DAY_S

MINUTE_S = 60.0
STEPS_S = (60.0, 300.0, 900.0, 3600.0, 21_600.0)  # of the tests; the longest that the shortest window of a rule allows
PER_WINDOW = 4  # steps in the shortest window
LONGEST = 200  # steps that a test may look back
CALM, STORM = 3, 20  # steps: of health before, and of an incident that outweighs it
RATE = 1000.0  # events a minute
MORE = 0.05  # of requests that fail, where none did the day before
INCLUSION = "0.1"

_RECORD = re.compile(r"- record: (\S+)")
LOOKS_BACK_S = {"LatencyTrend": DAY_S}  # where a signal itself compares with an earlier time

OF_ABSENCE = ("ServiceDown", "MetricsAbsent")  # these fire when their series are gone

Labels = Mapping[str, str]


class Course(NamedTuple):
    """A series before and during an incident: counts a minute, or the level of a gauge; None: it is not there."""

    name: str
    labels: Labels
    before: float | None
    during: float | None
    is_gauge: bool = False


Story = list[Course]


def files(context: Context) -> dict[str, str]:
    """Return the tests of the alerts, a file for each model, topic and pace."""
    texts = rules.files(context)
    made, first = {}, next(iter(context.config.models))
    for name, model in context.config.models.items():
        for topic, alerts in by_topic(context, name).items():
            if topic == SERVICE and name != first:
                continue
            by_pace: dict[float, list[Mapping[str, Any]]] = {}
            for rule in alerts:
                step_s = _step(rule, context.config.time_scale)
                looks_back = LOOKS_BACK_S.get(rule.name, 0.0)
                of_minutes = looks_back > LONGEST * step_s  # a day of minutes would take promtool minutes
                if rule.name in STORIES and not (looks_back and (context.config.time_scale != 1 or of_minutes)):
                    by_pace.setdefault(step_s, []).extend(_tests(context, model, rule, step_s))
            file = SERVICE_FILE if topic == SERVICE else rule_file(name, topic)
            needed = [other for other in texts if other == file or _reads(texts[file], texts[other])]
            for step_s, tests in sorted(by_pace.items()):
                pace = duration(round(step_s * context.config.time_scale))
                path = file.replace("rules/", "tests/").replace(".yml", f"_{pace}.yml")
                every = duration(step_s)
                whole = {"rule_files": [f"../{each}" for each in needed], "evaluation_interval": every, "tests": tests}
                made[path] = context.header + yaml_text(whole)
    return made


def _reads(text: str, other: str) -> bool:
    """Return whether rules read what other rules record."""
    return any(f"{record}{{" in text for record in _RECORD.findall(other))


def _step(rule: Rule, scale: float) -> float:
    """Return how far apart samples and evaluations are, in seconds."""
    shortest = min(clause.window_s for clause in rule.condition.clauses()) * scale
    return max([step for step in STEPS_S if step * PER_WINDOW <= shortest] or [STEPS_S[0]]) / scale


def _tests(context: Context, model: ModelConfig, rule: Rule, step_s: float) -> Iterator[Mapping[str, Any]]:
    clauses = rule.condition.clauses()
    looks_back = LOOKS_BACK_S.get(rule.name, max(clause.offset_s for clause in clauses))
    longest = max(clause.window_s for clause in clauses)
    calm = round((looks_back + longest) / step_s) + CALM if looks_back else CALM
    storm = calm + min(round(longest / step_s), _storm(rule.condition.lead.limit)) + round(rule.for_s / step_s) + CALM
    fixed = {**alert_labels(context, rule), "alertname": rule.name, "alertstate": "firing"}
    firing = f"count(ALERTS{{{joined(*(matcher(name, value) for name, value in fixed.items()))}}}) or vector(0)"
    told = STORIES[rule.name]
    stories = (
        ("beyond its limit", told(model, rule, True), True),
        ("below its limit", told(model, rule, False), False),
        (
            "without its series",
            [each._replace(during=None) for each in told(model, rule, False)],
            rule.name in OF_ABSENCE,
        ),
    )
    for words, story, fires in stories:
        yield {
            "name": f"{rule.name} ({rule.severity}) {words}",
            "interval": duration(step_s),
            "input_series": [_series(context, model, course, calm, storm, step_s) for course in story],
            "promql_expr_test": [
                {"expr": firing, "eval_time": duration(calm * step_s), "exp_samples": [{"labels": "{}", "value": 0}]},
                {
                    "expr": firing,
                    "eval_time": duration(storm * step_s),
                    "exp_samples": [{"labels": "{}", "value": int(fires)}],
                },
            ],
        }


def _storm(limit: float) -> int:
    """Return after how many steps a share that is beyond a limit is that over the whole window, the calm included."""
    if not 0 < limit < 1:
        return STORM
    part = limit / _beyond(limit, beyond=True)
    return max(STORM, math.ceil(CALM * part / (1 - part)) + CALM)


def _series(
    context: Context, model: ModelConfig, course: Course, calm: int, storm: int, step_s: float
) -> dict[str, str]:
    of_model = {} if course.name == "up" else {MODEL: model.name, VERSION: model.version}
    labels = {"job": context.config.service.name, "instance": "a:1", **of_model, **course.labels}
    series = f"{course.name}{{{joined(*(matcher(name, value) for name, value in labels.items()))}}}"
    n, m = calm, storm - calm
    if course.is_gauge:
        parts = [_level(course.before, n), _level(course.during, m - 1)]
    else:
        minutes = step_s * context.config.time_scale / MINUTE_S
        before, during = (None if rate is None else rate * minutes for rate in (course.before, course.during))
        at = (before or 0.0) * n
        parts = [
            f"_x{n}" if before is None else f"0+{before:.10g}x{n}",
            f"_x{m - 1}" if during is None else f"{at + during:.10g}+{during:.10g}x{m - 1}",
        ]
    return {"series": series, "values": " ".join(parts)}


def _level(value: float | None, n: int) -> str:
    return f"stale _x{n}" if value is None else f"{value:.10g}+0x{n}"


# -- stories -----------------------------------------------------------------------------------------------------------


def _info() -> Course:
    return Course(names.MODEL_INFO.name, {}, 1, 1, is_gauge=True)


def _beyond(limit: float, *, beyond: bool) -> float:
    """Return a share that is beyond a limit, or below it."""
    return min(limit * 1.25, (1 + limit) / 2) if beyond else limit * 0.8


def _requests(failed: float = 0.0, rate: float = RATE, before: float = RATE) -> Story:
    at = {"endpoint": "/predict"}
    return [
        _info(),
        Course(names.REQUESTS.name, at, before, rate),
        Course(names.CANCELLED.name, at, 0, 0),
        Course(names.FAILED.name, at, 0, failed * rate),
    ]


def _durations(model: ModelConfig, slow: float, above: float, before: float = 0.0) -> Story:
    """Return the durations of requests, a share of them above an edge."""
    slo = model.slos.latency
    edges = latency_edges([slo.threshold_s] if slo else [])
    made = [Course(f"{names.DURATION.name}_count", {"endpoint": "/predict"}, RATE, RATE)]
    for edge in (*edges, float("inf")):
        shares = (1 - before, 1 - slow) if edge <= above else (1.0, 1.0)
        labels = {"endpoint": "/predict", "le": number(edge)}
        made.append(Course(f"{names.DURATION.name}_bucket", labels, RATE * shares[0], RATE * shares[1]))
    return [*_requests(), *made]


def _high_error_rate(_model: ModelConfig, rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    if "trend" in rule.labels:
        return _requests(MORE if beyond else 0.0)
    return _requests(_beyond(rule.condition.lead.limit, beyond=beyond))


def _high_latency(model: ModelConfig, rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    edge = float(rule.condition.lead.signal.name.removeprefix("slower_than_").removesuffix("s"))
    return _durations(model, _beyond(rule.condition.lead.limit, beyond=beyond), edge)


def _latency_trend(model: ModelConfig, rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    slo = model.slos.latency
    assert slo is not None
    ratio = rule.condition.clauses()[1].limit
    return _durations(model, _beyond(ratio, beyond=beyond), slo.threshold_s, ratio / 2)


def _labels(right: float, rate: float = RATE, before: float = RATE) -> Story:
    """Return labels that come in, a share of them right; before it was nearly all."""
    made = [
        _info(),
        Course(names.LABEL_INCLUSION.name, {"inclusion": INCLUSION}, 0.1, 0.1, is_gauge=True),
        Course(names.SAMPLES.name, {}, RATE, RATE),
    ]
    for outcome, first, then in ((names.CORRECT, 0.99, right), (names.WRONG, 0.01, 1 - right)):
        said = {"outcome": outcome}
        made.append(
            Course(names.LABELS_BY_INCLUSION.name, {"inclusion": INCLUSION, **said}, first * before, then * rate)
        )
        made.append(Course(names.LABELS.name, {"segment": "a", **said}, first * before, then * rate))
    return made


def _low_accuracy(_model: ModelConfig, rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    limit = rule.condition.lead.limit
    return _labels(limit * 0.9 if beyond else (1 + limit) / 2)


def _low_confidence(model: ModelConfig, rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    low = {"threshold": f"{model.low_confidence:g}"}
    share = _beyond(rule.condition.lead.limit, beyond=beyond)
    return [
        _info(),
        Course(f"{names.CONFIDENCE.name}_count", {}, RATE, RATE),
        Course(names.LOW_CONFIDENCE.name, low, 0, RATE * share),
    ]


def _missing(model: ModelConfig, rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    feature, kind = next(iter(model.features.items()))
    share = _beyond(rule.condition.lead.limit, beyond=beyond)
    missing = Course(names.FEATURE_INVALID.name, {"feature_name": feature, "reason": "missing"}, 0, RATE * share)
    if kind == "numeric":
        name, labels = f"{names.FEATURE_VALUE.name}_bucket", {"feature_name": feature, "le": "+Inf"}
    else:
        name, labels = names.FEATURE_CATEGORY.name, {"feature_name": feature, "category": "a"}
    return [_info(), missing, Course(name, labels, RATE, RATE * (1 - share))]


def _starvation(_model: ModelConfig, _rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    return _labels(0.99, rate=0 if beyond else 1)


def _traffic_stopped(_model: ModelConfig, _rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    return _requests(rate=0 if beyond else 1)


def _absent(_model: ModelConfig, _rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    return [Course(names.MODEL_INFO.name, {}, 1, None if beyond else 1, is_gauge=True)]


def _slices(slo: str, outcome: str, share: float) -> Story:
    return [
        _info(),
        Course(names.SLICES.name, {"slo": slo, "outcome": names.GOOD}, RATE, RATE * (1 - share)),
        Course(names.SLICES.name, {"slo": slo, "outcome": outcome}, 0, RATE * share),
    ]


def _of_objective(model: ModelConfig, rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    share = _beyond(rule.condition.lead.limit, beyond=beyond)
    kind, slos = rule.labels["slo"], model.slos
    if kind == "latency" and slos.latency:
        return _durations(model, share, slos.latency.threshold_s)
    if kind == "error_rate":
        return _requests(share)
    if kind == "accuracy":
        return _labels(1 - share)
    if kind == "cost" and slos.cost:
        allowed = slos.cost.objective * RATE / 1000 / slos.cost.hourly * 3600
        return [*_requests(), Course(names.REPLICA_SECONDS.name, {}, 0, allowed * (1.25 if beyond else 0.8))]
    return _slices(kind, names.BAD, share)


def _cannot_tell(model: ModelConfig, rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    if rule.labels["what"] == "availability":
        return _slices("availability", names.UNKNOWN, _beyond(rule.condition.lead.limit, beyond=beyond))
    feature = next(iter(model.features), "a")
    cdf = Course(
        names.FEATURE_REFERENCE_CDF.name, {"feature_name": feature, "upper": "1.0", "lower": "-Inf"}, 1, 1,
        is_gauge=True,
    )  # fmt: skip
    name = f"{names.FEATURE_VALUE.name}_bucket"
    own, other = ({"feature_name": feature, "le": edge} for edge in ("1.0", "2.0"))
    return [
        _info(),
        cdf,
        Course(name, own, RATE, None if beyond else RATE),
        Course(name, other, None, RATE if beyond else None),
    ]


def _faults(_model: ModelConfig, _rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    return [
        _info(),
        Course(names.EVENTS.name, {}, RATE, RATE),
        Course(names.INTERNAL_ERRORS.name, {"where": "fold"}, 0, 1 if beyond else 0),
    ]


def _down(_model: ModelConfig, _rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    other = Course("up", {"instance": "b:1"}, 1, 0 if beyond else 1, is_gauge=True)
    return [Course("up", {}, 1, 0, is_gauge=True), other]


def _one_down(_model: ModelConfig, _rule: Rule, beyond: bool) -> Story:  # noqa: FBT001
    other = Course("up", {"instance": "b:1"}, 1, 0 if beyond else 1, is_gauge=True)
    return [Course("up", {}, 1, 1, is_gauge=True), other]


#: Drift has tests of its own.
STORIES: Mapping[str, Callable[[ModelConfig, Rule, bool], Story]] = {
    "HighErrorRate": _high_error_rate, "HighLatencyP95": _high_latency, "LatencyTrend": _latency_trend,
    "ServiceDown": _down, "ReplicaDown": _one_down, "TrafficStopped": _traffic_stopped, "MetricsAbsent": _absent,
    "LowModelAccuracy": _low_accuracy, "SegmentAccuracyLow": _low_accuracy,
    "HighLowConfidencePredictions": _low_confidence, "MissingValues": _missing, "LabelStarvation": _starvation,
    "SLOBurnRate": _of_objective, "SLOBudgetExhausted": _of_objective, "CannotTell": _cannot_tell,
    "MonitorUnhealthy": _faults,
}  # fmt: skip
