"""The detectors of the well-known snippets, alone: their usage, and each way in which they failed."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modelwatch import ConceptDriftDetector, DataDriftDetector
from modelwatch.driftdetectors import DriftAlert
from modelwatch.driftdetectors.judging import MOST_WAITING
from modelwatch.errors import MissingExtra, NotEnoughData

RNG = np.random.default_rng(21)
LENGTHS, SCORES = RNG.normal(100, 20, 10_000), RNG.normal(0.5, 0.2, 10_000)


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Draw the same in every order of the tests."""
    RNG.bit_generator.state = np.random.default_rng(22).bit_generator.state


class Unkind:
    """A value whose own code fails."""

    def __float__(self) -> float:
        raise RuntimeError("no")

    __str__ = __repr__ = __hash__ = __eq__ = __float__  # type: ignore[assignment]


class UnkindFloat(float):
    """A number whose own code fails."""

    def is_integer(self) -> bool:
        """Fail."""
        raise RuntimeError("no")


BAD: list[Any] = [None, math.nan, "text", "3.5", [1], {}, 10**400, 1j, b"1", Unkind(), object(), np.array([1.0, 2.0])]


def data_detector(window_size: int = 1000, **features: Any) -> tuple[DataDriftDetector, list[DriftAlert]]:
    """Return a detector and the alerts that it sends."""
    alerts: list[DriftAlert] = []
    given = features or {"text_length": LENGTHS, "sentiment_score": SCORES}
    return DataDriftDetector("sentiment_classifier", given, window_size, on_alert=alerts.append), alerts


def feed(detector: DataDriftDetector, **columns: Any) -> None:
    """Add the samples of these columns, row by row."""
    for row in zip(*columns.values(), strict=True):
        detector.add_sample(dict(zip(columns, row, strict=True)))
    detector.flush()


def test_usage_of_the_brief() -> None:
    """As the brief uses it: quiet data are quiet, a shift alerts once a window, in the brief's words."""
    detector, alerts = data_detector()
    assert detector.thresholds == {"info": 0.1, "warning": 0.15, "critical": 0.25}
    feed(detector, text_length=RNG.normal(100, 20, 1000), sentiment_score=RNG.normal(0.5, 0.2, 1000))
    assert not alerts
    moved = RNG.normal(120, 20, 1000)
    feed(detector, text_length=moved, sentiment_score=RNG.normal(0.5, 0.2, 1000))
    (alert,) = alerts
    expected = stats.ks_2samp(LENGTHS, moved, method="asymp")
    assert (alert.kind, alert.feature_name, alert.severity) == ("data_drift", "text_length", "critical")
    assert alert.score == pytest.approx(expected.statistic, abs=1e-12)
    for words in (
        "DATA DRIFT DETECTED", "Model: sentiment_classifier", "Feature: text_length", "Severity: CRITICAL",
        f"KS Statistic: {expected.statistic:.3f}", "P-value: 0.0000",
        "- KS 0.15-0.25: Moderate drift (investigate)", "4. Consider retraining if accuracy dropping",
        "throughout: another zero?", "1000 values against 10000 of training.",
    ):  # fmt: skip
        assert words in alert.message
    results = detector.check_drift()
    assert results["text_length"]["ks_statistic"] == pytest.approx(expected.statistic, abs=1e-12)
    assert results["text_length"]["p_value"] == pytest.approx(expected.pvalue, abs=1e-12)
    assert results["sentiment_score"]["severity"] is None
    assert detector.alerts == {("text_length", "critical"): 1}


