"""Performance without labels: goldens, bounds, coverage of the intervals, and the bins' loss against raw scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.statistics import (
    Calibrator,
    Estimate,
    estimate_accuracy,
    estimate_binary,
    estimate_is_low,
    estimate_misleads,
    estimate_regression,
    score_counts,
    score_edges,
)

Floats = npt.NDArray[np.float64]
CERTAIN = 1e15  # reference rows of a calibrator without an error of its own
BINS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30)


def golden() -> Calibrator:
    """The calibrator of the worked example."""
    return Calibrator(np.array([0.1, 0.4, 0.8]), np.full(3, CERTAIN))


def test_golden() -> None:
    """Expected confusion, accuracy with its label noise, F1 and ROC AUC of the worked example."""
    found = estimate_binary(golden(), [50, 30, 0], [0, 0, 20])
    assert found is not None
    assert (found.tp, found.fp, found.fn, found.tn) == pytest.approx((16, 4, 17, 63))
    assert found.accuracy.value == pytest.approx(0.79, abs=1e-12)
    assert found.accuracy.se == pytest.approx(0.038600518, abs=5e-10)
    assert found.over_time_se == pytest.approx(math.sqrt(0.79 * 0.21 / 100))
    assert found.precision is not None
    assert found.recall is not None
    assert found.f1 is not None
    assert found.roc_auc is not None
    assert found.precision.value == pytest.approx(16 / 20)
    assert found.recall.value == pytest.approx(16 / 33)
    assert found.f1.value == pytest.approx(0.603773585, abs=5e-10)
    assert found.roc_auc.value == pytest.approx(0.814337404, abs=5e-10)
    assert found.roc_auc.se**2 == pytest.approx(0.001908768, abs=5e-10)


def test_the_calibrators_own_error_is_added() -> None:
    """√(Σ (n_b/n)² g(1-g)/r_b) beside the noise of the labels, where a bin has predictions of one class only."""
    g, rows = np.array([0.1, 0.4, 0.8]), np.array([200.0, 100.0, 50.0])
    found = estimate_binary(Calibrator(g, rows), [50, 30, 0], [0, 0, 20])
    assert found is not None
    own = math.sqrt(float(((np.array([50, 30, 20]) / 100) ** 2 * g * (1 - g) / rows).sum()))
    assert found.accuracy.se == pytest.approx(math.hypot(0.038600518, own), abs=1e-9)


def metrics_of(n0: Floats, n1: Floats, x0: Floats, x1: Floats) -> dict[str, float]:
    """Return each metric, where x0 of n0 and x1 of n1 are positive, from its definition."""
    tp, fn = float(x1.sum()), float(x0.sum())
    called, real, n = float(n1.sum()), tp + fn, float((n0 + n1).sum())
    positive, negative = x0 + x1, n0 + n1 - x0 - x1
    above = np.tril(np.ones((len(n0), len(n0))), -1) + np.eye(len(n0)) / 2
    area = float(positive @ above @ negative) / (float(positive.sum()) * float(negative.sum()))
    right = tp + n - called - fn
    return {
        "accuracy": right / n,
        "precision": tp / called,
        "recall": tp / real,
        "f1": 2 * tp / (called + real),
        "roc_auc": area,
    }


def test_standard_errors_are_those_of_the_delta_method() -> None:
    """Each is the root of noise of labels and error of rates, with derivatives taken numerically; called = real, too."""
    g, rows = np.array([0.1, 0.3, 0.45, 0.6, 0.9]), np.array([80.0, 40.0, 30.0, 60.0, 90.0])
    n0, n1 = np.array([70.0, 25.0, 10.0, 0.0, 0.0]), np.array([0.0, 5.0, 12.0, 30.0, 50.0])
    found = estimate_binary(Calibrator(g, rows), n0, n1)
    assert found is not None
    values = metrics_of(n0, n1, n0 * g, n1 * g)
    step = 1e-5
    for name, value in values.items():
        estimate: Estimate = getattr(found, name)
        assert estimate.value == pytest.approx(value, abs=1e-12)
        variance = 0.0
        for b in range(5):
            one = np.eye(5)[b] * step
            by_rate = (metrics_of(n0, n1, n0 * (g + one), n1 * (g + one))[name] - value) / step
            variance += by_rate**2 * g[b] * (1 - g[b]) / rows[b]
            if name != "roc_auc":
                by_x0 = (metrics_of(n0, n1, n0 * g + one, n1 * g)[name] - value) / step
                by_x1 = (metrics_of(n0, n1, n0 * g, n1 * g + one)[name] - value) / step
                variance += (by_x0**2 * n0[b] + by_x1**2 * n1[b]) * g[b] * (1 - g[b])
        if name == "roc_auc":
            certain = estimate_binary(Calibrator(g, np.full(5, CERTAIN)), n0, n1)
            assert certain is not None
            assert certain.roc_auc is not None
            variance += certain.roc_auc.se**2  # the golden has it
        assert estimate.se == pytest.approx(math.sqrt(variance), rel=1e-3), name
        assert (estimate.low, estimate.high) == pytest.approx(
            (value - 1.959964 * estimate.se, min(value + 1.959964 * estimate.se, 1)), abs=1e-9
        )
    same = estimate_binary(Calibrator(np.array([0.25, 0.75]), np.full(2, CERTAIN)), [10, 0], [0, 10])
    assert same is not None
    assert same.f1 is not None
    assert same.f1.value == pytest.approx(0.75)  # as many are called positive as are


def test_undefined_is_none() -> None:
    """No predictions, no reference: nothing. Where nothing is called positive there is no precision."""
    assert estimate_binary(golden(), [0, 0, 0], [0, 0, 0]) is None
    assert Calibrator.fit([0, 0], [0, 0]) is None
    found = estimate_binary(golden(), [50, 30, 0], [0, 0, 0])
    assert found is not None
    assert found.precision is None
    assert found.recall is not None
    nothing = estimate_binary(Calibrator(np.zeros(2), np.full(2, 9.0)), [4, 0], [0, 0])
    assert nothing is not None
    assert (nothing.precision, nothing.recall, nothing.f1, nothing.roc_auc) == (None, None, None, None)
    assert nothing.accuracy.value == 1


@given(BINS)
def test_calibrator_equals_scikit_learn(bins: list[tuple[int, int]]) -> None:
    """The pooled rates are those of its isotonic regression; empty bins lie between their neighbours."""
    isotonic = pytest.importorskip("sklearn.isotonic")
    totals = np.array([n + extra for n, extra in bins])
    positives = np.array([n for n, _ in bins])
    found = Calibrator.fit(positives, totals)
    filled = np.flatnonzero(totals)
    if not len(filled):
        assert found is None
        return
    assert found is not None
    theirs = isotonic.IsotonicRegression(out_of_bounds="clip").fit(
        filled, positives[filled] / totals[filled], sample_weight=totals[filled]
    )
    assert found.rates == pytest.approx(theirs.predict(np.arange(len(totals))), abs=1e-12)
    assert (np.diff(found.rates) >= -1e-15).all()
    for b in range(len(totals)):
        around = [totals[filled[filled <= b][-1]]] if (filled <= b).any() else []
        around += [totals[filled[filled >= b][0]]] if (filled >= b).any() else []
        assert found.samples[b] == min(around)


def test_what_is_no_reference_is_refused() -> None:
    """More positives than rows, or columns of different length."""
    for positives, totals in (([2, 1], [1, 1]), ([1], [1, 1])):
        with pytest.raises(ValueError, match="Calibrator: positives of totals"):
            Calibrator.fit(positives, totals)


def test_the_threshold_is_an_edge() -> None:
    """A threshold that is no multiple of the width gets an edge of its own; its own score is on the positive side."""
    assert score_edges().tolist() == [b / 50 for b in range(1, 50)]
    assert len(score_edges(0.335)) == 50
    assert len(score_edges(0.3, bins=100)) == 99
    counts = score_counts([0.33, 0.335, 0.34, 0.0, 1.0], score_edges(0.335))
    edges = score_edges(0.335).tolist()
    assert counts[: edges.index(0.335) + 1].sum() == 2
    assert counts[edges.index(0.335) + 1 :].sum() == 3
    assert (counts[0], counts[-1]) == (1, 1)
    assert score_counts([0.1, 0.9], [0.5], [2.0, 3.0]).tolist() == [2, 3]


@given(BINS, st.lists(st.integers(0, 30), min_size=30, max_size=30), st.integers(0, 30))
def test_bounds_and_agreement_with_raw_ranks(bins: list[tuple[int, int]], counts: list[int], cut: int) -> None:
    """Everything is within 0 and 1 and its interval; the AUC is that of all pairs, counted one by one."""
    calibrator = Calibrator.fit([n for n, _ in bins], [n + extra for n, extra in bins])
    if calibrator is None:
        return
    n = np.array(counts[: len(bins)])
    called = np.arange(len(bins)) >= cut
    found = estimate_binary(calibrator, np.where(called, 0, n), np.where(called, n, 0))
    if found is None:
        assert not n.sum()
        return
    for each in (found.accuracy, found.precision, found.recall, found.f1, found.roc_auc):
        assert each is None or (0 <= each.low <= each.value + 1e-12 <= each.high + 2e-12 <= 1 + 3e-12)
    assert found.tp + found.fp + found.fn + found.tn == pytest.approx(n.sum())
    g = calibrator.rates
    p, q = n * g, n * (1 - g)
    above = np.greater(g[:, None], g[None, :]) + np.equal(g[:, None], g[None, :]) / 2
    if found.roc_auc is None:
        assert not p.sum() or not q.sum()
    else:
        pairs = float((p[:, None] * q[None, :] * above).sum())
        assert found.roc_auc.value == pytest.approx(pairs / (p.sum() * q.sum()), abs=1e-9)


def draw(rng: np.random.Generator, n: int, shift: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return continuous scores that are overconfident, and labels; `shift` moves the traffic, not P(label | score)."""
    inner = rng.normal(shift, 1.5, n)
    label = rng.random(n) < 1 / (1 + np.exp(-inner))
    return 1 / (1 + np.exp(-1.7 * inner)), label


