"""The car-loan data and NannyML's published tables: estimates, alerts and realised metrics."""

from __future__ import annotations

import gzip
import json
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from modelwatch.statistics import (
    BinaryEstimate,
    Calibrator,
    SampleSums,
    classification,
    confusion,
    estimate_binary,
    estimate_is_low,
    score_counts,
    score_edges,
)
from support import shared_data

CHUNK = 5000
Chunks = list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]]


class CarLoan(NamedTuple):
    """Ten chunks of (score, called, repaid) of the reference, and ten of the analysis."""

    reference: Chunks
    analysis: Chunks
    published: list[dict[str, float]]


@pytest.fixture(scope="module")
def car_loan() -> CarLoan:
    """The data with their late labels joined on id, and the table that was published for them."""
    parquet = pytest.importorskip("pyarrow.parquet")
    reference, analysis, targets = (
        parquet.read_table(shared_data(f"nannyml_car_loan_{part}.parquet"))
        for part in ("reference", "analysis", "analysis_targets")
    )
    analysis = analysis.join(targets, "id").sort_by("id")

    def chunks(table: Any) -> Chunks:
        score, called, repaid = (table.column(name).to_numpy() for name in ("y_pred_proba", "y_pred", "repaid"))
        return [
            (score[at : at + CHUNK], called[at : at + CHUNK], repaid[at : at + CHUNK].astype(int))
            for at in range(0, len(score), CHUNK)
        ]

    tables = json.loads(gzip.decompress(shared_data("nannyml_published_tables.json.gz").read_bytes()))["tables"]
    text = next(
        t["table_text"]
        for t in tables
        if "metrics=['roc_auc', 'accuracy', 'f1']" in "".join(t["setup"]) and "| period" in t["table_text"]
    )
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines() if "[" in line]
    published = [
        {"roc_auc": float(r[7]), "auc_lower": float(r[13]), "auc_alert": r[14] == "True", "accuracy": float(r[15])}
        for r in rows
    ]
    return CarLoan(chunks(reference), chunks(analysis), published)


def estimates(data: CarLoan, bins: int) -> list[BinaryEstimate]:
    """Return the estimate of each chunk, from counts in equal-width bins alone."""
    edges = score_edges(bins=bins)
    score, _, repaid = (np.concatenate(column) for column in zip(*data.reference, strict=True))
    calibrator = Calibrator.fit(score_counts(score[repaid == 1], edges), score_counts(score, edges))
    assert calibrator is not None
    found = []
    for chunk, called, _ in data.analysis:
        estimate = estimate_binary(
            calibrator, score_counts(chunk[called == 0], edges), score_counts(chunk[called == 1], edges)
        )
        assert estimate is not None
        found.append(estimate)
    return found


@pytest.mark.parametrize(("bins", "tolerance"), [(50, 2.5e-4), (100, 3.2e-5)])
def test_roc_auc_equals_the_published_one(car_loan: CarLoan, bins: int, tolerance: float) -> None:
    """From counts in 50 bins to 0.00025, in 100 to 0.00003; accuracy to a thousandth."""
    found = estimates(car_loan, bins)
    assert len(found) == len(car_loan.published) == 10
    for mine, theirs in zip(found, car_loan.published, strict=True):
        assert mine.roc_auc is not None
        assert mine.roc_auc.value == pytest.approx(theirs["roc_auc"], abs=tolerance)
        assert mine.accuracy.value == pytest.approx(theirs["accuracy"], abs=1e-3)


def test_alerts_on_the_same_chunks(car_loan: CarLoan) -> None:
    """Below the published threshold, which is the reference's mean less 3 standard deviations: chunks 5 to 9."""
    metrics = pytest.importorskip("sklearn.metrics")
    realised = [metrics.roc_auc_score(repaid, score) for score, _, repaid in car_loan.reference]
    lower = float(np.mean(realised) - 3 * np.std(realised))
    assert lower == pytest.approx(car_loan.published[0]["auc_lower"], abs=1e-6)
    found = [each.roc_auc for each in estimates(car_loan, 50)]
    alerts = [each is not None and each.value < lower for each in found]
    assert alerts == [row["auc_alert"] for row in car_loan.published]
    assert alerts == [False] * 5 + [True] * 5


def test_accuracy_warns_on_the_same_chunks(car_loan: CarLoan) -> None:
    """The rule of the package, the upper bound below the reference less 3 standard errors, never on a chunk without."""
    correct = sum(int((called == repaid).sum()) for _, called, repaid in car_loan.reference)
    reference = correct / sum(len(score) for score, _, _ in car_loan.reference)
    warned = [
        estimate_is_low(each.accuracy, reference=reference, se=each.over_time_se) for each in estimates(car_loan, 50)
    ]
    assert warned == [False] * 5 + [True] * 5


def test_realised_metrics_equal_scikit_learn(car_loan: CarLoan) -> None:
    """Once the labels are there: accuracy, precision, recall, F1 to 1e-12; the estimates were right to a point."""
    metrics = pytest.importorskip("sklearn.metrics")
    off = []
    for estimate, (score, called, repaid) in zip(estimates(car_loan, 50), car_loan.analysis, strict=True):
        names, matrix = confusion(repaid.astype(str), called.astype(str))
        found = classification(names, matrix)
        yes = found.classes[names.index("1")]
        assert found.accuracy == pytest.approx(metrics.accuracy_score(repaid, called), abs=1e-12)
        assert yes.precision == pytest.approx(metrics.precision_score(repaid, called), abs=1e-12)
        assert yes.recall == pytest.approx(metrics.recall_score(repaid, called), abs=1e-12)
        assert yes.f1 == pytest.approx(metrics.f1_score(repaid, called), abs=1e-12)
        assert SampleSums.of(called == repaid).accuracy() == pytest.approx(found.accuracy, abs=1e-12)
        assert found.accuracy is not None
        off.append(abs(estimate.accuracy.value - found.accuracy))
        assert estimate.roc_auc is not None
        assert estimate.roc_auc.value == pytest.approx(metrics.roc_auc_score(repaid, score), abs=0.006)
    assert np.mean(off) < 0.0035
    assert max(off) < 0.01