@pytest.mark.parametrize(("shift", "severity"), [(0.0, None), (0.33, "info"), (0.5, "warning"), (1.0, "critical")])
def test_severities(shift: float, severity: str | None) -> None:
    """KS of 0.1, 0.15 and 0.25 are info, warning and critical; thresholds can be changed."""
    detector, alerts = data_detector(x=SCORES)
    feed(detector, x=RNG.permutation(SCORES)[:1000] + shift * 0.2)
    assert [alert.severity for alert in alerts] == ([severity] if severity else [])
    detector.thresholds = {"info": None, "warning": None, "critical": 0.9}
    assert detector.check_drift()["x"]["severity"] == severity  # of the last window, judged before
    feed(detector, x=RNG.permutation(SCORES)[:1000] + shift * 0.2)
    assert detector.check_drift()["x"]["severity"] is None


@pytest.mark.parametrize("bad", BAD, ids=[type(value).__name__ for value in BAD])
def test_one_bad_value_affects_only_itself(bad: Any) -> None:
    """Defects a1, a2, a7, a8: no request fails, and the judgement of the others is the same to the last bit."""
    clean, _ = data_detector(500, x=SCORES)
    dirty, _ = data_detector(500, x=SCORES)
    values = RNG.normal(0.6, 0.2, 500).tolist()
    for i, value in enumerate(values):
        if i == 250:
            dirty.add_sample({"x": bad})
        clean.add_sample({"x": value})
        dirty.add_sample({"x": value})
    one, other = clean.check_drift()["x"], dirty.check_drift()["x"]
    assert one["samples"] == other["samples"] == 500
    assert (one["ks_statistic"], one["p_value"], one["severity"]) == (
        other["ks_statistic"], other["p_value"], other["severity"],
    )  # fmt: skip
    assert one["severity"] == "warning" or one["severity"] == "critical"


@pytest.mark.parametrize("features", [None, 3, [], "x", Unkind(), {}])
def test_no_features_raise_nothing(features: Any) -> None:
    """Defect a8: what is no mapping counts as missing."""
    detector, alerts = data_detector(50, x=SCORES)
    for _ in range(50):
        detector.add_sample(features)
    assert detector.check_drift()["x"]["missing_ratio"] == 1
    assert [alert.kind for alert in alerts] == ["missing_values"]


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_broken_feed_alerts(share: float) -> None:
    """Defect a3: 30 % or 100 % NaN is an alert of its own, and no NaN is ever a result."""
    detector, alerts = data_detector(1000, x=SCORES)
    column = np.where(RNG.random(1000) < share, np.nan, RNG.permutation(SCORES)[:1000])
    feed(detector, x=column)
    assert [(alert.kind, alert.severity) for alert in alerts] == [("missing_values", "warning")]
    assert (
        f"Missing: {np.isnan(column).mean():.1%} of the last 1000 samples, 0.0% in the reference" in alerts[0].message
    )
    found = detector.check_drift()["x"]
    assert found["missing_ratio"] == pytest.approx(np.isnan(column).mean())
    assert not any(isinstance(value, float) and math.isnan(value) for value in found.values())
    assert (found["ks_statistic"] is None) == (share == 1)


def test_as_many_missing_as_in_training_are_quiet() -> None:
    """A tenth is missing in training, and a tenth in production."""
    detector, alerts = data_detector(1000, x=[*SCORES[:9000].tolist(), *[None] * 1000])
    feed(detector, x=[*SCORES[9000:9900].tolist(), *[None] * 100])
    assert not alerts
    assert detector.check_drift()["x"]["missing_ratio"] == 0.1


@pytest.mark.parametrize("gone", ["text_length", "sentiment_score"])
def test_no_feature_holds_back_another(gone: str) -> None:
    """Defects a4, a5: whichever is never given, the other's shift is seen, and memory is bounded."""
    detector, alerts = data_detector(200)
    there = "sentiment_score" if gone == "text_length" else "text_length"
    for value in np.resize({"text_length": LENGTHS, "sentiment_score": SCORES}[there] * 2, 1000).tolist():
        detector.add_sample({there: value})
    detector.flush()
    assert detector.alerts[there, "critical"] == 5
    assert detector.alerts[gone, "warning"] == 5
    assert {alert.kind for alert in alerts if alert.feature_name == gone} == {"missing_values"}
    assert detector.results[gone]["ks_statistic"] is None
    assert all(len(f.window.values) + len(f.window.gaps) < 400 for f in detector._features.values())


