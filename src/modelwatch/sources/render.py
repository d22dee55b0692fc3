"""The state of a host as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

MARK = {"ok": "OK", "firing": "BEYOND", "cannot_tell": "CANNOT TELL"}


def is_failing(state: Mapping[str, Any]) -> bool:
    """Tell whether a signal is beyond its objective, or the counts cannot be read."""
    readings = (reading for model in state["models"] for reading in model["readings"])
    return not state["live"]["kept"] or any(reading["outcome"] == "firing" for reading in readings)


def status_lines(state: Mapping[str, Any]) -> list[str]:
    """Return the state for people: one line a signal, with its value, window, samples and limit."""
    at = datetime.fromtimestamp(state["now"], timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    workers, age = state["workers"], state["data_age_s"]
    lines = [
        f"{state['service'] or 'modelwatch'}  {at}",
        f"workers {workers['alive']} reporting, {workers['died']} died · counts "
        + ("not renewed by anybody" if age is None else f"{age:.0f} s old")
        + f" · {state['live']['path']}",
    ]
    if state["live"]["reason"]:
        lines.append(f"The counts cannot be read: {state['live']['reason']}")
    lines += [f"! {note}" for note in state["notes"]]
    if not state["models"]:
        lines.append("No model has counted anything in the last day.")
    for model in state["models"]:
        lines += ["", f"{model['name']} {model['version']}  (last {state['window_s'] / 60:.0f} min)"]
        lines += [_reading_line(reading) for reading in model["readings"]]
        details = model["details"]
        lines.append(f"  {'In progress':<26}{details['in_progress']}")
        if details["errors_by_type"]:
            lines.append(
                f"  {'Errors by type':<26}" + ", ".join(f"{kind} {n:,}" for kind, n in details["errors_by_type"])
            )
        if details["refused"] or details["internal_errors"]:
            refused, faults = details["refused"], details["internal_errors"]
            lines.append(f"  {'Monitor':<26}{refused:,} values refused, {faults:,} internal errors")
    return lines


def _reading_line(reading: Mapping[str, Any]) -> str:
    labels = ", ".join(reading["labels"].values())
    name = f"{reading['title']} {labels}".strip()
    value = "unknown" if reading["value"] is None else _value(reading["value"], reading["unit"])
    limit = "" if reading["limit"] is None else f", limit {_value(reading['limit'], reading['unit'])}"
    reason = f": {reading['reason']}" if reading["reason"] else ""
    return f"  {name:<26}{value:<14}{MARK[reading['outcome']]}{reason} ({reading['samples']:,} requests{limit})"


def _value(value: float, unit: str) -> str:
    if unit == "ratio":
        return f"{100 * value:.2f} %"
    if unit == "s":
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} {unit}"
