"""Prometheus rules: the alerts of the catalogue, and recordings of the signals and objectives that dashboards read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from modelwatch import names
from modelwatch.alerts import ALWAYS_ON, Rule, objectives_for, rules_of
from modelwatch.alerts.state import HOLD_S
from modelwatch.alerts.words import amount, window_words
from modelwatch.generate.context import EVALUATE_S, SCRAPE_S, Context
from modelwatch.generate.text import duration, matcher, quoted, slug, template_text, yaml_text
from modelwatch.signals import (
    ERROR_RATIO,
    LATENCY_P95,
    PREDICTION_SHARE,
    REQUEST_RATE,
    SLOW_RATIO,
    Objectives,
    Signal,
)
from modelwatch.signals.core import MODEL, increase_from_birth, joined
from modelwatch.signals.drift import ANSWER_PSI, CATEGORY_DRIFT, FEATURE_KS, INVALID_EXCESS
from modelwatch.signals.quality import ACCURACY, ACCURACY_HIGH, LABELS_NEEDED, LOW_CONFIDENCE_RATIO
from modelwatch.signals.service import COST, COST_BURN, MUTED_S
from modelwatch.slo import Period, Slo, slos_of
from modelwatch.slo.burn import DAY_S, HOUR_S

Named = Mapping[str, Any]

SLO_EVERY_S = 300.0
#: What a held alert has for a value: its service is not heard of any more.
LOST = -1
#: Alerts that say themselves that something is not heard of.
OF_SILENCE = ("ServiceDown", "ReplicaDown", "MetricsAbsent", "CannotTell", ALWAYS_ON)
LONG = 1000  # characters of an expression that is recorded once instead of written everywhere
SERVICE, SERVICE_FILE = "service", "rules/service.yml"
TOPICS = {
    "DataDriftDetected": "drift", "ConceptDriftDetected": "drift", "MissingValues": "quality",
    "LowModelAccuracy": "quality", "SegmentAccuracyLow": "quality", "HighLowConfidencePredictions": "quality",
    "LabelStarvation": "quality", "SLOBurnRate": "objectives", "SLOBudgetExhausted": "objectives",
    "CannotTell": "monitor", "MonitorUnhealthy": "monitor",
}  # fmt: skip
PAGES = {
    "DataDriftDetected": "drift", "ConceptDriftDetected": "drift", "MissingValues": "drift",
    "LowModelAccuracy": "quality", "SegmentAccuracyLow": "quality", "HighLowConfidencePredictions": "quality",
    "LabelStarvation": "quality", "SLOBurnRate": "slos", "SLOBudgetExhausted": "slos",
}  # fmt: skip
_RECORD = re.compile(r"- record: (\S+:\S+:\S+)")
_SAMPLES = re.compile(r" \([^()]*\{samples\}[^()]*\)| of \{samples\}")


def files(context: Context) -> dict[str, str]:
    """Return the rule files: one of the service; of every model one for each topic, and the recordings."""
    made = {}
    of_service: dict[str, Rule] = {}
    for name in context.config.models:
        taken: dict[str, str] = {}
        counted: dict[str, str] = {}
        for topic, rules in by_topic(context, name).items():
            if topic == SERVICE:
                of_service |= {rule.name: rule for rule in rules}
                continue
            shared = _shared(context, rules, taken)
            taken |= shared
            labels = {MODEL: name}
            records = [
                {"record": record, "expr": _reading(value, taken, selector_of(name)), "labels": labels}
                for value, record in shared.items()
            ]
            alerts = (alert(context, rule, taken) for rule in rules)
            every = _once(name, [*records, *(each for each in alerts if each)], counted)
            group = _group(f"alerts {slug(name)} {topic}", EVALUATE_S, context, every)
            made[rule_file(name, topic)] = _text(context, [group])
        made[rule_file(name, "recording")] = _text(context, recordings(context, name, set(taken.values())))
    alerts = (alert(context, rule, {}) for rule in of_service.values())
    made[SERVICE_FILE] = _text(context, [_group("alerts service", SCRAPE_S, context, alerts)])
    return made


def rule_file(model: str, topic: str) -> str:
    """Return the path of the rules of a model and a topic."""
    return f"rules/{slug(model)}_{topic}.yml"


def by_topic(context: Context, model: str) -> dict[str, list[Rule]]:
    """Return the alerts of a model by topic."""
    found: dict[str, list[Rule]] = {}
    for rule in rules_of(context.config, model, context.references.get(model)):
        of_service = rule.condition.lead.signal.of_service
        found.setdefault(SERVICE if of_service else TOPICS.get(rule.name, "requests"), []).append(rule)
    return found


def _shared(context: Context, rules: list[Rule], taken: Mapping[str, str]) -> dict[str, str]:
    """Return {expression: record} of the long signals of these alerts: each is computed once for all of them."""
    found = {}
    for rule in rules:
        objectives = objectives_of(context, rule.model)
        for clause in rule.condition.clauses():
            window = f"{round(clause.window_s)}s"
            whole = clause.signal.promql(selector_of(rule.model), window, objectives) or ""
            if clause.offset_s or len(whole) < LONG:
                continue
            for part in (ACCURACY, ACCURACY_HIGH, clause.signal):  # the accuracy is in its own bounds, many times
                value = part.promql(selector_of(rule.model), window, objectives)
                if value is not None and value not in taken and (value == whole or f"({value})" in whole):
                    found[value] = record_name(part, clause.window_s)
    return found


def _reading(expression: str, shared: Mapping[str, str], selector: str) -> str:
    """Return an expression that reads what is recorded, the longest first."""
    for value, record in sorted(shared.items(), key=lambda item: -len(item[0])):
        expression = expression.replace(f"({value})", f"{record}{{{selector}}}")
    return expression


_SERIES = r"([a-z_:]+)\{((?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*)\}"
#: What `increase_from_birth` writes.
_COUNTED = re.compile(
    rf"sum by \(([a-z_, ]+)\) \(\(increase\({_SERIES}\[(\w+)\]\) and \2\{{\3\}} offset \4\) or "
    r"\(last_over_time\(\2\{\3\}\[\4\]\) unless \2\{\3\} offset \4\)\)"
)


def _once(model: str, rules: list[dict[str, Any]], counted: dict[str, str]) -> list[dict[str, Any]]:
    """Return rules that record an increase which several of them use, and then these, which read it.

    counted : {expression: record} of what is recorded already; what is new is added.
    """
    found = Counter(match.group(0) for rule in rules for match in _COUNTED.finditer(rule["expr"]))
    selector, records = selector_of(model), []
    for expression in (each for each, n in found.items() if n > 1 and each not in counted):
        match = _COUNTED.fullmatch(expression)
        assert match is not None
        by, metric, matchers, window = match.groups()
        extra = re.findall(r"\"((?:[^\"\\]|\\.)*)\"", matchers.removeprefix(selector))
        operation = "_".join(
            (f"increase_{duration(float(window[:-1]))}", *(re.sub(r"\W+", "_", value).strip("_") for value in extra))
        )
        counted[expression] = f"{_level(by.split(', '))}:{metric}:{operation}"
        records.append({"record": counted[expression], "expr": expression, "labels": {MODEL: model}})
    short = {expression: f"{record}{{{selector}}}" for expression, record in counted.items()}
    return [
        *records,
        *({**rule, "expr": _COUNTED.sub(lambda m: short.get(m.group(0), m.group(0)), rule["expr"])} for rule in rules),
    ]


def _level(labels: Iterable[str]) -> str:
    """Return the labels of a recording as the first part of its name."""
    return "_".join("model" if label == MODEL else label.removeprefix("model_") for label in labels)


def record_name(signal: Signal, window_s: float) -> str:
    """Return the name of a recorded signal, level:metric:operation.

    Examples
    --------
    >>> record_name(REQUEST_RATE, 300)
    'model:request_rate:5m'
    """
    return f"{_level((MODEL, *signal.labels))}:{signal.name}:{duration(round(window_s))}"


def _text(context: Context, groups: list[dict[str, Any]]) -> str:
    return context.header + yaml_text({"groups": [group for group in groups if group["rules"]]})


def _group(name: str, every_s: float, context: Context, rules: Iterable[Named | None]) -> dict[str, Any]:
    found = [rule for rule in rules if rule is not None]
    return {"name": name, "interval": duration(context.scaled(every_s)), "rules": found}


def selector_of(model: str) -> str:
    """Return the matcher of a model's series."""
    return matcher(MODEL, model)