def test_five_values_of_a_thousand_tell_nothing() -> None:
    """Defect a6: a rare feature is not judged on five values; on its own thousand it is."""
    detector, alerts = data_detector(200, common=SCORES, rare=[*SCORES.tolist(), *[None] * 10**6])
    for i in range(1000):
        detector.add_sample({"common": SCORES[i], "rare": 99.0} if i % 200 == 0 else {"common": SCORES[i]})
    found = detector.check_drift()["rare"]
    assert (found["outcome"], found["severity"], found["samples"]) == ("cannot_tell", None, 5)
    assert "with 5 values a window no drift can be told from chance" in found["reason"]
    assert not alerts
    for _ in range(195):
        detector.add_sample({"common": 0.5, "rare": 99.0})
    detector.flush()
    assert [(alert.feature_name, alert.severity) for alert in alerts] == [("rare", "critical")]


def test_unknown_features_are_left_alone() -> None:
    """Names without a reference are neither kept nor counted."""
    detector, _ = data_detector(10, x=SCORES)
    feed(detector, x=SCORES[:5], other=SCORES[:5])
    assert set(detector.check_drift()) == {"x"}


@pytest.mark.parametrize(
    ("reference", "where"),
    [({}, "reference_data: number of features is 0"), ({"x": []}, "reference_data: x: number of values is 0"),
     ({"x": ["a", None, math.nan]}, "reference_data: x: number of values is 0")],
)  # fmt: skip
def test_an_empty_reference_is_refused_at_the_start(reference: Any, where: str) -> None:
    """Defect a8: the constructor says what is missing; no request finds out."""
    with pytest.raises(NotEnoughData, match=where):
        DataDriftDetector("m", reference)
    with pytest.raises(ValueError, match="window_size is 0; expected a whole number from 1 on"):
        DataDriftDetector("m", {"x": [1.0]}, 0)


def test_without_scipy_the_constructors_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said at the start, with the command that mends it."""
    import sys

    monkeypatch.setitem(sys.modules, "scipy.special", None)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    makers: list[Callable[[], Any]] = [lambda: DataDriftDetector("m", {"x": [1.0]}), lambda: ConceptDriftDetector("m")]
    for make in makers:
        with pytest.raises(MissingExtra, match=r"pip install 'modelwatch\[server\]'"):
            make()


def test_eight_threads_lose_no_window() -> None:
    """8 000 samples from eight threads are eight windows of a thousand, all judged."""
    detector, alerts = data_detector(1000, x=SCORES)
    values = (SCORES + 1).tolist()

    def work(part: list[float]) -> None:
        for value in part:
            detector.add_sample({"x": value})

    threads = [threading.Thread(target=work, args=(values[i * 1000 : (i + 1) * 1000],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    detector.flush()
    assert len(alerts) == 8
    assert detector.skipped == 0


def test_a_full_window_is_judged_by_another_thread() -> None:
    """The call that closes a window computes nothing: the alert comes from a thread of the detector."""
    came, names = threading.Event(), []

    def on_alert(alert: DriftAlert) -> None:
        names.append(threading.current_thread().name)
        came.set()

    detector = DataDriftDetector("m", {"x": SCORES}, 100, on_alert=on_alert)
    for value in (SCORES[:100] + 9).tolist():
        detector.add_sample({"x": value})
    assert came.wait(10)
    assert names == ["modelwatch-drift"]


def test_two_hundred_features_are_judged_in_time() -> None:
    """200 features of 10 000 training values and a window of 1 000: less than two seconds of CPU, p-values included."""
    names = [f"x{i}" for i in range(200)]
    detector, _ = data_detector(10**6, **dict.fromkeys(names, SCORES))
    for value in SCORES[:1000].tolist():
        detector.add_sample(dict.fromkeys(names, value))
    begin = time.process_time()
    assert all(found["samples"] == 1000 for found in detector.check_drift().values())
    assert time.process_time() - begin < 2


def test_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be started nothing is raised, and the next check judges what waits."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    detector, alerts = data_detector(100, x=SCORES)
    monkeypatch.setattr(threading.Thread, "start", start)
    for value in (SCORES[:100] + 9).tolist():
        detector.add_sample({"x": value})
    assert not alerts
    detector.flush()
    assert len(alerts) == 1


def test_a_judge_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Thresholds that are none: logged, and the next window is judged."""
    detector, alerts = data_detector(100, x=SCORES)
    detector.thresholds = None  # type: ignore[assignment]
    feed(detector, x=SCORES[:100] + 9)
    assert "a window was not judged" in caplog.text
    detector.thresholds = {"critical": 0.25}
    feed(detector, x=SCORES[:100] + 9)
    assert len(alerts) == 1


