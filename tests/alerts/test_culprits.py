"""What is said to be behind an alert where little is known: nothing, rather than a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from alerts.life import MODEL, REFERENCE, SCHEMA, START, requests
from alerts.test_catalogue import OBJECTIVES, RULES
from modelwatch import names
from modelwatch.alerts import Rule
from modelwatch.alerts.culprits import culprits
from modelwatch.events import LabelCount
from modelwatch.kernel import Kernel
from modelwatch.schema import ModelSchema
from modelwatch.signals import Look
from modelwatch.tally import Tally

LABELS = {"feature_name": "length", "model_version": "1", "of": "classes"}
ERRORS, SLOW = RULES[f"{MODEL}/HighErrorRate/critical/"], RULES[f"{MODEL}/HighLatencyP95/critical/"]
DRIFT = next(rule for rule in RULES.values() if rule.name == "DataDriftDetected")
MISSING = next(rule for rule in RULES.values() if rule.name == "MissingValues")
UNHEALTHY = next(rule for rule in RULES.values() if rule.name == "MonitorUnhealthy")


def kernel(version: int = 0, schema: ModelSchema = SCHEMA, **how: int) -> Kernel:
    """Return the counts of 200 requests."""
    made = Kernel(schema)
    made.fold(requests(200, seed=version, **how))  # type: ignore[arg-type]
    return made


def look(**kernels: Kernel) -> Look:
    """Return a look at versions v1, v2, …, the newest last, each of which counted the same in every window."""
    counted = {name.removeprefix("v"): made for name, made in kernels.items()}

    def window(version: str, _began_s: float, _ended_s: float) -> Tally:
        return counted[version].tally

    schemas = {version: made.schema for version, made in counted.items()}
    references = dict.fromkeys(counted, REFERENCE)
    return Look(MODEL, START, window, schemas, OBJECTIVES, references=references)


def told(rule: Rule, seen: Look, labels: Mapping[str, str] = LABELS) -> str:
    """Return what is said, as one text."""
    return " ".join(culprits(rule, seen, labels))


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_of_a_time_of_which_nothing_is_known_nothing_is_said(rule: Rule) -> None:
    """An alert that is kept while all counts are gone names nobody."""
    gone = Look(MODEL, START, lambda *_: None, {"1": SCHEMA}, OBJECTIVES, references={"1": REFERENCE})
    assert culprits(rule, gone, LABELS) == ()


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_where_nothing_was_counted_nothing_is_said(rule: Rule) -> None:
    """Tables that are empty, as after a start, or not there at all, have no worst of anything."""
    bare = Look(MODEL, START, lambda *_: Tally(), {"1": SCHEMA}, OBJECTIVES, references={"1": REFERENCE})
    for seen in (look(v1=Kernel(SCHEMA)), bare):
        found = told(rule, seen)
        assert "Worst" not in found
        assert "It is version" not in found
        assert "Where:" not in found


def test_versions_that_do_equally_badly_are_not_told_apart() -> None:
    """Two that fail alike: the endpoint is named, and neither version."""
    found = told(ERRORS, look(v1=kernel(1, failed=20), v2=kernel(2, failed=22)))
    assert "Worst endpoints: /predict" in found
    assert "It is version" not in found


def test_a_version_of_few_requests_is_not_blamed() -> None:
    """One failure of one request is no share to compare."""
    few = Kernel(SCHEMA)
    few.fold(requests(1, failed=1))
    assert "It is version" not in told(ERRORS, look(v1=kernel(1), v2=few))


def test_a_version_with_other_buckets_is_not_compared() -> None:
    """An old version that did not count at the threshold of latency is neither better nor worse than the new one."""
    other = replace(SCHEMA, latency=(0.1, 0.3, 1.0))
    fast, slow = kernel(1), kernel(2, slow=60)
    assert "It is version 2: 30.0%, against 1 0.0%." in told(SLOW, look(v1=fast, v2=slow))
    found = told(SLOW, look(v1=kernel(1, other), v2=slow))
    assert "Worst endpoints: /predict" in found
    assert "It is version" not in found


def test_drift_of_what_is_not_there_is_not_explained() -> None:
    """A feature of no profile, one that was not counted, and a version without a profile have no words of drift."""
    seen = look(v1=kernel(1))
    assert told(DRIFT, seen) != ""
    assert told(DRIFT, seen, {**LABELS, "feature_name": "of_nobody"}) == ""
    bare = ModelSchema(latency=SCHEMA.latency, classes=SCHEMA.classes)
    assert told(DRIFT, look(v1=kernel(1, bare))) == ""
    unknown = Look(MODEL, START, lambda *_: kernel(1).tally, {"1": SCHEMA}, OBJECTIVES)
    assert told(DRIFT, unknown) == ""


def test_only_drift_of_classes_names_classes() -> None:
    """Of the confidence, which has no classes, none is named."""
    answers = next(rule for rule in RULES.values() if rule.name == "ConceptDriftDetected")
    seen = look(v1=kernel(1))
    assert told(answers, seen).startswith("Classes: ")
    assert told(answers, seen, {**LABELS, "of": "confidence"}) == ""


def test_reasons_of_missing_values_are_ranked_and_infinity_is_none() -> None:
    """Values that are missing and infinite ones: only the missing are why."""
    made = kernel(1)
    assert told(MISSING, look(v1=made)) == ""
    made.count_invalid("length", "missing", 30)
    made.count_invalid("length", "inf", 5)
    assert told(MISSING, look(v1=made)) == "Reasons: missing (30)."


def test_events_that_were_given_up_are_named() -> None:
    """Beside faults by their place, what was given up is a place of its own; samples that were dropped, too."""
    made = kernel(1)
    made.tally.tables[names.ABANDONED.name].count((), 7)
    made.tally.tables[names.INTERNAL_ERRORS.name].count(("fold",), 2)
    assert told(UNHEALTHY, look(v1=made)) == "Where: events given up (7), fold (2)."


def test_labels_without_a_segment_are_no_worst_segment() -> None:
    """Wrong answers of nobody's segment are counted, and only named segments are told."""
    rule = RULES[f"{MODEL}/LowModelAccuracy/critical/"]
    made = kernel(1)
    made.fold_labels([LabelCount("matched", None, 0.1, False)] * 40 + [LabelCount("matched", "books", 0.1, True)] * 40)
    assert "Worst segments" not in told(rule, look(v1=made))
    made.fold_labels([LabelCount("matched", "books", 0.1, False)] * 10)
    assert "Worst segments (share of wrong answers): books 20.0% of 50." in told(rule, look(v1=made))
