"""What an evaluation found, as Prometheus reads it: accuracy, drift, objectives and alerts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from modelwatch import names
from modelwatch.exposition import GaugeValue, Page
from modelwatch.names import Metric
from modelwatch.serve.evaluator import Evaluator
from modelwatch.signals import Look, Measure, Signal
from modelwatch.signals.drift import ANSWER_PSI, CATEGORY_DRIFT, FEATURE_KS
from modelwatch.signals.quality import ACCURACY, LABELS_NEEDED
from modelwatch.signals.service import COST
from modelwatch.slo import SloStatus
from modelwatch.slo.burn import DAY_S

ORDER = (
    names.ACCURACY, names.DRIFT_SCORE, names.DRIFT_ALERTS, names.CONCEPT_PSI, names.CLASS_PSI, names.COMPLIANCE,
    names.BUDGET_LEFT, names.COST, names.ALERTS_FIRING, names.EVALUATION_AGE, names.REPLICA_UP,
)  # fmt: skip


def page(evaluator: Evaluator, slos: Mapping[str, Sequence[SloStatus]], scale: float, *, openmetrics: bool) -> bytes:
    """Return the exposition.

    slos : how the objectives stand, by model.
    scale : divides the windows.
    """
    found = [*_of_models(evaluator, DAY_S / scale), *_of_slos(slos), *_of_itself(evaluator)]
    return Page().render([], sorted(found, key=lambda one: ORDER.index(one.metric)), openmetrics=openmetrics)


def _of_models(evaluator: Evaluator, window_s: float) -> Iterator[GaugeValue]:
    for model, one in evaluator.known().items():
        look, labels = one.look, {"model_name": model, "model_version": one.look.version}
        yield from _known(look, ACCURACY, window_s, names.ACCURACY, {**labels, "segment": names.WHOLE_SAMPLE})
        yield from _segments(look, window_s, labels)
        for signal in (FEATURE_KS, CATEGORY_DRIFT):
            yield from _each(look, signal, window_s, names.DRIFT_SCORE, labels, "feature_name")
        answers = {
            of: Measure(*m).value for (v, of), m in look.measure(ANSWER_PSI, window_s).items() if v == look.version
        }
        concept = answers.get("value" if "value" in answers else "confidence")  # a regression may have both
        for metric, value in ((names.CLASS_PSI, answers.get("classes")), (names.CONCEPT_PSI, concept)):
            if value is not None:
                yield GaugeValue(metric, value, labels)
        yield from _known(look, COST, window_s, names.COST, labels)
    for (model, alert, feature, severity), n in sorted(evaluator.fired.items()):
        if alert == "DataDriftDetected":
            yield GaugeValue(
                names.DRIFT_ALERTS, n, {"model_name": model, "feature_name": feature, "severity": severity}
            )


def _known(look: Look, signal: Signal, window_s: float, metric: Metric, labels: dict[str, str]) -> Iterator[GaugeValue]:
    for found in look.measure(signal, window_s).values():
        outcome, _ = signal.judge(found)
        value = Measure(*found).value
        if outcome == "ok" and value is not None:
            yield GaugeValue(metric, value, labels)


def _each(
    look: Look, signal: Signal, window_s: float, metric: Metric, labels: dict[str, str], name: str
) -> Iterator[GaugeValue]:
    """Yield what can be told of each feature or segment; of the newest version only."""
    for values, found in look.measure(signal, window_s).items():
        of = dict(zip(signal.labels, values, strict=False))
        outcome, _ = signal.judge(found)
        value = Measure(*found).value
        if outcome == "ok" and value is not None and of.get("model_version", look.version) == look.version:
            yield GaugeValue(metric, value, {**labels, name: of[name]})


def _segments(look: Look, window_s: float, labels: dict[str, str]) -> Iterator[GaugeValue]:
    counts = look.counts(window_s)
    table = None if counts is None else counts.table(names.LABELS)
    if table is None:
        return
    for segment in sorted({segment for segment, _ in table.rows}):
        right, wrong = (table.value((segment, outcome)) for outcome in (names.CORRECT, names.WRONG))
        if right + wrong >= LABELS_NEEDED and segment != names.UNSEGMENTED:
            yield GaugeValue(names.ACCURACY, right / (right + wrong), {**labels, "segment": segment})


def _of_slos(slos: Mapping[str, Sequence[SloStatus]]) -> Iterator[GaugeValue]:
    for model, statuses in slos.items():
        for status in statuses:
            labels = {"model_name": model, "slo_type": status.slo}
            if status.compliance is not None:
                yield GaugeValue(names.COMPLIANCE, 100 * status.compliance, labels)
            if status.remaining is not None:
                yield GaugeValue(names.BUDGET_LEFT, status.remaining, labels)


def _of_itself(evaluator: Evaluator) -> Iterator[GaugeValue]:
    firing = dict.fromkeys(("critical", "warning", "info"), 0)
    known = evaluator.known()
    for one in known.values():
        for verdict in one.evaluation.firing:
            firing[verdict.rule.severity] += 1
    for severity, n in firing.items() if known else ():
        yield GaugeValue(names.ALERTS_FIRING, n, {"severity": severity})
    age = evaluator.state()["evaluated_s_ago"]
    if age is not None:
        yield GaugeValue(names.EVALUATION_AGE, age)
    for replica, answered in evaluator.prober.found().items():
        yield GaugeValue(names.REPLICA_UP, float(answered), {"replica": replica})