def test_a_callback_that_fails_or_waits_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its fault is logged; while it waits, windows wait with it, but never more than a bounded number."""
    go = threading.Event()

    def on_alert(alert: DriftAlert) -> None:
        go.wait(10)
        raise RuntimeError("no connection")

    detector = DataDriftDetector("m", {"x": SCORES}, 2, on_alert=on_alert)
    detector.thresholds = {"info": 0.1}
    detector.window_size = 30
    for value in np.resize(SCORES + 9, 30 * (MOST_WAITING + 9)).tolist():
        detector.add_sample({"x": value})
    assert detector.skipped > 0
    go.set()
    detector.flush()
    assert detector._judges.faults == sum(detector.alerts.values()) > 0
    assert "an alert was not taken" in caplog.text


def test_alerts_are_logged_without_a_callback(caplog: pytest.LogCaptureFixture) -> None:
    """By default an alert is a warning of the library's logger, with names and no values."""
    detector = DataDriftDetector("m", {"x": SCORES}, 100)
    feed(detector, x=SCORES[:100] + 9)
    (record,) = [found for found in caplog.records if found.message == "modelwatch: drift"]
    assert (record.__dict__["feature"], record.__dict__["severity"]) == ("x", "critical")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_a_window_is_judged() -> None:
    """The child has locks of its own: its windows are judged."""
    entered, go = threading.Event(), threading.Event()

    def on_alert(alert: DriftAlert) -> None:
        entered.set()
        go.wait(10)

    detector = DataDriftDetector("m", {"x": SCORES}, 50, on_alert=on_alert)
    for value in (SCORES[:50] + 9).tolist():
        detector.add_sample({"x": value})
    assert entered.wait(10)
    child = os.fork()
    if not child:
        go.set()
        for value in (SCORES[:50] + 9).tolist():
            detector.add_sample({"x": value})
        detector.flush()
        os._exit(0 if detector.results["x"]["samples"] == 50 and detector.alerts["x", "critical"] >= 2 else 1)
    go.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@given(st.lists(st.floats() | st.none() | st.text(max_size=2) | st.booleans() | st.integers(-999, 999), max_size=60))
def test_any_values_give_what_scipy_gives_of_the_numbers(values: list[Any]) -> None:
    """Whatever is given, the statistic is that of the numbers among it."""
    detector, _ = data_detector(100, x=SCORES[:200])
    for value in values:
        detector.add_sample({"x": value})
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and value == value]
    found = detector.check_drift()["x"]
    if not numbers:
        assert found["ks_statistic"] is None
        return
    with np.errstate(all="ignore"):
        expected = stats.ks_2samp(SCORES[:200], numbers, method="asymp").statistic
    assert found["ks_statistic"] == pytest.approx(expected, abs=1e-12)


