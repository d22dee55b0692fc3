"""Alerts, drift and objectives of a status, as an evaluation leaves them, in every state."""

from __future__ import annotations

from typing import Any

from server.conftest import NOW

MODEL = "sentiment_classifier"


def alert(name: str, severity: str = "warning", state: str = "inactive", **changes: Any) -> dict[str, Any]:
    """Return one alert as `alerts_json` tells it; quiet, if nothing else is said."""
    found: dict[str, Any] = {
        "alert": name, "severity": severity, "model": MODEL, "labels": {}, "state": state,
        "outcome": "firing" if state == "firing" else "ok", "value": 0.042, "limit": 0.02, "op": ">", "unit": "ratio",
        "samples": 14_940, "for_s": 600.0, "since": None if state == "inactive" else NOW - 180,
        "why": "0.09 %, fires at > 2 %", "silenced_by": None,
    }  # fmt: skip
    if state != "inactive":
        found |= {
            "summary": f"{MODEL}: 4.2 % of requests fail",
            "description": "4.2 % of the requests failed in the last 10 minutes; the limit is 2 % (14,940 requests).",
            "culprits": ["Most errors: ModelTimeout (571)."], "dashboard": f"/?model={MODEL}",
            "runbook": f"/runbooks/{name}",
        }  # fmt: skip
    return {**found, **changes}


def alerts(*held: dict[str, Any], age_s: float | None = 4.0, reason: str | None = None) -> dict[str, Any]:
    """Return what an evaluation adds to a status."""
    watchdog = alert("Watchdog", "none", "firing")
    return {
        "alerts": {"firing": sum(a["state"] == "firing" for a in held), "alerts": [*held, watchdog]},
        "evaluation": {"evaluated_s_ago": age_s, "leads": True, "reason": reason},
    }


def silent(name: str, why: str, **changes: Any) -> dict[str, Any]:
    """Return an alert that cannot be told."""
    return alert(name, outcome="cannot_tell", value=None, why=why, **changes)


def row(name: str, level: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return a row of `drift_state`: a number, without drift if no level is given."""
    score = {None: 0.03, "info": 0.12, "warning": 0.19, "severe": 0.31}[level]
    outcome = "ok" if level is None else "firing"
    decision = {
        "outcome": outcome, "level": level, "score": score, "excess": score, "m": 20_000, "n": 43_100, "smallest": 0.05,
        "reason": f"{score} is told from chance",
    }  # fmt: skip
    edges: list[float | None] = [10.0, 20.0, 40.0, 80.0, None]
    return {
        "name": name, "answer": False, "statistic": "KS", **decision, "window": "long",
        "windows": {"long": decision, "short": decision},
        "cells": [{"cell": e, "reference": 0.2, "current": c} for e, c in zip(edges, (0.1, 0.1, 0.2, 0.2, 0.4), strict=True)],
        "explanation": {
            "cause": "shift", "summary": f"The distribution of {name} has moved: 19% of its mass.",
            "details": ["Most of it: above 80 20% → 40%."], "actions": ["Review recent inputs.", "Check the data source."],
        },
        **changes,
    }  # fmt: skip


def unknown(name: str, reason: str = "no values in a day") -> dict[str, Any]:
    """Return a row that cannot be told."""
    return row(name, outcome="cannot_tell", score=None, n=0, reason=reason, cells=[], explanation=None)


def drift(*rows: dict[str, Any], reason: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return the drift of a model."""
    long = {"seconds": 86_400, "covered_s": 86_400, "name": "a day", "words": "the last 1 d"}
    found = {"reason": reason, "has_reference": True, "windows": {"long": long, "short": long}, "rows": list(rows)}
    return {**found, "missing": [], **changes}


def slo(kind: str = "latency", state: str = "meeting", **changes: Any) -> dict[str, Any]:
    """Return how one objective stands, as `slo_json` tells it."""
    known = state != "cannot_tell"
    remaining = -0.44 if state == "broken" else 0.66
    return {
        "slo": kind, "good": "0.95 of requests answered within 200 ms", "objective": 0.95, "state": state,
        "reason": "" if known else "no requests in this period", "compliance": 0.983 if known else None,
        "remaining": remaining if known else None, "bad": 1530 if known else None, "valid": 90_000, "unknown": 0,
        "burn_day": 0.38 if known else None, "burn_hour": 0.42 if known else None,
        "forecast": [None, None, None, "spent" if state == "broken" else "not at this rate" if known else "cannot tell"],
        "by_day": [None, 0.01, 0.2, 0.0] if known else [], "held": None, **changes,
    }  # fmt: skip


def objectives(*held: dict[str, Any]) -> dict[str, Any]:
    """Return what the objectives add to a status."""
    return {"slos": {"models": {MODEL: list(held)}}}