def test_intervals_cover_what_the_labels_will_say() -> None:
    """Over 150 windows of moved traffic, each with its own reference, at least 92 % of the realised values are inside."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(8)
    edges = score_edges()
    inside = dict.fromkeys(("accuracy", "precision", "recall", "f1", "roc_auc"), 0)
    for _ in range(150):
        scores, labels = draw(rng, 3000, 0.0)
        calibrator = Calibrator.fit(score_counts(scores[labels], edges), score_counts(scores, edges))
        assert calibrator is not None
        now, truth = draw(rng, 1500, 0.8)
        called = now >= 0.5
        found = estimate_binary(calibrator, score_counts(now[~called], edges), score_counts(now[called], edges))
        assert found is not None
        real = {
            "accuracy": metrics.accuracy_score(truth, called),
            "precision": metrics.precision_score(truth, called),
            "recall": metrics.recall_score(truth, called),
            "f1": metrics.f1_score(truth, called),
            "roc_auc": metrics.roc_auc_score(truth, now),
        }
        for name, value in real.items():
            estimate: Estimate = getattr(found, name)
            inside[name] += estimate.low <= value <= estimate.high
    assert {name: count for name, count in inside.items() if count < 138} == {}


def test_uncalibrated_scores_would_mislead() -> None:
    """Overconfident scores taken as they are say 5 points more than is true; calibrated ones are right to a point."""
    rng = np.random.default_rng(9)
    edges = score_edges()
    scores, labels = draw(rng, 50_000, 0.0)
    calibrator = Calibrator.fit(score_counts(scores[labels], edges), score_counts(scores, edges))
    assert calibrator is not None
    now, truth = draw(rng, 50_000, -0.5)
    called = now >= 0.5
    found = estimate_binary(calibrator, score_counts(now[~called], edges), score_counts(now[called], edges))
    assert found is not None
    realised = float((called == truth).mean())
    raw = float(np.maximum(now, 1 - now).mean())
    assert raw - realised > 0.03
    assert found.accuracy.value == pytest.approx(realised, abs=0.01)


def test_multiclass_accuracy() -> None:
    """Each predicted class has a calibrator of its own; a class that the reference never had gives no number."""
    first = Calibrator(np.array([0.5, 0.9]), np.full(2, CERTAIN))
    second = Calibrator(np.array([0.2, 0.6]), np.full(2, CERTAIN))
    found = estimate_accuracy([first, second, None], [[10, 30], [20, 40], [0, 0]])
    assert found is not None
    assert found.value == pytest.approx((5 + 27 + 4 + 24) / 100)
    assert found.se == pytest.approx(math.sqrt(10 * 0.25 + 30 * 0.09 + 20 * 0.16 + 40 * 0.24) / 100)
    assert estimate_accuracy([first, second, None], [[10, 30], [20, 40], [1, 0]]) is None
    assert estimate_accuracy([first], [[0, 0]]) is None
    unsure = estimate_accuracy([Calibrator(first.rates, np.array([5.0, 5.0]))], [[10, 30]])
    sure = estimate_accuracy([first], [[10, 30]])
    assert unsure is not None
    assert sure is not None
    assert unsure.se > sure.se


def test_regression_follows_predictions_that_move() -> None:
    """Where predictions move to where errors are larger, the estimate rises as the realised error does."""
    rng = np.random.default_rng(10)

    def sample(n: int, shift: float) -> tuple[Floats, Floats]:
        prediction = rng.normal(shift, 1, n)
        return prediction, rng.normal(0, np.exp(0.3 * prediction))

    prediction, error = sample(40_000, 0.0)
    edges = np.quantile(prediction, np.arange(1, 20) / 20)
    rows, absolute, square = (score_counts(prediction, edges, w) for w in (None, np.abs(error), error**2))
    now, later = sample(20_000, 1.0)
    found = estimate_regression(score_counts(now, edges), rows, absolute, square)
    assert found is not None
    realised = float(np.abs(later).mean())
    assert realised > 1.2 * float(np.abs(error).mean())
    assert found.mae.value == pytest.approx(realised, rel=0.05)
    assert found.rmse == pytest.approx(float(np.sqrt((later**2).mean())), rel=0.1)
    same = estimate_regression(rows, rows, absolute, square)
    assert same is not None
    assert same.mae.value == pytest.approx(float(np.abs(error).mean()), rel=1e-12)
    assert same.rmse == pytest.approx(float(np.sqrt((error**2).mean())), rel=1e-12)
    assert same.mae.low < same.mae.value < same.mae.high


def test_regression_says_nothing_of_bins_it_never_saw() -> None:
    """A prediction in a bin without reference rows has no known error."""
    assert estimate_regression([1, 0], [0, 5], [0, 2.5], [0, 3]) is None
    assert estimate_regression([0, 0], [1, 5], [1, 2.5], [1, 3]) is None
    found = estimate_regression([0, 4], [0, 5], [0, 2.5], [0, 3])
    assert found is not None
    assert (found.mae.value, found.rmse) == pytest.approx((0.5, math.sqrt(0.6)))


def test_regression_error_is_that_of_labels_and_reference() -> None:
    """The interval of the MAE by hand: spread of |e| in each bin over the labels to come, and over the reference."""
    found = estimate_regression([30, 10], [50, 25], [50.0, 50.0], [150.0, 125.0])
    assert found is not None
    assert found.mae.value == pytest.approx(0.75 * 1 + 0.25 * 2)
    spread = (3 - 1, 5 - 4)
    labels = (0.75 * spread[0] + 0.25 * spread[1]) / 40
    reference = 0.75**2 * spread[0] / 50 + 0.25**2 * spread[1] / 25
    assert found.mae.se == pytest.approx(math.sqrt(labels + reference), rel=1e-12)
    certain = estimate_regression([4], [10], [20.0], [40.0])
    assert certain is not None
    assert certain.mae == (2, 2, 2, 0)
    wide = estimate_regression([1], [10], [1.0], [100.0])
    assert wide is not None
    assert wide.mae.low == 0
    assert wide.mae.high > 1


def test_when_to_warn() -> None:
    """When the upper bound is below the target, or 3 standard errors below the reference; never without either."""
    estimate = Estimate(0.80, 0.78, 0.82, 0.01)
    assert estimate_is_low(estimate, target=0.85)
    assert not estimate_is_low(estimate, target=0.82)
    assert estimate_is_low(estimate, reference=0.86)
    assert not estimate_is_low(estimate, reference=0.85)
    assert not estimate_is_low(estimate, reference=0.86, se=0.02)
    assert not estimate_is_low(estimate)


@pytest.mark.parametrize(
    ("off", "hidden"),
    [
        ([], False),
        ([0.06], False),
        ([0.06, 0.06], True),
        ([0.06, -0.06], True),
        ([0.06, 0.06, 0, 0, 0], False),
        ([0.06, 0, 0, 0.06], True),
        ([0.05, 0.05], False),
    ],
)
def test_when_to_hide(off: Sequence[float], hidden: bool) -> None:
    """When it was wrong by more than 5 points in 2 of the last 4 mature windows."""
    assert estimate_misleads([0.5 + each for each in off], [0.5] * len(off)) is hidden


def test_multiclass_error_is_that_of_labels_and_reference() -> None:
    """To the digit: noise of the labels, and the calibrators' own error, which does not shrink with the predictions."""
    few = Calibrator(np.array([0.5, 0.9]), np.array([5.0, 8.0]))
    found = estimate_accuracy([few], [[10, 30]])
    assert found is not None
    labels, own = 10 * 0.25 + 30 * 0.09, 10**2 * 0.25 / 5 + 30**2 * 0.09 / 8
    assert found.se == pytest.approx(math.sqrt(labels + own) / 40)