# -- predictions -------------------------------------------------------------------------------------------------------


def concept_detector(baseline: Any = None, window_size: int = 1000) -> tuple[ConceptDriftDetector, list[DriftAlert]]:
    """Return a detector and the alerts that it sends."""
    alerts: list[DriftAlert] = []
    detector = ConceptDriftDetector("sentiment_classifier", on_alert=alerts.append)
    detector.window_size = window_size
    if baseline is not None:
        detector.set_baseline(baseline)
    return detector, alerts


def track(detector: ConceptDriftDetector, predictions: Any) -> None:
    """Track predictions one by one."""
    for prediction in predictions:
        detector.track_prediction(prediction)
    detector.flush()


CONFIDENCES = RNG.beta(8, 2, 10_000)


def test_predictions_as_the_brief_uses_them() -> None:
    """The same model is quiet; another one alerts, in the brief's words."""
    detector, alerts = concept_detector(CONFIDENCES)
    assert detector.thresholds == {"info": 0.1, "warning": 0.2, "critical": 0.25}
    assert detector.baseline_distribution is not None
    expected = np.histogram(CONFIDENCES, bins=10, range=(0, 1))[0] / len(CONFIDENCES)
    assert detector.baseline_distribution == pytest.approx(expected)
    track(detector, RNG.beta(8, 2, 1000))
    assert not alerts
    assert detector.check_concept_drift() < 0.05  # type: ignore[operator]  # there is one
    track(detector, RNG.beta(3, 3, 1000))
    (alert,) = alerts
    assert (alert.kind, alert.feature_name, alert.severity) == ("concept_drift", None, "critical")
    assert alert.score == detector.check_concept_drift()
    for words in ("CONCEPT DRIFT DETECTED", "Severity: CRITICAL", f"PSI: {alert.score:.3f}", "3. Validate accuracy"):
        assert words in alert.message


def test_calculate_psi() -> None:
    """Of shares as in the brief, or of counts: the brief's number."""
    detector, _ = concept_detector()
    expected, actual = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.7, 0.05])
    floored = np.where(expected == 0, 1e-4, expected)
    by_hand = float(np.sum((actual - floored) * np.log(actual / floored)))
    assert detector.calculate_psi(expected, actual) == pytest.approx(by_hand, rel=1e-12)  # type: ignore[arg-type]
    assert detector.calculate_psi([5, 5, 0], [25, 70, 5]) == pytest.approx(by_hand, rel=1e-12)
    assert detector.calculate_psi([0, 0], [1, 1]) is None


def test_production_is_never_the_baseline() -> None:
    """Defect g1: a process that starts on a broken model learns nothing from it."""
    detector, alerts = concept_detector()
    track(detector, [0.01] * 5000)
    assert detector.baseline_distribution is None
    assert detector.check_concept_drift() is None
    assert detector.without_baseline == 5000
    assert not alerts
    detector.set_baseline(CONFIDENCES)
    assert detector.check_concept_drift() is None
    track(detector, [0.01] * 1000)
    assert detector.check_concept_drift() > 5  # type: ignore[operator]  # there is one
    assert [alert.severity for alert in alerts] == ["critical"]


@pytest.mark.parametrize(("baseline", "now"), [(6.0, -50.0), (6.0, 20.0), (-3.0, 0.5), (0.9, -50.0), (0.5, 40.0)])
def test_logits_are_told_apart(baseline: float, now: float) -> None:
    """Defect a9: outputs outside of 0 to 1 are in the index, on whichever side they move."""
    spread = 0.05 if 0 < baseline < 1 else 1.0
    detector, alerts = concept_detector(
        np.clip(RNG.normal(baseline, spread, 5000), *((0, 1) if spread < 1 else (-99, 99)))
    )
    track(detector, RNG.normal(now, 1, 1000))
    assert detector.check_concept_drift() > 2  # type: ignore[operator]  # there is one
    assert [alert.severity for alert in alerts] == ["critical"]


