"""Rules of a configuration: severities that are off, windows of a scaled time, objectives that are not there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerts.life import MODEL, REFERENCE, START, Minute, requests
from alerts.test_catalogue import OBJECTIVES, RULES, TEXT, life_of
from modelwatch.alerts import Rule, evaluate, message, rules_of, why_quiet
from modelwatch.alerts.conditions import All, AnyOf, Clause
from modelwatch.alerts.words import amount, window_words
from modelwatch.config import parse_config
from modelwatch.reference import Reference
from modelwatch.schema import ModelSchema
from modelwatch.signals import Look, Objectives
from modelwatch.signals.requests import ERROR_RATIO, slower_ratio
from modelwatch.tally import Tally

SELECTOR = 'model_name="m"'


def rules(
    alerts: str = "", reference: Reference | None = REFERENCE, **replaced: str
) -> dict[tuple[str, str], list[Rule]]:
    """Return the rules of a configuration by (name, severity)."""
    text = TEXT.replace("alerts: {", f"alerts: {{{alerts}")
    found: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules_of(parse_config(text, environ={}), MODEL, reference):
        found.setdefault((rule.name, rule.severity), []).append(rule)
    return found


@pytest.mark.parametrize(
    ("name", "off", "left"),
    [
        ("HighLatencyP95", "critical", {"warning"}),
        ("HighErrorRate", "warning", {"critical", "info"}),
        ("LowModelAccuracy", "critical", {"critical", "warning"}),  # another level is critical, too
        ("DataDriftDetected", "info", {"warning", "critical"}),
        ("DataDriftDetected", "critical", {"info", "warning"}),
        ("ConceptDriftDetected", "warning", {"info", "critical"}),
    ],
)  # fmt: skip
def test_one_severity_that_is_off_leaves_the_others(name: str, off: str, left: set[str]) -> None:
    """`null` at one severity takes its rules away and no other."""
    before, after = rules(), rules(f"{name}: {{{off}: null}}, ")
    assert {severity for rule, severity in after if rule == name} >= left - {off}
    gone = sum(map(len, before.values())) - sum(map(len, after.values()))
    assert gone == sum(len(before[key]) - len(after.get(key, ())) for key in before if key[0] == name)
    assert gone > 0


def test_severe_drift_pages_only_beside_a_harm_that_is_watched() -> None:
    """With no limit for accuracy nor for missing values no harm can be told, so that drift alone never pages."""
    text = "LowModelAccuracy: {warning: null}, MissingValues: null, "
    assert ("DataDriftDetected", "critical") in rules()
    assert ("DataDriftDetected", "critical") not in rules(text)
    assert any(rule.labels.get("drift") == "severe" for rule in rules(text)["DataDriftDetected", "warning"])


def test_without_a_profile_nothing_is_said_of_drift() -> None:
    """No training data: no rule of drift; only numbers: none of categories, and none of answers."""
    assert not {name for name, _ in rules(reference=None)} & {"DataDriftDetected", "ConceptDriftDetected"}
    kinds = {
        rule.labels["kind"]
        for rule in rules(reference=Reference(REFERENCE.numeric, {}, 5000))["DataDriftDetected", "info"]
    }
    assert kinds == {"feature_ks"}
    only = rules(reference=Reference({}, REFERENCE.categorical, 5000))
    assert {rule.labels["kind"] for rule in only["DataDriftDetected", "info"]} == {"category_drift"}
    assert ("ConceptDriftDetected", "info") not in only


def test_a_scaled_minute_shortens_every_window_and_wait() -> None:
    """At 60 times the speed all that is a duration is a 60th, and no limit changes."""
    config = parse_config(f"{TEXT}\ntime_scale: 60\n", environ={})
    fast = {rule.key: rule for rule in rules_of(config, MODEL, REFERENCE)}
    assert list(fast) == list(RULES)
    for key, rule in RULES.items():
        assert fast[key].for_s == rule.for_s / 60
        assert fast[key].keep_s == rule.keep_s / 60
        scaled = [(one.window_s, one.offset_s, one.limit) for one in fast[key].condition.clauses()]
        assert scaled == [(one.window_s / 60, one.offset_s / 60, one.limit) for one in rule.condition.clauses()]


def test_without_an_objective_there_is_no_expression() -> None:
    """What needs an objective that is not configured cannot be asked of a Prometheus; a choice asks the rest."""
    errors = Clause(ERROR_RATIO, 300, ">", 0.05)
    slow = next(
        clause for rule in RULES.values() for clause in rule.condition.clauses()
        if clause.promql(SELECTOR, Objectives()) is None
    )  # fmt: skip
    assert slow.promql(SELECTOR, OBJECTIVES) is not None
    assert All((errors, slow)).promql(SELECTOR, Objectives()) is None
    asked = AnyOf((errors, slow)).promql(SELECTOR, Objectives())
    assert asked == f"({errors.promql(SELECTOR, Objectives())})"
    assert AnyOf((slow,)).promql(SELECTOR, Objectives()) is None


def test_a_choice_has_the_clauses_and_the_lead_of_its_parts() -> None:
    """What is looked at, and the value that is shown."""
    first, other = Clause(ERROR_RATIO, 300, ">", 0.05), Clause(slower_ratio(0.5), 600, ">", 0.05)
    either = AnyOf((first, other))
    assert either.lead is first
    assert list(either.clauses()) == [first, other]


def test_what_a_template_does_not_know_reads_as_a_question_mark() -> None:
    """A label that this alert has not got: no exception, no braces."""
    life = life_of("HighErrorRate/critical")
    life.rules = [replace(life.rules[0], summary="{model}: {segment} fails")]
    assert life.until(lambda i: Minute(requests(200, seed=i, failed=50)), 20) is not None
    assert life.look is not None
    assert message(life.evaluation.firing[0], life.look).summary == f"{MODEL}: ? fails"


def test_a_verdict_is_known_in_the_states_by_its_key() -> None:
    """The key of what fires is the one under which its state is kept."""
    life = life_of("HighErrorRate/critical")
    assert life.until(lambda i: Minute(requests(200, seed=i, failed=50)), 20) is not None
    assert [verdict.key for verdict in life.evaluation.firing] == list(life.states)


def test_an_alert_without_a_value_is_quiet_without_numbers() -> None:
    """What does not hold and has nothing to show says only that it is quiet."""
    look = Look(MODEL, START, lambda *_: Tally(), {"1": ModelSchema()}, OBJECTIVES)
    verdict = evaluate([RULES[f"{MODEL}/HighErrorRate/critical/"]], look, {}).verdicts[0]
    truth = verdict.truth._replace(holds=False, value=None, reason="")
    assert why_quiet(verdict._replace(truth=truth), START) == "quiet"


def test_words_of_what_is_unknown_and_of_moments() -> None:
    """No value is `unknown`; less than a minute is told in seconds."""
    assert amount(None, "ratio") == "unknown"
    assert amount(4.0, "times") == "4 times"
    assert window_words(5) == "5 seconds"


def test_what_is_not_promised_has_no_rule() -> None:
    """No latency objective: no slow requests; segments and slight doubts that are off have no rule either."""
    found = rules("SegmentAccuracyLow: {warning: null}, ")
    assert not [name for name, _ in found if name == "SegmentAccuracyLow"]
    text = TEXT.replace("latency: {threshold: 500ms}, ", "").replace("{info: 0.10}", "{warning: null, info: 0.10}")
    made = {(rule.name, rule.severity) for rule in rules_of(parse_config(text, environ={}), MODEL, REFERENCE)}
    assert not {severity for name, severity in made if name == "HighLatencyP95"}
    assert {severity for name, severity in made if name == "HighLowConfidencePredictions"} == {"info"}


def test_a_model_of_numbers_has_no_rule_of_accuracy() -> None:
    """Nothing is right or wrong of a regression."""
    text = """
service: {name: api, owner: ml}
models:
  sentiment: {version: "1", task: regression, features: {length: numeric}, slos: {latency: {}}}
"""
    made = {rule.name for rule in rules_of(parse_config(text, environ={}), MODEL)}
    assert "HighErrorRate" in made
    assert not made & {"LowModelAccuracy", "SegmentAccuracyLow"}
