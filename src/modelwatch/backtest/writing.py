"""Writes thresholds into a configuration: only lines of a model's alerts change, or it is refused."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from modelwatch.backtest.show import levels_words
from modelwatch.backtest.tuning import Levels, changed
from modelwatch.config import Config, parse_config
from modelwatch.configtext import read_file
from modelwatch.errors import ConfigError

Edit = tuple[int, int, str]  # from, to, and what is put there instead


def write_thresholds(path: Path, model: str, proposed: Mapping[str, Levels]) -> None:
    """Put thresholds into a configuration file.

    What is written is read again first: where it would not say exactly the proposal, and all else as before, nothing is
    written.

    Raises
    ------
    ConfigError   it cannot be done safely; the message says what to write by hand.
    """
    text = read_file(path)
    try:
        new = with_thresholds(text, model, proposed)
        before, after = (_parsed(each, path) for each in (text, new))
    except (ConfigError, _NotSafe) as error:
        raise ConfigError(_refused(path, model, proposed, str(error).splitlines()[0])) from None
    if after != changed(before, model, proposed):
        raise ConfigError(_refused(path, model, proposed, "something else would change"))
    _replace(path, new)


def with_thresholds(text: str, model: str, proposed: Mapping[str, Levels]) -> str:
    r"""Return the text of a configuration with other thresholds.

    Examples
    --------
    >>> print(with_thresholds("models:\n  m:\n    version: '1'  # ours\n", "m", {"MissingValues": {"warning": 0.1}}))
    models:
      m:
        version: '1'  # ours
        alerts:
          MissingValues: {warning: 0.1}
    <BLANKLINE>
    """
    root = yaml.compose(text, yaml.SafeLoader)
    body = _child(_child(root, "models"), model)
    if body is None or body.flow_style:
        raise _NotSafe(f"models.{model} is not written line by line")
    edits: list[Edit] = []
    alerts = _child(body, "alerts")
    if alerts is None:
        written = "".join(f"\n  {alert}: {levels_words(levels)}" for alert, levels in proposed.items())
        edits.append(_line_after_first(text, body, f"alerts:{written}"))
    else:
        new = [alert for alert in proposed if _child(alerts, alert) is None]
        edits += _added(text, alerts, [f"{alert}: {levels_words(proposed[alert])}" for alert in new])
        for alert, levels in proposed.items():
            known = _child(alerts, alert)
            if known is not None:
                edits += _of_alert(text, known, alert, levels)
    for begin, end, put in sorted(edits, reverse=True):
        text = text[:begin] + put + text[end:]
    return text


class _NotSafe(Exception):
    """The text is written in a way that is not edited."""


def _child(node: yaml.Node | None, name: str) -> yaml.MappingNode | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    found = next((value for key, value in node.value if key.value == name), None)
    if found is None or (isinstance(found, yaml.ScalarNode) and found.value in {"", "~", "null"}):
        if found is not None:
            raise _NotSafe(f"{name} is there without a value")
        return None
    if not isinstance(found, yaml.MappingNode):
        raise _NotSafe(f"{name} is no mapping")
    return found


def _of_alert(text: str, known: yaml.MappingNode, alert: str, levels: Levels) -> list[Edit]:
    there = {key.value: value for key, value in known.value}
    edits = _added(text, known, [f"{level}: {value:g}" for level, value in levels.items() if level not in there])
    for level, threshold in levels.items():
        value = there.get(level)
        if value is None:
            continue
        if not isinstance(value, yaml.ScalarNode) or "${" in value.value:
            raise _NotSafe(f"{alert}.{level} is no plain number")
        if _number(value.value) != threshold:
            edits.append((value.start_mark.index, value.end_mark.index, f"{threshold:g}"))
    return edits


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _added(text: str, node: yaml.MappingNode, entries: list[str]) -> list[Edit]:
    """Return the edits that put entries in front of the others of a mapping."""
    if not entries:
        return []
    if not node.value:
        return [(node.start_mark.index, node.end_mark.index, "{" + ", ".join(entries) + "}")]
    first = node.value[0][0].start_mark
    between = ", " if node.flow_style else f"{_newline(text)}{' ' * first.column}"
    return [(first.index, first.index, "".join(f"{entry}{between}" for entry in entries))]


def _line_after_first(text: str, body: yaml.MappingNode, entry: str) -> Edit:
    """Return the edit that puts lines below the first line of a model that is whole in itself."""
    for key, value in body.value:
        if isinstance(value, yaml.ScalarNode) and value.start_mark.line == value.end_mark.line == key.start_mark.line:
            end = text.find("\n", value.end_mark.index)
            end = len(text) if end < 0 else end + 1
            indent, line = " " * key.start_mark.column, _newline(text)
            lead = "" if text[end - 1 : end] == "\n" else line
            return end, end, lead + "".join(f"{indent}{each}{line}" for each in entry.split("\n"))
    raise _NotSafe("it has no line below which alerts could stand")


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _parsed(text: str, path: Path) -> Config:
    return parse_config(text, str(path), root=path.absolute().parent, secrets=False)


def _refused(path: Path, model: str, proposed: Mapping[str, Levels], why: str) -> str:
    lines = ", ".join(f"{alert}: {levels_words(levels)}" for alert, levels in proposed.items())
    return f"{path}: thresholds are not written ({why}). Write by hand, under models.{model}.alerts: {lines}."


def _replace(path: Path, text: str) -> None:
    """Put a whole new file in the place of the old one."""
    real = path.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            shutil.copymode(real, name)
            Path(name).replace(real)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}). Allow this user to write it.") from None
