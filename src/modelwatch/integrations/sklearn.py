"""scikit-learn: `watch(estimator, monitor)` counts what an estimator predicts, how sure it is, what it was asked."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from modelwatch.record.monitor import Monitor

Estimator = TypeVar("Estimator")


class _Depth(threading.local):
    """How many watched calls of this thread are inside one another."""

    calls = 0


def watch(
    estimator: Estimator, monitor: Monitor, *, feature_names: Sequence[str] | None = None, endpoint: str = "predict"
) -> Estimator:
    """Count every call of `predict` and `predict_proba` of a fitted estimator; the same object is returned.

    `predict_proba` counts the most likely class with its probability as confidence. A call that one makes of the other
    is counted once. A call counts as its rows, which share its duration equally.

    Parameters
    ----------
    estimator : fitted classifier or regressor, or a pipeline.
    monitor : counts.
    feature_names : of the columns of an array; by default the names that the estimator was fitted with.
    endpoint : the endpoint of the counts; `predict_proba` has the suffix `_proba`.
    """
    names = feature_names if feature_names is not None else getattr(estimator, "feature_names_in_", None)
    depth = _Depth()
    for method in ("predict", "predict_proba"):
        original = getattr(estimator, method, None)
        if original is not None:
            path = endpoint if method == "predict" else f"{endpoint}_proba"
            setattr(estimator, method, _watched(estimator, original, monitor, path, names, depth))
    return estimator


def _watched(
    estimator: Any, original: Callable[..., Any], monitor: Monitor, endpoint: str, names: Any, depth: _Depth
) -> Callable[..., Any]:
    monitor.recorder.know_endpoint(endpoint)

    @functools.wraps(original)
    def call(rows: Any, *args: Any, **kwargs: Any) -> Any:
        depth.calls += 1
        start = perf_counter()
        try:
            result = original(rows, *args, **kwargs)
        except BaseException as error:
            if depth.calls == 1:
                monitor.record(endpoint, perf_counter() - start, error=error)
            raise
        else:
            if depth.calls == 1:
                _count(estimator, monitor, endpoint, names, rows, result, perf_counter() - start)
            return result
        finally:
            depth.calls -= 1

    return call


def _count(
    estimator: Any, monitor: Monitor, endpoint: str, names: Any, rows: Any, result: Any, duration: float
) -> None:
    try:
        answers = np.asarray(result)
        n = len(answers)
        frame: dict[str, Any] = dict(_features(rows, names))
        if answers.ndim == 2:
            best = answers.argmax(axis=1)
            frame["prediction"] = np.asarray(getattr(estimator, "classes_", np.arange(answers.shape[1])))[best]
            frame["confidence"] = answers[np.arange(n), best]
        else:
            frame["prediction"] = answers
        frame["duration"] = np.full(n, duration / max(n, 1))
        monitor.record_batch(frame, endpoint)
    except Exception as error:  # noqa: BLE001 - the estimator has answered: that must reach the caller
        monitor.recorder.faults.add("sklearn", error, ours=False)


def _features(rows: Any, names: Any) -> dict[str, Any]:
    """Return {feature name: column}; without names, none."""
    if hasattr(rows, "columns"):  # a DataFrame
        return {str(name): rows[name] for name in rows.columns}
    table = np.asarray(rows)
    if names is None or table.ndim != 2:
        return {}
    return {str(name): table[:, i] for i, name in enumerate(names[: table.shape[1]])}
