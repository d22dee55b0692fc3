"""Every alert at every severity: fires, not just below, not on few samples, not without data; over restarts; with words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from alerts.life import MODEL, REFERENCE, Life, Minute, labels, requests
from modelwatch.alerts import Rule, message, objectives_for, rules_of, why_quiet
from modelwatch.alerts.pages import SECTIONS, runbook
from modelwatch.catalogue import ALERTS
from modelwatch.config import parse_config
from modelwatch.errors import ConfigError

TEXT = """
service: {name: api, owner: ml}
models:
  sentiment:
    version: "1"
    task: classification
    classes: [negative, neutral, positive]
    features: {length: numeric, stars: numeric, language: categorical}
    slos: {latency: {threshold: 500ms}, availability: {}, error_rate: {}, accuracy: {}, throughput: {}, cost: {hourly: 1.2}}
    alerts: {HighLowConfidencePredictions: {info: 0.10}}
"""
CONFIG = parse_config(TEXT, environ={})
RULES = {rule.key: rule for rule in rules_of(CONFIG, MODEL, REFERENCE)}
OBJECTIVES = objectives_for(CONFIG, MODEL, REFERENCE)
NOTHING = Minute()


@dataclass(frozen=True)
class Case:
    """What makes a rule fire, what is just below its limit, and what is extreme but on too few samples.

    culprit : what its message must name.
    """

    fires: Callable[[int], Minute]
    below: Callable[[int], Minute]
    few: Callable[[int], Minute] | None = None
    culprit: str = ""


def every(minute: Minute) -> Callable[[int], Minute]:
    """Return the same minute again and again."""
    return lambda _: minute


def traffic(**how: object) -> Callable[[int], Minute]:
    """Return minutes of 200 requests of one kind."""
    return lambda i: Minute(requests(200, seed=i, **how))  # type: ignore[arg-type]


def _labelled(right: int, wrong: int) -> Callable[[int], Minute]:
    return every(Minute(requests(20), labels(right, wrong)))


def _few_labels(i: int) -> Minute:
    return Minute(requests(20), labels(0, 1) if i < 29 else ())


def _slices(slo: str, bad: int, good: int) -> Callable[[int], Minute]:
    return every(Minute(requests(20), slices={(slo, "bad"): bad, (slo, "good"): good}))


def _stopping(left: int) -> Callable[[int], Minute]:
    """Traffic for an hour, then `left` requests a minute."""
    return lambda i: Minute(requests(10 if i < 60 else left))


def _two(up: bool, other: bool) -> Minute:
    return Minute(requests(20), answers={"a:1": up, "b:1": other})


def _harm(shift: float, missing: float) -> Callable[[int], Minute]:
    return lambda i: Minute(requests(200, seed=i, shift=shift, missing=missing), labels(9, 1))


FEW_BAD = every(Minute(requests(1, failed=1, slow=1)))


def _after_calm(i: int, **how: int) -> Minute:
    """Half an hour of requests that are all well, then others."""
    return Minute(requests(200, seed=i, **how) if i >= 30 else requests(200, seed=i))  # type: ignore[arg-type]


def _four_bad(i: int) -> Minute:
    return Minute(requests(1 if i < 4 else 0, failed=1, slow=1))


ONE_BAD = {
    "HighErrorRate/critical": Case(traffic(failed=12), traffic(failed=10), FEW_BAD, "TimeoutError"),
    "HighErrorRate/warning": Case(traffic(failed=5), traffic(failed=4), FEW_BAD, "/predict"),
    "HighErrorRate/info": Case(traffic(failed=3), traffic(failed=2), FEW_BAD, "/predict"),
    "HighErrorRate/info/trend=day": Case(
        lambda i: _after_calm(i, failed=1), lambda i: _after_calm(i, failed=int(i % 3 == 0)), FEW_BAD, "TimeoutError"
    ),
    "HighLatencyP95/critical": Case(traffic(slow=11), traffic(slow=10), FEW_BAD, "/predict"),
    "HighLatencyP95/warning": Case(traffic(slow=11, slow_s=0.9), traffic(slow=10, slow_s=0.9), FEW_BAD, "/predict"),
    "ServiceDown/critical": Case(every(_two(False, False)), every(_two(True, False)), None, "a:1"),
    "ReplicaDown/warning": Case(every(_two(True, False)), every(_two(True, True)), None, "b:1"),
    "TrafficStopped/critical": Case(_stopping(0), _stopping(1), lambda i: Minute(requests(int(i % 2 == 0 and i < 60)))),
    "MetricsAbsent/critical": Case(every(Minute(reporting=False)), every(Minute(reporting=True))),
    "LowModelAccuracy/critical": Case(_labelled(6, 4), _labelled(7, 3), _few_labels, "books"),
    "LowModelAccuracy/critical/level=catastrophic": Case(_labelled(5, 5), _labelled(6, 4), _few_labels, "books"),
    "LowModelAccuracy/warning": Case(_labelled(15, 5), _labelled(17, 3), _few_labels, "books"),
    "SegmentAccuracyLow/warning": Case(_labelled(15, 5), _labelled(17, 3), _few_labels, "books"),
    "HighLowConfidencePredictions/warning": Case(
        traffic(low=0.3), traffic(low=0.15), every(Minute(requests(1, low=1.0)))
    ),
    "HighLowConfidencePredictions/info": Case(traffic(low=0.15), traffic(low=0.05), every(Minute(requests(1, low=1.0)))),
    "LabelStarvation/info": Case(
        every(Minute(requests(20), labels(0, 0, kept=1))), every(Minute(requests(20), labels(1, 0, kept=1))),
        lambda i: Minute(requests(20), labels(0, 0, kept=1) if i < 29 else ()),
    ),
    "MissingValues/warning": Case(traffic(missing=0.12), traffic(missing=0.04), every(Minute(requests(0))), "missing"),
    "CannotTell/warning/what=availability": Case(
        _slices("availability", 0, 1), _slices("availability", 0, 1),
    ),
    "MonitorUnhealthy/warning": Case(every(Minute(requests(20), faults=1)), every(Minute(requests(20))), None, "fold"),
    "SLOBudgetExhausted/warning/slo=error_rate": Case(traffic(failed=2), traffic(failed=1), _four_bad),
    "SLOBudgetExhausted/warning/slo=latency": Case(traffic(slow=10), traffic(slow=9), _four_bad),
    "SLOBudgetExhausted/warning/slo=accuracy": Case(_labelled(16, 4), _labelled(17, 3), _few_labels),
    "SLOBudgetExhausted/warning/slo=availability": Case(
        _slices("availability", 1, 99), _slices("availability", 1, 200 * 60)
    ),
    "SLOBudgetExhausted/warning/slo=throughput": Case(_slices("throughput", 1, 19), _slices("throughput", 1, 20)),
    "SLOBurnRate/warning/slo=cost,window=1440m": Case(
        every(Minute(requests(20), replica_s=3601)), every(Minute(requests(20), replica_s=2))
    ),
}  # fmt: skip


def _burns() -> dict[str, Case]:
    """Return the cases of all burn rates: a fifth more than the limit of each, and a tenth less."""
    found = {}
    for rule in RULES.values():
        if rule.name != "SLOBurnRate" or rule.labels["slo"] == "cost":
            continue
        slo, limit = rule.labels["slo"], rule.condition.lead.limit
        bad, good = round(1000 * min(1.2 * limit, limit + (1 - limit) / 1.5)), round(1000 * 0.9 * limit)
        key = f"SLOBurnRate/{rule.severity}/slo={slo},window={rule.labels['window']}"
        if slo in {"availability", "throughput"}:
            found[key] = Case(_slices(slo, bad, 1000 - bad), _slices(slo, good, 1000 - good))
        elif slo == "accuracy":
            found[key] = Case(_labelled(1000 - bad, bad), _labelled(1000 - good, good), _few_labels, "books")
        else:
            what = "failed" if slo == "error_rate" else "slow"
            fires, below = (every(Minute(requests(1000, **{what: n}))) for n in (bad, good))  # type: ignore[arg-type]
            found[key] = Case(fires, below, _four_bad, "/predict")
    return found


def _drifts() -> dict[str, Case]:
    """Return the cases of drift: of a number, of categories and of the classes, at each severity."""

    def few(i: int) -> Minute:
        return Minute(requests(int(i < 15), seed=i, shift=20.0, languages=(0, 1, 0), classes=(0, 1, 0)))

    found = {}
    cases: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
        "feature_ks": {
            "info": ({"shift": 6.5}, {"shift": 2.0}),
            "warning": ({"shift": 11.0}, {"shift": 6.0}),
            "severe": ({"shift": 18.0}, {"shift": 10.0}),
        },
        "category_drift": {
            "info": ({"languages": (0.67, 0.31, 0.02)}, {"languages": (0.75, 0.23, 0.02)}),
            "warning": ({"languages": (0.6, 0.38, 0.02)}, {"languages": (0.68, 0.30, 0.02)}),
            "severe": ({"languages": (0.45, 0.53, 0.02)}, {"languages": (0.6, 0.38, 0.02)}),
        },
        "answer_psi": {
            "info": ({"classes": (0.55, 0.1, 0.35)}, {"classes": (0.45, 0.1, 0.45)}),
            "warning": ({"classes": (0.62, 0.1, 0.28)}, {"classes": (0.53, 0.1, 0.37)}),
            "severe": ({"classes": (0.7, 0.1, 0.2)}, {"classes": (0.55, 0.1, 0.35)}),
        },
    }
    for kind, moved in cases.items():
        name = "ConceptDriftDetected" if kind == "answer_psi" else "DataDriftDetected"
        culprit = {"feature_ks": "length", "category_drift": "language", "answer_psi": "negative"}[kind]
        for level, (fires, below) in moved.items():
            severity, more = ("warning", ",drift=severe") if level == "severe" else (level, "")
            found[f"{name}/{severity}/kind={kind}{more}"] = Case(
                traffic(low=0.4, **fires), traffic(low=0.4, **below), few, culprit
            )

        severe = moved["severe"][0]

        def harmed(i: int, how: dict[str, Any] = severe) -> Minute:
            return Minute(requests(200, seed=i, **how), labels(6, 4))

        def unharmed(i: int, how: dict[str, Any] = severe) -> Minute:
            return Minute(requests(200, seed=i, **how), labels(9, 1))

        found[f"{name}/critical/kind={kind},drift=severe"] = Case(harmed, unharmed, few, culprit)
    return found


CASES = {**ONE_BAD, **_burns(), **_drifts()}
SPECIAL = {"LatencyTrend", "CannotTell", "Watchdog"}  # each has a test of its own


def rule_of(key: str) -> Rule:
    """Return the rule of a case."""
    name, severity, *fixed = key.split("/", 2)
    return RULES[f"{MODEL}/{name}/{severity}/{fixed[0] if fixed else ''}"]


def life_of(key: str) -> Life:
    """Return a life in which only one rule is looked at."""
    return Life([rule_of(key)], OBJECTIVES)


def wait(rule: Rule) -> int:
    """Return minutes after which a rule must have fired."""
    return round(rule.for_s / 60) + 75


def test_every_rule_has_a_case() -> None:
    """No alert and no severity of the catalogue is left out, and every name of the table is made."""
    covered = {rule_of(key).key for key in CASES}
    assert {rule.key for rule in RULES.values() if rule.name not in SPECIAL} <= covered
    assert {rule.name for rule in RULES.values()} == set(ALERTS)


#: Those that need no sample: what is asked is whether something answers, is there, or was ever wrong at all.
NO_SAMPLE = {"ServiceDown", "ReplicaDown", "MetricsAbsent", "MonitorUnhealthy", "CannotTell"}
NO_SLO_SAMPLE = {"availability", "throughput", "cost"}  # minutes and money: five bad minutes are enough, or a day


def test_every_rule_that_needs_samples_is_tried_on_few() -> None:
    """Too few samples are a case of every alert but of those that need none."""
    without = {key for key, case in CASES.items() if case.few is None}
    for key in without:
        rule = rule_of(key)
        assert rule.name in NO_SAMPLE or rule.labels.get("slo") in NO_SLO_SAMPLE, key


KEYS = sorted(set(CASES) - {"CannotTell/warning/what=availability"})


@pytest.mark.parametrize("key", KEYS)
def test_fires_after_its_time_and_not_before(key: str) -> None:
    """It waits for its `for`, fires, says what is wrong and who is behind it, and names its runbook."""
    rule, life = rule_of(key), life_of(key)
    after = life.until(CASES[key].fires, wait(rule))
    assert after is not None
    assert after > rule.for_s / 60
    verdict = life.evaluation.firing[0]
    assert life.look is not None
    told = message(verdict, life.look)
    assert "{" not in told.summary + told.description
    assert "?" not in told.summary + told.description
    assert MODEL in told.summary
    assert CASES[key].culprit in " ".join([told.description, *told.culprits])
    assert told.runbook == f"/runbooks/{rule.name}"


@pytest.mark.parametrize("key", KEYS)
def test_does_not_fire_just_below(key: str) -> None:
    """At its limit, or just on the good side of it, nothing fires for as long as it would have taken."""
    life = life_of(key)
    assert life.until(CASES[key].below, wait(rule_of(key))) is None


@pytest.mark.parametrize("key", [key for key in KEYS if CASES[key].few])
def test_does_not_fire_on_few_samples(key: str) -> None:
    """As bad as can be, on fewer samples than it needs: quiet."""
    life = life_of(key)
    few = CASES[key].few
    assert few is not None
    assert life.until(few, 40) is None


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("MetricsAbsent")])
def test_does_not_fire_without_data(key: str) -> None:
    """Nothing was ever counted, nobody was asked: it does not fire."""
    assert life_of(key).until(every(NOTHING), wait(rule_of(key))) is None


@pytest.mark.parametrize("key", KEYS)
def test_a_restart_in_the_middle_changes_nothing(key: str) -> None:
    """The worker dies and its counts begin at 0, the monitor is restarted, too: it fires in the same minute."""
    rule, case = rule_of(key), CASES[key]
    expected = life_of(key).until(case.fires, wait(rule))
    assert expected is not None
    life = life_of(key)
    middle = expected // 2
    for minute in range(middle):
        assert not life.live(case.fires(minute)).firing
    life.restart()
    after = life.until(lambda i: case.fires(i + middle), wait(rule))
    assert after is not None
    assert middle + after == expected


@pytest.mark.parametrize("key", ["HighErrorRate/critical", "HighLatencyP95/critical", "TrafficStopped/critical"])
def test_ends_when_all_is_well(key: str) -> None:
    """Good minutes end it; it is told once that it fires and once that it is over."""
    rule, life = rule_of(key), life_of(key)
    assert life.until(CASES[key].fires, wait(rule)) is not None
    changes = [verdict.change for _ in range(20) for verdict in life.live(Minute(requests(200))).verdicts]
    assert changes.count("resolved") == 1
    assert changes.count("fired") == 0
    assert life.states == {}


def test_losing_the_data_ends_nothing_for_an_hour() -> None:
    """Errors, then nothing at all is counted: it stays for an hour, and then it is over."""
    life = life_of("HighErrorRate/critical")
    assert life.until(CASES["HighErrorRate/critical"].fires, 30) is not None
    firing = [bool(life.live(NOTHING).firing) for _ in range(75)]
    assert 60 <= firing.index(False) <= 66


def test_less_traffic_is_no_recovery() -> None:
    """As bad at a fortieth of the traffic, too little for five errors in the window: it stays; good again, it ends."""
    for failed, expected in ((1, True), (0, False)):
        life = life_of("HighErrorRate/critical")
        assert life.until(CASES["HighErrorRate/critical"].fires, 30) is not None
        for minute in range(40):
            life.live(Minute(requests(5, failed=failed * (minute % 2))))
        assert bool(life.evaluation.firing) == expected


def test_latency_trend() -> None:
    """Half as many again slow requests as a day ago, over an hour: info; as many as a day ago: quiet."""
    for slow, expected in ((8, True), (4, False)):
        life = life_of("LatencyTrend/info")
        for _ in range(61):
            life.live(Minute(requests(100, slow=4)))
        life.pass_time(86_400 - 61 * 60)
        fired = life.until(every(Minute(requests(100, slow=slow))), 95)
        assert (fired is not None) == expected
        assert life.evaluation.verdicts[0].truth.value is not None


@pytest.mark.parametrize(
    ("slow", "slow_s", "expected"), [(12, 0.7, True), (3, 2.5, True), (6, 0.7, False), (2, 2.5, False)]
)
def test_latency_that_rises_suddenly(slow: int, slow_s: float, expected: bool) -> None:  # noqa: FBT001
    """Within a quarter of an hour: three times the slow requests, or a few that take twice as long as promised; else quiet."""
    life = life_of("LatencyTrend/info/window=10m")
    for _ in range(20):
        life.live(Minute(requests(100, slow=4, slow_s=0.7)))
    life.pass_time(86_400 - 20 * 60)
    fired = life.until(every(Minute(requests(100, slow=slow, slow_s=slow_s))), 15)
    assert (fired is not None) == expected
    if fired is not None:
        assert life.look is not None
        told = message(life.evaluation.firing[0], life.look)
        assert "/predict" in " ".join(told.culprits)
        assert "than at the same time a day ago" in told.description


def test_a_hiccup_is_no_trend_of_errors() -> None:
    """Forty failed requests of one minute, where none failed before: many more than on the day before, and over at once."""
    life = life_of("HighErrorRate/info/trend=day")
    assert life.until(lambda i: _after_calm(i, failed=40 * (i == 35)), 60) is None


def test_cannot_tell() -> None:
    """Nobody asks the replicas: after an hour somebody is told; features on other bins likewise; else quiet."""
    rule = RULES[f"{MODEL}/CannotTell/warning/what=availability"]
    for outcome, expected in (("unknown", True), ("good", False)):
        life = Life([rule], OBJECTIVES)
        fired = life.until(every(Minute(slices={("availability", outcome): 1})), 130)
        assert (fired is not None) == expected
    rule = RULES[f"{MODEL}/CannotTell/warning/what=drift"]
    life = Life([rule], OBJECTIVES)
    assert life.until(traffic(), 70) is None
    other = REFERENCE.numeric["stars"]
    life = Life([rule], OBJECTIVES)
    life.reference = type(REFERENCE)({"length": other}, {}, 5000)
    assert life.until(traffic(), 70) is not None


def test_watchdog_always_fires_and_is_never_counted() -> None:
    """It fires at the first look, whatever there is, and is not among those that somebody is told of."""
    life = Life([rule for rule in RULES.values() if rule.name == "Watchdog"], OBJECTIVES)
    evaluation = life.live(NOTHING)
    assert [verdict.phase for verdict in evaluation.verdicts] == ["firing"]
    assert evaluation.firing == []


def test_a_new_version_mutes_drift_for_half_an_hour_and_never_errors() -> None:
    """A deploy that drifts and fails: errors are told at once, drift from 30 minutes on."""
    rules = [rule_of("DataDriftDetected/warning/kind=feature_ks,drift=severe"), rule_of("HighErrorRate/critical")]
    life = Life(rules, OBJECTIVES)
    for minute in range(5):
        life.live(Minute(requests(200, seed=minute)))
    life.deploy("2")
    first: dict[str, int] = {}
    for minute in range(50):
        for verdict in life.live(Minute(requests(200, seed=minute, shift=40.0, failed=20))).firing:
            first.setdefault(verdict.rule.name, minute + 1)
            if verdict.rule.name == "DataDriftDetected":
                assert verdict.labels["model_version"] == "2"
    assert first["HighErrorRate"] <= 8
    assert 30 <= first["DataDriftDetected"] <= 40


def test_the_version_that_fails_is_named() -> None:
    """Two versions are served, the new one fails."""
    life = life_of("HighErrorRate/critical")
    life.began["2"] = life.began["1"]
    for minute in range(8):
        life.version = "1"
        life.live(Minute(requests(100, seed=minute)))
        life.version = "2"
        life.live(Minute(requests(100, seed=minute, failed=30)))
    assert life.look is not None
    told = message(life.evaluation.firing[0], life.look)
    assert any("It is version 2: 30.0%, against 1 0.0%" in sentence for sentence in told.culprits)


def test_the_slow_version_the_wrong_version_and_more_load_are_named() -> None:
    """Latency: the version, and three times the requests (and a minute more of them) of an hour ago. Labels: the version that is wrong."""
    life = life_of("HighLatencyP95/critical")
    for minute in range(60):
        life.live(Minute(requests(50, seed=minute)))
    life.began["2"] = life.began["1"]
    for minute in range(16):
        life.version = "1"
        life.live(Minute(requests(100, seed=minute)))
        life.version = "2"
        life.live(Minute(requests(200, seed=minute, slow=60)))
    assert life.look is not None
    told = " ".join(message(life.evaluation.firing[0], life.look).culprits)
    assert "Requests are 3.2 times those of an hour ago." in told
    assert "It is version 2: 30.0%, against 1 0.0%" in told
    life = life_of("LowModelAccuracy/critical")
    life.began["2"] = life.began["1"]
    for _ in range(35):
        life.version = "1"
        life.live(Minute(requests(5), labels(9, 1)))
        life.version = "2"
        life.live(Minute(requests(5), labels(2, 8)))
    assert life.look is not None
    told = " ".join(message(life.evaluation.firing[0], life.look).culprits)
    assert "It is version 2: 80.0%, against 1 10.0%" in told


def test_a_version_that_vanishes_takes_its_alert_along_after_an_hour() -> None:
    """The drifting version is gone from all counts: its alert is held for an hour, says so, and is over."""
    life = life_of("MissingValues/warning")
    assert life.until(traffic(missing=0.3), 40) is not None
    life.deploy("2")
    del life.began["1"]
    held = 0
    for minute in range(70):
        found = [v for v in life.live(Minute(requests(200, seed=minute))).verdicts if v.phase == "firing"]
        held += bool(found)
        if found:
            assert found[0].labels["model_version"] == "1"
            assert "cannot be told now: nothing is counted of it any more" in why_quiet(found[0], life.now)
    assert 59 <= held <= 61
    assert life.states == {}


def test_why_quiet() -> None:
    """Waiting, firing, kept and healthy alerts say so in a few words."""
    life = life_of("HighErrorRate/critical")
    said = []
    for failed in (0, 20, 20, 20, 20, 20, 20, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0):
        life.live(Minute(requests(200, failed=failed)))
        said.append(why_quiet(life.evaluation.verdicts[0], life.now))
    assert said[0] == "0 %, fires at > 5 %"
    assert "for 1 min of 5 min" in said
    assert "firing for 0 s" in said
    assert any("not seen any more" in each for each in said)
    assert said[-1] == "0 %, fires at > 5 %"
    starving = life_of("LabelStarvation/info")
    starving.live(Minute(requests(200)))
    quiet = starving.evaluation.verdicts[0]
    assert why_quiet(quiet, starving.now) == "0 labels, fires at <= 0 labels, with more that does not hold"


def test_a_worse_alert_silences_the_lesser_ones() -> None:
    """Critical errors are told once, not three times; a service that is down silences everything else."""
    life = Life([rule for rule in RULES.values() if rule.name in {"HighErrorRate", "ServiceDown"}], OBJECTIVES)
    for _ in range(15):
        life.live(Minute(requests(100, failed=50), answers={"a": True}))
    assert [verdict.rule.severity for verdict in life.evaluation.firing] == ["critical"]
    silenced = {v.rule.severity: v.silenced_by for v in life.evaluation.verdicts if v.silenced_by}
    assert silenced == {"warning": "HighErrorRate (critical)", "info": "HighErrorRate (critical)"}
    for _ in range(3):
        life.live(Minute(requests(100, failed=50), answers={"a": False}))
    assert [verdict.rule.name for verdict in life.evaluation.firing] == ["ServiceDown"]


@pytest.mark.parametrize("name", ALERTS)
def test_runbook_has_every_section(name: str) -> None:
    """Meaning, impact, diagnosis with a query to copy, mitigation, false positives."""
    page = runbook(name)
    assert page.startswith(f"# {name}\n")
    for section in SECTIONS:
        assert f"\n## {section}\n\n" in page
        assert page.split(f"## {section}\n\n")[1].split("\n## ")[0].strip()
    assert "```promql\n" in page


def test_a_factor_without_a_bucket_is_refused() -> None:
    """Three times the threshold is no edge: the message names the field and what there is."""
    config = parse_config(TEXT.replace("alerts: {", "alerts: {HighLatencyP95: {critical: 3}, "), environ={})
    with pytest.raises(
        ConfigError, match=r"models.sentiment.alerts.HighLatencyP95.critical: critical is 3.0; expected"
    ):
        rules_of(config, MODEL)


def test_an_alert_that_is_switched_off_has_no_rule() -> None:
    """`null` takes the alert away, or one severity of it."""
    text = TEXT.replace("alerts: {", "alerts: {ReplicaDown: null, HighErrorRate: {info: null}, ")
    found = {(rule.name, rule.severity) for rule in rules_of(parse_config(text, environ={}), MODEL)}
    assert ("ReplicaDown", "warning") not in found
    assert ("HighErrorRate", "info") not in found
    assert ("HighErrorRate", "warning") in found


def test_drift_pages_only_where_the_configuration_says_so() -> None:
    """`drift.pages`: severe drift alone is critical then, and only then."""
    key = "DataDriftDetected/critical/kind=feature_ks,drift=severe"
    assert life_of(key).until(traffic(shift=18.0), 40) is None
    config = parse_config(TEXT.replace("    slos:", "    drift: {pages: true}\n    slos:"), environ={})
    rules = [rule for rule in rules_of(config, MODEL, REFERENCE) if rule.key == rule_of(key).key]
    assert Life(rules, OBJECTIVES).until(traffic(shift=18.0), 40) is not None