def test_a_class_that_is_not_predicted_hides_no_other() -> None:
    """Wherever it stands among the classes."""
    first, second = (Calibrator(np.array(rates), np.full(2, CERTAIN)) for rates in ([0.5, 0.9], [0.2, 0.6]))
    found = estimate_accuracy([first, second], [[0, 0], [20, 40]])
    assert found is not None
    assert found.value == pytest.approx((20 * 0.2 + 40 * 0.6) / 60)


def test_a_bin_with_one_row_of_the_reference_is_known() -> None:
    """Little is better than nothing: it is counted with the others."""
    found = estimate_regression([3, 1], [1, 5], [2, 2.5], [4, 3])
    assert found is not None
    assert (found.mae.value, found.rmse) == pytest.approx(((3 * 2 + 0.5) / 4, math.sqrt((3 * 4 + 0.6) / 4)))


def test_what_does_not_belong_together_is_no_estimate() -> None:
    """More classes than calibrators, more windows than labels: an error, never a number about a part."""
    one = Calibrator(np.array([0.5, 0.9]), np.full(2, CERTAIN))
    with pytest.raises(ValueError, match="shorter|longer"):
        estimate_accuracy([one], [[10, 30], [20, 40]])
    with pytest.raises(ValueError, match="shorter|longer"):
        estimate_misleads([0.5, 0.5], [0.5])