def objectives_of(context: Context, model: str) -> Objectives:
    """Return the objectives of a model, with the constants of its rules."""
    return objectives_for(context.config, model, context.references.get(model))


# -- alerts ------------------------------------------------------------------------------------------------------------


def alert(context: Context, rule: Rule, shared: Mapping[str, str]) -> dict[str, Any] | None:
    """Return an alert of the catalogue as a rule of Prometheus; None without the objective that it needs.

    shared : {expression: record} of what is recorded.
    """
    selector = selector_of(rule.model)
    expression = rule.condition.promql(selector, objectives_of(context, rule.model))
    if expression is None:
        return None
    expression = _reading(expression, shared, selector)
    # the age of a version is no window of a clause, and is scaled like one
    expression = expression.replace(f"offset {MUTED_S}s", f"offset {round(context.scaled(MUTED_S))}s")
    held = rule.name not in OF_SILENCE
    labels = alert_labels(context, rule)
    made: dict[str, Any] = {"alert": rule.name, "expr": _held(context, rule, expression) if held else expression}
    if rule.for_s:
        made["for"] = duration(rule.for_s)
    if rule.keep_s:
        made["keep_firing_for"] = duration(rule.keep_s)
    made["labels"] = {name: template_text(value) for name, value in labels.items()}
    made["annotations"] = _annotations(context, rule, held=held)
    return made


