"""A classifier of two classes without labels: what is expected is what labels show, however they were sampled."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from modelwatch.config import load_config
from modelwatch.groundtruth.store import Sample, Store
from modelwatch.qualityrows import Columns
from modelwatch.reference import Calibration, Reference
from modelwatch.sources.binary import binary
from modelwatch.sources.quality import QualitySource
from modelwatch.sources.render import _binary_lines

CLASSES = ("no", "yes")


def scores(chance: random.Random, n: int, lean: float) -> list[tuple[float, bool]]:
    """Return (score of "yes", whether it is true) of a model that is too sure of itself."""
    found = []
    for _ in range(n):
        score = min(max(chance.betavariate(1, 1) ** lean, 0.001), 0.999)
        found.append((score, chance.random() < 0.5 + 0.8 * (score - 0.5)))
    return found


def profile(rows: list[tuple[float, bool]]) -> Reference:
    """Return what training knew of it: right or not, by confidence."""
    counts, right, sums = [0] * 50, [0] * 50, [0.0] * 50
    for score, true in rows:
        sure = max(score, 1 - score)
        at = min(49, int(np.ceil(sure * 50)) - 1)
        counts[at] += 1
        right[at] += (score >= 0.5) == true
        sums[at] += sure
    return Reference(
        rows=len(rows),
        labelled=len(rows),
        right=sum(right),
        calibration=Calibration(tuple(counts), tuple(right), tuple(sums)),
    )


TRAINING = profile(scores(random.Random(1), 40_000, 1.0))


def columns(rows: list[tuple[float, bool]], inclusion: list[float], labelled: float, seed: int = 3) -> Columns:
    """Return sampled predictions, a share of them with their label."""
    chance = random.Random(seed)
    said = ["yes" if score >= 0.5 else "no" for score, _ in rows]
    labels = [("yes" if true else "no") if chance.random() < labelled else None for _, true in rows]
    sure = [max(score, 1 - score) for score, _ in rows]
    n = len(rows)
    return Columns(said, labels, sure, [None] * n, inclusion, [0.0] * n, [0.0] * n)


@pytest.mark.parametrize("lean", [1.0, 3.0])
def test_the_estimate_is_what_labels_show(lean: float) -> None:
    """Accuracy, F1 and ROC AUC of a shifted mix of scores, from the confidences alone, against all its labels."""
    metrics = pytest.importorskip("sklearn.metrics")
    rows = scores(random.Random(2), 20_000, lean)
    found = binary(columns(rows, [1.0] * len(rows), 1.0), CLASSES, TRAINING)
    assert found is not None
    truth, said, score = [t for _, t in rows], [s >= 0.5 for s, _ in rows], [s for s, _ in rows]
    real = {
        "accuracy": metrics.accuracy_score(truth, said), "f1": metrics.f1_score(truth, said),
        "roc_auc": metrics.roc_auc_score(truth, score),
    }  # fmt: skip
    for name, value in real.items():
        assert found["measured"][name]["value"] == pytest.approx(value, abs=1e-12)
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
        assert abs(found[name]["value"] - value) < (found[name]["high"] - found[name]["low"]) + 0.003
    assert (found["positive"], found["n"], found["measured"]["n"]) == ("yes", 20_000, 20_000)


def test_samples_weigh_by_their_chance() -> None:
    """Unsure predictions are sampled ten times as often: the estimate, and what labels show, are those of all of them."""
    chance = random.Random(4)
    rows = scores(random.Random(5), 60_000, 2.0)
    whole = binary(columns(rows, [1.0] * len(rows), 1.0), CLASSES, TRAINING)
    kept, inclusion = [], []
    for row in rows:
        p = 1.0 if abs(row[0] - 0.5) < 0.2 else 0.1
        if chance.random() < p:
            kept.append(row)
            inclusion.append(p)
    found = binary(columns(kept, inclusion, 1.0), CLASSES, TRAINING)
    naive = binary(columns(kept, [1.0] * len(kept), 1.0), CLASSES, TRAINING)
    assert whole and found and naive
    for name in ("accuracy", "f1", "roc_auc"):
        assert abs(found[name]["value"] - whole[name]["value"]) < 0.01
        assert abs(found["measured"][name]["value"] - whole["measured"][name]["value"]) < 0.02
    assert abs(naive["accuracy"]["value"] - whole["accuracy"]["value"]) > 0.05, "unweighted it would be off"


@pytest.mark.parametrize(
    ("classes", "reference", "n"),
    [(("a", "b", "c"), TRAINING, 500), (CLASSES, None, 500), (CLASSES, Reference(), 500), (CLASSES, TRAINING, 99)],
)
def test_no_estimate_without_what_it_needs(classes: tuple[str, ...], reference: Reference | None, n: int) -> None:
    """Other classes, no profile, one without labels, too few predictions: no number."""
    assert binary(columns(scores(random.Random(6), n, 1), [1.0] * n, 0), classes, reference) is None


def test_of_a_store_in_status(tmp_path: Path) -> None:
    """The samples of a store, few of them labelled, give the three figures in JSON and in words."""
    (tmp_path / "reference.json").write_text(TRAINING.to_json())
    (tmp_path / "modelwatch.yaml").write_text(
        "service: {name: api}\nstore: sqlite:///truth.db\nmodels:\n  m: {version: '1', task: classification,"
        " classes: ['no', 'yes'], reference: reference.json}\n"
    )
    config = load_config(tmp_path / "modelwatch.yaml")
    assert config.store is not None
    store, now = Store.open(config.store), time.time()
    rows = scores(random.Random(7), 300, 1)
    store.add_samples(
        [
            Sample(f"{i:032x}", "m", "1", "/p", now - i, "yes" if s >= 0.5 else "no", max(s, 1 - s), inclusion=0.5)
            for i, (s, _) in enumerate(rows)
        ]
    )
    for i, (_, true) in enumerate(rows[:40]):
        store.label(f"{i:032x}", "yes" if true else "no")
    store.close()
    source = QualitySource.from_config(config)
    assert source is not None
    found = source.read("m")
    source.close()
    assert found is not None
    assert (found["binary"]["n"], found["binary"]["measured"]["n"]) == (300, 40)
    lines = _binary_lines(found)
    assert [line.split(",")[0].strip() for line in lines] == ["Accuracy", "F1", "ROC AUC"]
    assert all("40 labels show" in line for line in lines)
