"""Objectives: good events, error budgets and how fast they burn, as pure functions of counts."""

from modelwatch.slo.burn import PERIOD_S, BurnRule, burn_rules
from modelwatch.slo.objectives import Slo, Spent, burn_notes, burns_of, slos_of
from modelwatch.slo.period import Period
from modelwatch.slo.report import Forecast, SloStatus, forecast, held_up_to, slo_lines, slo_status, slo_statuses
from modelwatch.slo.template import slo_document

__all__ = [
    "PERIOD_S",
    "BurnRule",
    "Forecast",
    "Period",
    "Slo",
    "SloStatus",
    "Spent",
    "burn_notes",
    "burn_rules",
    "burns_of",
    "forecast",
    "held_up_to",
    "slo_document",
    "slo_lines",
    "slo_status",
    "slo_statuses",
    "slos_of",
]