def alert_labels(context: Context, rule: Rule) -> dict[str, str]:
    """Return the fixed labels of an alert."""
    service = context.config.service
    labels = {"severity": str(rule.severity), "service": service.name}
    if service.owner:
        labels["owner"] = service.owner
    if not rule.condition.lead.signal.of_service:
        labels[MODEL] = rule.model
    return {**labels, **rule.labels}


def _held(context: Context, rule: Rule, expression: str) -> str:
    """Return the expression, and while nothing is heard of the model, for an hour, that the alert was firing."""
    by = ", ".join((MODEL, *rule.condition.lead.signal.labels))
    fixed = {**alert_labels(context, rule), "alertname": rule.name, "alertstate": "firing"}
    firing = f"ALERTS{{{joined(*(matcher(name, value) for name, value in fixed.items()))}}}"
    info = f"{names.MODEL_INFO.name}{{{selector_of(rule.model)}}}"
    hour = duration(context.scaled(HOLD_S))
    return (
        f"{expression} or ((max by ({by}) ({firing}) * 0 {LOST:+d}) unless on ({MODEL}) {info} "
        f"and on ({MODEL}) last_over_time({info}[{hour}]))"
    )


def _annotations(context: Context, rule: Rule, *, held: bool) -> dict[str, str]:
    lead = rule.condition.lead
    words = _Words(
        {
            "model": template_text(context.config.service.name if lead.signal.of_service else rule.model),
            **{name: template_text(value) for name, value in rule.labels.items()},
            **{name: f"{{{{ $labels.{name} }}}}" for name in lead.signal.labels},
            "value": _value(lead.signal.unit, held=held),
            "limit": amount(lead.limit, lead.signal.unit),
            "window": window_words(lead.window_s),
        }
    )
    pages, grafana = (url.rstrip("/") for url in (context.places.pages_url, context.places.grafana_url))
    page = PAGES.get(rule.name, "health")
    of_model = "" if lead.signal.of_service else f"?var-model={{{{ urlquery {quoted(rule.model)} }}}}"
    return {
        "summary": _SAMPLES.sub("", rule.summary).format_map(words),
        "description": _SAMPLES.sub("", rule.description).format_map(words),
        "runbook_url": f"{pages}/runbooks/{rule.name}",
        "dashboard_url": f"{grafana}/d/modelwatch-{page}{of_model}",
    }


