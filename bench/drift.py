"""What drift costs: a window of 1 000 values against 10 000 of training by exact KS, whole columns, and taking samples in.

Beside it what requests lose while windows close, and what the rules of a fleet cost Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from time import thread_time_ns

import numpy as np

from bench import brief, closings, driftfleet, peers
from bench.harness import SEED, Contender, Effort, Gate, Loop, Row, best, feature_rows, missing, reference_values
from modelwatch import DataDriftDetector
from modelwatch.statistics import Sorted, ks

TRAINING, WINDOW, COLUMN, CALLS = 10_000, 1_000, 1_000_000, 50
FEATURES = 10
ALIBI = "alibi-detect==0.13.0"  # BUSL
EXACT_S = 4.5 / 20  # of one of 20 columns


def measure(effort: Effort) -> list[Row]:
    """Return the rows of drift."""
    reason = missing("scipy")
    rows = []
    for what, shift in (("quiet", 0.0), ("drifted", 1.0)):
        found = windows(shift, effort, with_peer=not reason)
        peer = ("scipy ks_2samp as in the brief", found.get("peer"), Gate("under the peer", 40))
        text = f"exact KS of a window of {WINDOW} against {TRAINING}, {what}"
        rows.append(Row(text, found["ours"], *peer, note=reason))
        if "p" in found:
            rows.append(Row(f"{text}, with its p-value", found["p"], *peer[:2], note=reason))
    rows += alibi_rows(effort)
    column = best({"ours": Contender(exact_column(), calls=1)}, 1, 1)["ours"]
    rows.append(Row(f"exact KS of a column of {COLUMN} values against as many", column, gate=Gate("at most", EXACT_S)))
    found = samples(effort, with_peer=not reason)
    what = f"DataDriftDetector.add_sample, {FEATURES} features, windows of {WINDOW} closing"
    rows.append(Row(what, found["ours"], "the brief's", found.get("peer"), note=reason))
    return [*rows, *closings.measure(effort), *driftfleet.measure(effort)]


def alibi_rows(effort: Effort) -> list[Row]:
    """Return the rows beside alibi-detect's window KS, of which the p-value is a part, as the decision is in ours."""
    python, why = peers.environment(ALIBI)
    found: dict[str, tuple[float | None, float | None]] = {"quiet": (None, None), "drifted": (None, None)}
    if python is not None:
        with peers.asked(python, "alibi.py") as ask:
            found = {what: against(ask, shift, effort.few) for what, shift in (("quiet", 0.0), ("drifted", 1.0))}
    gate = Gate("under the peer", 20)
    return [
        Row(
            f"exact KS of a window of {WINDOW} against {TRAINING}, {what}",
            ours,
            f"{ALIBI} KSDrift",
            peer,
            gate,
            note=why,
        )
        for what, (ours, peer) in found.items()
    ]


def against(ask: Callable[[float], float], shift: float, rounds: int) -> tuple[float, float]:
    """Return the CPU seconds of ours and of a peer in another process: the best of interleaved rounds."""
    rng = np.random.default_rng(SEED)
    reference, window = Sorted(rng.normal(size=TRAINING)), rng.normal(shift, 1, WINDOW)
    ours, peer = [], []
    for _ in range(rounds + 1):
        begin = thread_time_ns()
        for _ in range(CALLS):
            ks(reference, window)
        ours.append((thread_time_ns() - begin) / CALLS * 1e-9)
        peer.append(ask(shift))
    return min(ours[1:]), min(peer[1:])


def windows(shift: float, effort: Effort, *, with_peer: bool) -> dict[str, float]:
    """Return the CPU seconds of one comparison: ours without and with the p-value, and the peer's."""
    rng = np.random.default_rng(SEED)
    training, window = rng.normal(size=TRAINING), rng.normal(shift, 1, WINDOW)
    reference = Sorted(training)

    def ours(n: int) -> None:
        for _ in range(n):
            ks(reference, window)

    contenders = {"ours": Contender(ours, calls=50)}
    if with_peer:
        from scipy.stats import ks_2samp

        def with_p(n: int) -> None:
            for _ in range(n):
                found = ks(reference, window)
                assert found is not None
                assert found.p_value <= 1

        contenders["p"] = Contender(with_p, calls=20)
        contenders["peer"] = Contender(lambda n: ks_2samp(training, window), calls=1)
        found, expected = ks(reference, window), ks_2samp(training, window).statistic
        if found is None or abs(found.statistic - expected) > 1e-12:
            raise AssertionError("the two statistics differ")
    return best(contenders, effort.few, 1)


def exact_column() -> Loop:
    """Return the loop of a whole column: both sides are sorted in it."""
    rng = np.random.default_rng(SEED)
    one, other = rng.normal(size=COLUMN), rng.normal(0.1, 1, COLUMN)
    return lambda n: ks(one, other)


def samples(effort: Effort, *, with_peer: bool) -> dict[str, float]:
    """Return the CPU seconds of one call in the calling thread, over windows that close: ours and the brief's."""
    rows, training = feature_rows(FEATURES), reference_values(FEATURES)
    ours = DataDriftDetector("m", training, WINDOW, on_alert=lambda alert: None)
    contenders = {"ours": Contender(taking(ours.add_sample, rows), ours.flush)}
    if with_peer:
        peer = brief.DataDriftDetector("m", training, WINDOW)
        contenders["peer"] = Contender(taking(peer.add_sample, rows))
    return best(contenders, effort.few, 2 * WINDOW)


def taking(add_sample: Callable[[dict[str, float]], object], rows: list[dict[str, float]]) -> Loop:
    """Return the loop that takes in so many samples."""

    def loop(n: int) -> None:
        for row in islice(cycle(rows), n):
            add_sample(row)

    return loop
