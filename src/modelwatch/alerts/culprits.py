"""What is behind an alert: the worst endpoints, error types, segments and features, and the version that changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelwatch import names
from modelwatch.alerts.rule import Rule
from modelwatch.explain import explain
from modelwatch.reference import NumericProfile, Profile
from modelwatch.signals import Counts, Look
from modelwatch.signals.core import VERSION
from modelwatch.signals.drift import CATEGORY_DRIFT, FEATURE_KS
from modelwatch.statistics import decide_categories, decide_ks

MOST = 3
FEWEST = 20  # requests or labels of a part that is worth a word
STANDS_OUT = 1.5  # times the whole, from which a version is named


def culprits(rule: Rule, look: Look, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return sentences on what is behind an alert; empty where there is nothing to add."""
    maker = _MAKERS.get(rule.name) or _MAKERS.get(f"{rule.name}/{rule.labels.get('slo', '')}")
    if maker is None:
        return ()
    lead = rule.condition.lead
    return tuple(sentence for sentence in maker(look, lead.window_s, labels) if sentence)


def _shares(bad: Mapping[str, int], every: Mapping[str, int], what: str) -> str:
    found = {name: (bad.get(name, 0) / n, n) for name, n in every.items() if n >= FEWEST and bad.get(name)}
    worst = sorted(found.items(), key=lambda item: (-item[1][0] * item[1][1], item[0]))[:MOST]
    parts = ", ".join(f"{name} {share:.1%} of {n:,}" for name, (share, n) in worst)
    return f"Worst {what}: {parts}." if parts else ""


def _by_first(counts: Counts, metric: names.Metric) -> dict[str, int]:
    table = counts.table(metric)
    found: dict[str, int] = {}
    for labels, row in table.rows.items() if table else ():
        found[labels[0]] = found.get(labels[0], 0) + (int(table.counts[row].sum()) if table else 0)
    return found


def _errors(look: Look, window_s: float, _labels: Mapping[str, str]) -> list[str]:
    counts = look.counts(window_s)
    if counts is None:
        return []
    every = _by_first(counts, names.REQUESTS)
    endpoints = _shares(_by_first(counts, names.FAILED), every, "endpoints")
    table = counts.table(names.ERRORS)
    kinds: dict[str, int] = {}
    for (_, kind), row in table.rows.items() if table else ():
        kinds[kind] = kinds.get(kind, 0) + (int(table.counts[row, 0]) if table else 0)
    ranked = sorted(((n, kind) for kind, n in kinds.items() if n), reverse=True)[:MOST]
    types = f"Most errors: {', '.join(f'{kind} ({n:,})' for n, kind in ranked)}." if ranked else ""
    return [endpoints, types, _version(look, window_s, _failed_share)]


def _slow(look: Look, window_s: float, _labels: Mapping[str, str]) -> list[str]:
    counts = look.counts(window_s)
    threshold = look.objectives.latency_threshold_s
    table = None if counts is None else counts.table(names.DURATION)
    if counts is None or table is None or threshold not in counts.schema.latency:
        return []
    after = counts.schema.latency.index(threshold) + 1
    slow = {labels[0]: int(table.counts[row, after:].sum()) for labels, row in table.rows.items()}
    endpoints = _shares(slow, _by_first(counts, names.DURATION), "endpoints")
    busy = look.counts(window_s, 3600.0)
    load = ""
    if busy is not None and busy.total(names.REQUESTS) >= FEWEST:
        times = counts.total(names.REQUESTS) / busy.total(names.REQUESTS)
        load = f"Requests are {times:.1f} times those of an hour ago." if times >= STANDS_OUT else ""
    return [endpoints, load, _version(look, window_s, _slow_share)]


def _failed_share(counts: Counts) -> tuple[int, int]:
    return counts.total(names.FAILED), counts.total(names.REQUESTS)


def _slow_share(counts: Counts) -> tuple[int, int]:
    table = counts.table(names.DURATION)
    threshold = _threshold(counts)
    if table is None or threshold is None:
        return 0, 0
    after = counts.schema.latency.index(threshold) + 1
    used = table.counts[: len(table.rows)]
    return int(used[:, after:].sum()), int(used.sum())


def _threshold(counts: Counts) -> float | None:
    """Return the threshold of the latency where the counts have its bucket."""
    threshold = counts.objectives.latency_threshold_s
    return threshold if threshold in counts.schema.latency else None


def _wrong_share(counts: Counts) -> tuple[int, int]:
    table = counts.table(names.LABELS)
    rows = table.rows.items() if table else ()
    wrong = sum(int(table.counts[row, 0]) for (_, outcome), row in rows if outcome == names.WRONG) if table else 0
    return wrong, counts.total(names.LABELS)


def _version(look: Look, window_s: float, share: Callable[[Counts], tuple[int, int]]) -> str:
    """Name the version that does worse than the others, where several are served."""
    shares = {}
    for version in look.schemas:
        counts = look.counts(window_s, version=version)
        bad, n = share(counts) if counts is not None else (0, 0)
        if n >= FEWEST:
            shares[version] = bad / n
    if len(shares) < 2:
        return ""
    worst = max(shares, key=lambda version: shares[version])
    best = min(shares.values())
    if shares[worst] < STANDS_OUT * best or shares[worst] == best:
        return ""
    others = ", ".join(f"{version} {value:.1%}" for version, value in shares.items() if version != worst)
    return f"It is version {worst}: {shares[worst]:.1%}, against {others}."