class _Words(dict[str, str]):
    """Values of a template; one that is not known reads as "?"."""

    def __missing__(self, key: str) -> str:
        return "?"


def _value(unit: str, *, held: bool) -> str:
    if unit == "ratio":
        shown = "{{ $value | humanizePercentage }}"
    else:
        digits = {"score": "%.3f", "times": "%.3g"}.get(unit, "%.4g")
        shown = f'{{{{ printf "{digits}" $value }}}} {"" if unit == "score" else unit}'.rstrip()
    if not held:
        return shown
    lost = "an unknown value, since nothing is heard of it,"
    return f"{{{{ if eq $value {LOST:.1f} }}}}{lost}{{{{ else }}}}{shown}{{{{ end }}}}"


# -- recordings --------------------------------------------------------------------------------------------------------


class Recorded(NamedTuple):
    """A signal that is recorded, and over which window."""

    signal: Signal
    window_s: float
    every_s: float = EVALUATE_S


def recorded(context: Context, model: str) -> list[Recorded]:
    """Return the signals of a model that are recorded; their windows are those of its alerts, not scaled."""
    config = context.config.models[model]
    made = [
        Recorded(REQUEST_RATE, 300), Recorded(ERROR_RATIO, 300), Recorded(SLOW_RATIO, 300), Recorded(LATENCY_P95, 300),
        Recorded(INVALID_EXCESS, HOUR_S), Recorded(LOW_CONFIDENCE_RATIO, HOUR_S), Recorded(COST, DAY_S, SLO_EVERY_S),
    ]  # fmt: skip
    if config.task == "classification":
        made += [
            Recorded(PREDICTION_SHARE, HOUR_S), Recorded(ACCURACY, DAY_S, SLO_EVERY_S),
            Recorded(ACCURACY_HIGH, DAY_S, SLO_EVERY_S),
        ]  # fmt: skip
    if model in context.references:
        made += [Recorded(s, config.drift.window_s, SLO_EVERY_S) for s in (FEATURE_KS, CATEGORY_DRIFT, ANSWER_PSI)]
    objectives = objectives_of(context, model)
    return [one for one in made if one.signal.promql("", "5m", objectives) is not None]


