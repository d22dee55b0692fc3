"""What is promised of a service, and told: one evaluation of every alert of twenty models; a record of SLOTracker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import brief
from bench.harness import (
    CLASSES,
    Contender,
    Effort,
    Gate,
    Loop,
    Row,
    best,
    feature_names,
    feature_rows,
    reference_values,
)
from modelwatch import Monitor, SLOTracker
from modelwatch.alerts import AlertState, evaluate
from modelwatch.config import load_config
from modelwatch.reference import Reference, profile_numeric
from modelwatch.serve.looks import LiveLooks

MODELS, FEATURES, REQUESTS = 20, 50, 1000
RECORDS, EARLY = 1_000_000, 1000
EVALUATED_S, RECORDED_S, CONSTANT = 0.2, 1e-6, 1.2


def measure(effort: Effort) -> list[Row]:
    """Return the rows of evaluation and of SLOTracker."""
    return [*_evaluation(effort), *_tracker(effort)]


def _evaluation(effort: Effort) -> list[Row]:
    with _service() as (config, monitors):
        loaded = load_config(config, secrets=False)
        looks = LiveLooks(loaded, Path(loaded.live))
        states: dict[str, dict[str, AlertState]] = {name: {} for name in looks.rules}
        rows = cycle(feature_rows(FEATURES))

        def evaluated(n: int) -> None:
            for _ in range(n):
                for name, look in looks.take({}).items():
                    states[name] = dict(evaluate(looks.rules[name], look, states[name]).states)

        def more() -> None:
            for monitor in monitors:
                for features in islice(rows, 20):
                    monitor.record("/predict", duration=0.02, prediction=CLASSES[0], confidence=0.9, features=features)
            monitors[0].flush(10)

        found = best({"ours": Contender(evaluated, more)}, effort.few, 1)["ours"]
        looks.close()
    what = f"one evaluation of every alert, {MODELS} models x {FEATURES} features, counts of all new since the last"
    return [Row(what, found, gate=Gate("at most", EVALUATED_S))]


@contextmanager
def _service() -> Iterator[tuple[Path, list[Monitor]]]:
    """Make a service of many models that has counted some requests; yield its configuration and monitors."""
    with TemporaryDirectory(prefix="modelwatch-bench-") as name:
        folder = Path(name)
        names = feature_names(FEATURES)
        profiles = {feature: profile_numeric(values) for feature, values in reference_values(FEATURES).items()}
        (folder / "reference.json").write_text(Reference(profiles, {}, 10_000).to_json(), encoding="utf-8")
        listed = ", ".join(f"{feature}: numeric" for feature in names)
        slos = "{latency: {}, availability: {}, error_rate: {}, accuracy: {}}"
        models = "".join(
            f"  m{i}: {{version: '1', task: classification, classes: [{', '.join(CLASSES)}], features: {{{listed}}},"
            f" reference: reference.json, slos: {slos}}}\n"
            for i in range(MODELS)
        )
        config = folder / "modelwatch.yaml"
        config.write_text(f"service: {{name: api}}\nlive: live.db\nmodels:\n{models}", encoding="utf-8")
        monitors = [Monitor.from_config(config, f"m{i}") for i in range(MODELS)]
        try:
            for monitor in monitors:
                for features in feature_rows(FEATURES, REQUESTS):
                    monitor.record("/predict", duration=0.02, prediction=CLASSES[0], confidence=0.9, features=features)
                monitor.flush(30)
            yield config, monitors
        finally:
            for monitor in monitors:
                monitor.close()


def _tracker(effort: Effort) -> list[Row]:
    trackers = {"early": SLOTracker("sentiment_classifier"), "late": SLOTracker("sentiment_classifier")}
    _recording(trackers["late"])(RECORDS)
    found = best({name: Contender(_recording(one)) for name, one in trackers.items()}, effort.few, EARLY)
    theirs = brief.SLOTracker("sentiment_classifier")
    peer = best({"theirs": Contender(_recording(theirs))}, 1, EARLY)["theirs"]
    what = "SLOTracker.record_measurement"
    return [
        Row(f"{what}, after {EARLY} records", found["early"], "the brief's", peer, Gate("at most", RECORDED_S)),
        Row(f"{what}, after {RECORDS} records", found["late"], gate=Gate("at most", RECORDED_S)),
        Row(
            f"{what}, {RECORDS} records over {EARLY}",
            found["late"] / found["early"],
            gate=Gate("at most", CONSTANT),
            unit="times",
        ),
    ]


def _recording(tracker: SLOTracker | brief.SLOTracker) -> Loop:
    record = tracker.record_measurement

    def loop(n: int) -> None:
        for _ in range(n):
            record("latency_p95", 0.1)

    return loop
