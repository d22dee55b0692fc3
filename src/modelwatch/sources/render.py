"""The state of a host as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from modelwatch import names
from modelwatch.sources.traffic import usual_at

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
        window_s = state["window_s"]
        last = f"{window_s / 60:.0f} min" if window_s >= 60 else f"{window_s:g} s"
        lines += ["", f"{model['name']} {model['version']}  (last {last})"]
        lines += [_reading_line(reading) for reading in model["readings"]]
        lines += _traffic_lines(model.get("traffic"), state["now"])
        lines += _quality_lines(model["quality"])
        lines += _estimate_lines(model["estimate"])
        lines += _binary_lines(model["quality"])
        lines += _drift_lines(model["drift"])
        details = model["details"]
        busy = details["in_progress"]
        lines.append(f"  {'In progress':<28}{'unknown' if busy is None else busy}")
        if details["errors_by_type"]:
            lines.append(
                f"  {'Errors by type':<28}" + ", ".join(f"{kind} {n:,}" for kind, n in details["errors_by_type"])
            )
        lines += [
            f"  {'Incomplete':<28}{metric}: {n:,} counted together as {names.OTHER}, over the cap of a label"
            for metric, n in sorted(details["incomplete"].items())
        ]
        if details["refused"] or details["internal_errors"]:
            refused, faults = details["refused"], details["internal_errors"]
            lines.append(f"  {'Monitor':<28}{refused:,} values refused, {faults:,} internal errors")
    return lines


def _traffic_lines(traffic: Mapping[str, Any] | None, now: float) -> list[str]:
    """Return the rate that is usual now, and the last full hour where it was not; nothing until weeks are known."""
    usual = usual_at(traffic or {}, now)
    if traffic is None or usual is None:
        return []
    digits = 0 if usual["high"] >= 20 else 2
    band = f"{usual['low']:,.{digits}f} to {usual['high']:,.{digits}f} req/s"
    odd = f"; UNUSUAL: the last full hour: {traffic['words']}" if traffic["state"] == "unusual" else ""
    return [f"  {'Usual here':<28}{band} at this hour of the week{odd}"]


def _estimate_lines(estimate: Mapping[str, Any] | None) -> list[str]:
    if estimate is None:
        return []
    value, low, high = (f"{100 * estimate[name]:.1f}" for name in ("value", "low", "high"))
    told = f"{low} to {high} % ({estimate['n']:,} predictions of the last day; labels will confirm it)"
    return [f"  {'Accuracy, expected':<28}{value + ' %':<14}{told}"]


def _binary_lines(quality: Mapping[str, Any] | None) -> list[str]:
    """Return what to expect of a classifier of two classes by its sampled predictions, beside what labels show."""
    found: Mapping[str, Any] | None = (quality or {}).get("binary")
    lines: list[str] = []
    if found is None:
        return lines
    for name, title in (("accuracy", "Accuracy"), ("f1", "F1"), ("roc_auc", "ROC AUC")):
        one, measured = found[name], (found["measured"] or {}).get(name)
        if one is not None:
            told = f"{one['low']:.3f} to {one['high']:.3f} ({found['n']:,} samples of the last day"
            told += (
                f"; {found['measured']['n']:,} labels show {measured['value']:.3f})" if measured else "; no labels yet)"
            )
            lines.append(f"  {title + ', without labels':<28}{one['value']:<14.3f}{told}")
    return lines


def _quality_lines(quality: Mapping[str, Any] | None) -> list[str]:
    """Return what the labels say: a line a view of the last labels, and one on those that are still to come."""
    if quality is None:
        return []
    if quality["state"] != "ok":
        return [f"  {'Labels':<28}cannot be read: {quality['reason']}"]
    lines = []
    for view in quality["views"]["last"]:
        title, accuracy = f"Accuracy, {view['name']}", view["accuracy"]
        if accuracy is None and view["regression"] is None:
            lines.append(f"  {title:<28}{'unknown':<14}CANNOT TELL: {view['missing']['words']}")
        elif accuracy is not None:
            value, low, high = (f"{100 * accuracy[name]:.1f}" for name in ("value", "low", "high"))
            objective = quality["objective"]
            against = "" if objective is None else f", objective {100 * objective:g} %"
            lines.append(f"  {title:<28}{value + ' %':<14}{low} to {high} % ({view['n']:,} labels{against})")
        else:
            found = view["regression"]
            lines.append(f"  {'Error, ' + view['name']:<28}MAE {found['mae']:.4g} ({view['n']:,} labels)")
    oldest = quality["oldest_waiting_s"]
    waits = "" if oldest is None else f", the oldest for {oldest / 60:.0f} min"
    lines.append(f"  {'Reviewed':<28}{quality['labelled']:,} labelled, {quality['waiting']:,} waiting{waits}")
    return lines


def _drift_lines(drift: Mapping[str, Any] | None) -> list[str]:
    """Return a line a feature and part of the answers, the worst first; then the features whose values are missing."""
    if drift is None:
        return []
    if drift["reason"]:
        return [f"  {'Drift':<28}{'unknown':<14}CANNOT TELL: {drift['reason']}"]
    short = [span["words"] for span in drift["windows"].values() if span["covered_s"] < span["seconds"] - 1]
    lines = [f"  {'Drift':<28}of {words}" for words in short[:1]]
    for row in drift["rows"]:
        value = "unknown" if row["score"] is None else f"{row['statistic']} {row['score']:.2f}"
        told = row["reason"]
        if row["outcome"] == "firing" and row["explanation"]:
            told = " ".join(filter(None, (row["explanation"]["summary"], row["explanation"]["since_words"])))
        mark = row["level"].upper() if row["level"] else MARK[row["outcome"]]
        name = f"Drift, {row['name']}"
        lines.append(f"  {name:<28}{value:<14}{mark}: {told} ({row['n']:,} values)")
    lines += [
        f"  {'Missing, ' + row['name']:<28}{100 * row['score']:.1f} %{'':<8}{row['level'].upper()}: {row['reason']}"
        for row in drift["missing"]
        if row["outcome"] == "firing"
    ]
    return lines


def _reading_line(reading: Mapping[str, Any]) -> str:
    labels = ", ".join(reading["labels"].values())
    name = f"{reading['title']} {labels}".strip()
    value = "unknown" if reading["value"] is None else _value(reading["value"], reading["unit"])
    limit = "" if reading["limit"] is None else f", limit {_value(reading['limit'], reading['unit'])}"
    reason = f": {reading['reason']}" if reading["reason"] else ""
    return f"  {name:<28}{value:<14}{MARK[reading['outcome']]}{reason} ({reading['samples']:,} requests{limit})"


def _value(value: float, unit: str) -> str:
    if unit == "ratio":
        return f"{100 * value:.2f} %"
    if unit == "s":
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} {unit}"