def recordings(context: Context, model: str, taken: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the groups of recording rules of a model, but those that are `taken`."""
    selector, objectives, labels = selector_of(model), objectives_of(context, model), {MODEL: model}
    scale = context.config.time_scale
    by_pace: dict[float, list[Named]] = {EVALUATE_S: [], SLO_EVERY_S: []}
    for one in recorded(context, model):
        window = f"{round(max(one.window_s / scale, 1))}s"
        expression = one.signal.promql(selector, window, objectives)
        name = record_name(one.signal, max(one.window_s / scale, 1))
        if name not in taken:
            by_pace[one.every_s].append({"record": name, "expr": expression, "labels": labels})
    if context.config.models[model].task == "classification":
        by_pace[SLO_EVERY_S] += _segments(context, model)
    by_pace[SLO_EVERY_S] += _of_the_brief(context, model)
    for slo in slos_of(context.config.models[model]):
        by_pace[SLO_EVERY_S] += _of_slo(context, model, slo)
    groups = [(f"signals {slug(model)}", EVALUATE_S), (f"objectives {slug(model)}", SLO_EVERY_S)]
    return [_group(name, pace, context, by_pace[pace]) for name, pace in groups]


def _of_the_brief(context: Context, model: str) -> Iterator[Named]:
    """Yield what `modelwatch serve` exports of drift and cost, under the same names."""
    config, selector = context.config.models[model], selector_of(model)

    def recorded_as(signal: Signal, window_s: float, *more: str) -> str:
        return f"{record_name(signal, max(window_s / context.config.time_scale, 1))}{{{joined(selector, *more)}}}"

    if model in context.references:
        features = (recorded_as(signal, config.drift.window_s) for signal in (FEATURE_KS, CATEGORY_DRIFT))
        yield _named(names.DRIFT_SCORE.name, f"max by ({MODEL}, feature_name) ({' or '.join(features)})", model)
        of = "value" if config.task == "regression" else "confidence"
        confidence, classes = (
            recorded_as(ANSWER_PSI, config.drift.window_s, matcher("of", each)) for each in (of, "classes")
        )
        yield _named(names.CONCEPT_PSI.name, f"max by ({MODEL}) ({confidence})", model)
        if config.task == "classification":
            yield _named(names.CLASS_PSI.name, f"max by ({MODEL}) ({classes})", model)
    if config.slos.cost:
        yield _named(names.COST.name, recorded_as(COST, DAY_S), model)


def _named(record: str, expression: str, model: str) -> Named:
    return {"record": record, "expr": expression, "labels": {MODEL: model}}


def records_of(context: Context) -> dict[str, list[str]]:
    """Return the names of what is recorded of the models, by signal."""
    found: dict[str, list[str]] = {}
    for text in files(context).values():
        for record in _RECORD.findall(text):
            signal = record.split(":")[1]
            if record not in found.setdefault(signal, []):
                found[signal].append(record)
    return found


def _segments(context: Context, model: str) -> Iterator[Named]:
    """Yield the accuracy of the whole sample and of its segments over a day, under the brief's name."""
    window = f"{round(max(DAY_S / context.config.time_scale, 1))}s"
    objectives, selector = objectives_of(context, model), selector_of(model)
    whole = ACCURACY.promql(selector, window, objectives)
    named = {MODEL: model, "segment": names.WHOLE_SAMPLE}
    yield {
        "record": names.ACCURACY.name,
        "expr": f"({whole}) and on ({MODEL}) ({ACCURACY.samples_promql(selector, window)}) >= {LABELS_NEEDED}",
        "labels": named,
    }
    by = f"{MODEL}, segment"
    inside = joined(selector, f'segment!="{names.UNSEGMENTED}"')
    right = increase_from_birth(names.LABELS.name, joined(inside, f'outcome="{names.CORRECT}"'), window, by)
    every = increase_from_birth(names.LABELS.name, inside, window, by)
    yield {
        "record": names.ACCURACY.name,
        "expr": f"({right} or {every} * 0) / ({every} >= {LABELS_NEEDED})",
        "labels": {MODEL: model},
    }


def _of_slo(context: Context, model: str, slo: Slo) -> Iterator[Named]:
    """Yield the compliance of an objective, what is left of its budget, and how fast it goes."""
    selector, objectives, scale = selector_of(model), objectives_of(context, model), context.config.time_scale
    labels = {MODEL: model, "slo_type": slo.kind}
    signal = COST_BURN if slo.budget is None else slo.ratio
    if signal is None:
        return
    budget = 1.0 if slo.budget is None else slo.budget

    def over(seconds: float) -> str:
        return f"({signal.promql(selector, f'{round(max(seconds / scale, 1))}s', objectives)})"

    whole = over(Period.of_model(context.config.models[model]).days_s)
    compliance = f"100 / clamp_min({whole}, 1)" if slo.budget is None else f"100 * (1 - {whole})"
    yield {"record": names.COMPLIANCE.name, "expr": compliance, "labels": labels}
    yield {"record": names.BUDGET_LEFT.name, "expr": f"1 - {whole} / {budget!r}", "labels": labels}
    for seconds in (HOUR_S, 6 * HOUR_S, DAY_S, 3 * DAY_S):
        name = f"model_slo_type:slo_burn_rate:{duration(seconds)}"
        yield {"record": name, "expr": f"{over(seconds)} / {budget!r}", "labels": labels}
