"""Alerts of objectives: error budgets that burn too fast, or are spent; costs."""

from __future__ import annotations

from collections.abc import Iterator

from modelwatch.alerts.conditions import All, Clause, Condition, Op
from modelwatch.alerts.rule import MINUTE_S, Rule
from modelwatch.config import ModelConfig
from modelwatch.reference import Reference
from modelwatch.signals.service import COST_BURN
from modelwatch.slo import BurnRule, Period, Slo, burns_of, slos_of
from modelwatch.slo.burn import DAY_S, LEAST_BAD


def objectives(model: ModelConfig, _reference: Reference | None) -> Iterator[Rule]:
    """Yield those of the objectives that are configured."""
    period_s = Period.of_model(model).days_s
    for slo in slos_of(model):
        if slo.budget is None:
            yield _cost(model)
            continue
        for burn in burns_of(model, slo):
            yield _burning(model, slo, slo.budget, burn, period_s)
        yield Rule(
            "SLOBudgetExhausted", "warning", model.name, _spent(slo, ">=", slo.budget, period_s),
            f"{{model}}: the error budget of {slo.kind} is spent",
            f"{{value}} were bad over the last {{window}}; {slo.good} allows {{limit}} ({{samples}} counted).",
            for_s=15 * MINUTE_S, labels={"slo": slo.kind},
        )  # fmt: skip


def _spent(slo: Slo, op: Op, limit: float, window_s: float, *also_s: float) -> All:
    """Return that surely more than a limit is bad in a window, and is bad in other ones, too."""
    assert slo.ratio is not None
    assert slo.bad is not None
    parts: list[Condition] = [
        *(Clause(slo.ratio, each_s, op, limit) for each_s in (window_s, *also_s)),
        Clause(slo.bad, window_s, ">=", LEAST_BAD, enough=True),
    ]
    if slo.low is not None:
        parts.append(Clause(slo.low, window_s, op, limit))
    return All(tuple(parts))


def _burning(model: ModelConfig, slo: Slo, budget: float, burn: BurnRule, period_s: float) -> Rule:
    limit = float(f"{burn.factor * budget:.12g}")
    long_s, short_s = (max(round(w / MINUTE_S), 1) * MINUTE_S for w in (burn.long_s, burn.short_s))
    days = period_s / burn.factor / DAY_S
    return Rule(
        "SLOBurnRate", burn.severity, model.name, _spent(slo, ">", limit, long_s, short_s),
        f"{{model}}: the error budget of {slo.kind} burns {burn.factor:.3g} times too fast",
        f"{{value}} were bad over the last {{window}}, more than {{limit}} ({{samples}} counted): at this rate the "
        f"budget of {period_s / DAY_S:g} days lasts {days:.2g} days. Promised: {slo.good}.",
        for_s=2 * MINUTE_S if burn.severity == "critical" else 15 * MINUTE_S,
        labels={"slo": slo.kind, "window": f"{round(long_s / MINUTE_S)}m"}, urgency=burn.factor,
    )  # fmt: skip


def _cost(model: ModelConfig) -> Rule:
    condition = All((Clause(COST_BURN, DAY_S, ">", 1.0), Clause(COST_BURN, 7 * DAY_S, ">", 1.0)))
    slo = model.slos.cost
    return Rule(
        "SLOBurnRate", "warning", model.name, condition, "{model} costs more than its objective allows",
        "Over the last {window} and over 7 days the replicas cost {value} what "
        f"{slo.objective if slo else 0:g} per 1,000 requests allows ({{samples}} requests).",
        for_s=DAY_S / 2, labels={"slo": "cost", "window": "1440m"},  # the first night of a service is not its day
    )  # fmt: skip