def test_a_constant_baseline_sees_every_move() -> None:
    """More, less, and the same."""
    for now, moved in ((7.5, False), (8.5, True), (6.5, True)):
        detector, alerts = concept_detector([7.5] * 5000)
        track(detector, [now] * 1000)
        assert bool(alerts) == moved


@pytest.mark.parametrize("kind", [str, int, float, np.int64])
def test_class_labels(kind: Callable[[Any], Any]) -> None:
    """Defect a9: classes instead of probabilities have a bin each; a new class is seen."""
    detector, alerts = concept_detector([kind(i % 3) for i in range(3000)])
    track(detector, [kind(i % 3) for i in range(1000)])
    assert not alerts
    track(detector, [kind(7 if i % 3 == 2 else i % 3) for i in range(1000)])
    assert [alert.severity for alert in alerts] == ["critical"]
    track(detector, [kind(0)] * 1000)
    assert alerts[-1].severity == "critical"


def test_one_and_one_point_zero_are_one_class() -> None:
    """A column with gaps comes as floats; its classes are the same."""
    detector, alerts = concept_detector([i % 3 for i in range(3000)])
    track(detector, [float(i % 3) for i in range(1000)])
    assert not alerts
    assert detector.check_concept_drift() < 0.01  # type: ignore[operator]  # there is one


@pytest.mark.parametrize("bad", BAD, ids=[type(value).__name__ for value in BAD])
def test_one_bad_prediction_affects_only_itself(bad: Any) -> None:
    """Defects a1, a9: nothing is raised, and the index of the others is the same to the last bit."""
    values = RNG.beta(5, 3, 900).tolist()
    clean, dirty = concept_detector(CONFIDENCES)[0], concept_detector(CONFIDENCES)[0]
    track(clean, values)
    track(dirty, [*values[:400], bad, *values[400:]])
    assert clean.check_concept_drift() == dirty.check_concept_drift() is not None
    assert dirty.missing_ratio == pytest.approx(1 / 901)


@pytest.mark.parametrize("broken", [math.nan, None, "positive"])
def test_predictions_that_are_no_numbers_alert(broken: Any) -> None:
    """Defect a9: all NaN is no index of 7.64 but an alert that predictions are missing."""
    detector, alerts = concept_detector(CONFIDENCES)
    track(detector, [broken] * 1000)
    assert detector.check_concept_drift() is None
    assert [(alert.kind, alert.feature_name) for alert in alerts] == [("missing_values", None)]


def test_a_class_with_code_of_its_own() -> None:
    """What fails when it is asked for its class is none; windows that cannot be judged in time are skipped."""
    detector, alerts = concept_detector(["a", "b"] * 500, window_size=100)
    track(detector, [UnkindFloat(1.0)] * 100)
    assert detector.missing_ratio == 1
    assert [alert.kind for alert in alerts] == ["missing_values"]
    assert detector.skipped == 0


def test_few_predictions_tell_nothing() -> None:
    """249 of the 250 that ten bins need: no alert, and the reason."""
    detector, alerts = concept_detector(CONFIDENCES, window_size=249)
    track(detector, [0.01] * 249)
    assert not alerts
    assert detector.decision is not None
    assert detector.decision.reason == "249 of 250 values in a window: 25 for each of 10 cells are needed"


@pytest.mark.parametrize("baseline", [[], [None, math.nan], [object()]])
def test_a_baseline_of_nothing_is_refused(baseline: list[Any]) -> None:
    """One line that says what to give; and a number of bins must be one."""
    detector, _ = concept_detector()
    with pytest.raises(NotEnoughData, match=r"^set_baseline: number of predictions is 0; expected probabilities or"):
        detector.set_baseline(baseline)
    with pytest.raises(ValueError, match="num_bins is 1; expected a whole number from 2 on"):
        ConceptDriftDetector("m", 1)