def _accuracy(look: Look, window_s: float, _labels: Mapping[str, str]) -> list[str]:
    counts = look.counts(window_s)
    table = None if counts is None else counts.table(names.LABELS)
    if counts is None or table is None:
        return []
    every = _by_first(counts, names.LABELS)
    wrong = {labels[0]: int(table.counts[row, 0]) for labels, row in table.rows.items() if labels[1] == names.WRONG}
    for cells in (every, wrong):
        cells.pop(names.UNSEGMENTED, None)
    segments = _shares(wrong, every, "segments (share of wrong answers)")
    return [segments, _version(look, window_s, _wrong_share)]


def _feature(look: Look, window_s: float, labels: Mapping[str, str]) -> list[str]:
    version = labels.get(VERSION, "")
    counts = look.counts(window_s, version=version)
    name = labels.get("feature_name", "")
    if counts is None or counts.reference is None:
        return []
    profile: Profile | None = counts.reference.numeric.get(name) or counts.reference.categorical.get(name)
    chance = counts.objectives.chance
    if isinstance(profile, NumericProfile):
        table = counts.table(names.FEATURE_VALUE)
        if table is None or (name,) not in table.rows:
            return []
        row = table.rows[name,]
        current = table.counts[row, : len(profile.counts)].tolist()
        mean = float(table.sums[row]) / max(sum(current), 1)
        decision = decide_ks(profile.counts, current, chance=chance, deff=chance.deff)
        history = look.history(FEATURE_KS, name, version)
        told = explain(name, profile, current, decision, mean=mean, history=history)
    elif profile is not None:
        cells = _of_feature(counts, name)
        decision = decide_categories(profile.counts, cells, chance=chance, deff=chance.deff)
        told = explain(name, profile, cells, decision, history=look.history(CATEGORY_DRIFT, name, version))
    else:
        return []
    return [told.summary, told.since_words, *told.details[:1]]


def _of_feature(counts: Counts, name: str) -> dict[str, int]:
    table = counts.table(names.FEATURE_CATEGORY)
    rows = table.rows.items() if table else ()
    return {labels[1]: int(table.counts[row, 0]) for labels, row in rows if labels[0] == name} if table else {}


def _missing(look: Look, window_s: float, labels: Mapping[str, str]) -> list[str]:
    counts = look.counts(window_s, version=labels.get(VERSION, ""))
    table = None if counts is None else counts.table(names.FEATURE_INVALID)
    if table is None:
        return []
    name = labels.get("feature_name", "")
    found = {key[1]: int(table.counts[row, 0]) for key, row in table.rows.items() if key[0] == name}
    ranked = sorted(((n, reason) for reason, n in found.items() if n and reason != "inf"), reverse=True)
    return [f"Reasons: {', '.join(f'{reason} ({n:,})' for n, reason in ranked)}."] if ranked else []


def _answers(look: Look, window_s: float, labels: Mapping[str, str]) -> list[str]:
    counts = look.counts(window_s, version=labels.get(VERSION, ""))
    profile = None if counts is None or counts.reference is None else counts.reference.prediction
    table = None if counts is None else counts.table(names.PREDICTIONS)
    if labels.get("of") != "classes" or table is None or profile is None or isinstance(profile, NumericProfile):
        return []
    total, before = max(table.total(), 1), max(profile.size, 1)
    moved = sorted(
        (
            (int(table.counts[row, 0]) / total, profile.counts.get(key[0], 0) / before, key[0])
            for key, row in table.rows.items()
        ),
        key=lambda cell: -abs(cell[0] - cell[1]),
    )[:MOST]
    return [f"Classes: {', '.join(f'{name} {was:.0%} → {now:.0%}' for now, was, name in moved)}."]


def _silent(look: Look, _window_s: float, _labels: Mapping[str, str]) -> list[str]:
    silent = sorted(name for name, up in look.facts.answers.items() if not up)
    return (
        [f"No answer from {', '.join(silent[:MOST])}{' and others' if len(silent) > MOST else ''}."] if silent else []
    )


def _faults(look: Look, window_s: float, _labels: Mapping[str, str]) -> list[str]:
    counts = look.counts(window_s)
    if counts is None:
        return []
    found = {**_by_first(counts, names.INTERNAL_ERRORS), **_by_first(counts, names.SAMPLES_DROPPED)}
    if counts.total(names.ABANDONED):
        found["events given up"] = counts.total(names.ABANDONED)
    ranked = sorted(((n, where) for where, n in found.items() if n), reverse=True)[:MOST]
    return [f"Where: {', '.join(f'{where} ({n:,})' for n, where in ranked)}."] if ranked else []


_Maker = Callable[[Look, float, Mapping[str, str]], list[str]]
_MAKERS: dict[str, _Maker] = {
    "HighErrorRate": _errors,
    "SLOBurnRate/error_rate": _errors,
    "SLOBudgetExhausted/error_rate": _errors,
    "HighLatencyP95": _slow,
    "LatencyTrend": _slow,
    "SLOBurnRate/latency": _slow,
    "SLOBudgetExhausted/latency": _slow,
    "LowModelAccuracy": _accuracy,
    "SegmentAccuracyLow": _accuracy,
    "SLOBurnRate/accuracy": _accuracy,
    "SLOBudgetExhausted/accuracy": _accuracy,
    "DataDriftDetected": _feature,
    "MissingValues": _missing,
    "ConceptDriftDetected": _answers,
    "ReplicaDown": _silent,
    "ServiceDown": _silent,
    "MonitorUnhealthy": _faults,
}
