"""A log of everything that a monitor counts, one JSON object a line: requests in one file, labels in another beside it.

It is written where the events are folded, so that it holds each that is counted once, with the very values.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelwatch import Monitor
from modelwatch.demo.incidents import Script
from modelwatch.errors import ModelwatchError, fault
from modelwatch.events import LabelCount, Prediction
from modelwatch.kernel import Kernel


def labels_beside(log: Path) -> Path:
    """Return the file of the labels of a log.

    Examples
    --------
    >>> labels_beside(Path("day.jsonl")).name
    'day-labels.jsonl'
    """
    return log.with_name(f"{log.stem}-labels{log.suffix}")


def incidents_beside(log: Path) -> Path:
    """Return the file of the incidents of a log.

    Examples
    --------
    >>> incidents_beside(Path("day.jsonl")).name
    'day-incidents.csv'
    """
    return log.with_name(f"{log.stem}-incidents.csv")


def check_log(log: Path) -> None:
    """See that a log, and the files beside it, can be written, before anything is started.

    Raises
    ------
    ModelwatchError   one cannot.
    """
    for file in (log, labels_beside(log), incidents_beside(log)):
        new = not file.exists()
        try:
            file.open("ab").close()
        except OSError as error:
            expected, remedy = f"a file that can be written ({error.strerror})", "Name a file in a folder of yours."
            raise ModelwatchError(fault("--log", "file", str(file), expected, remedy)) from None
        if new:
            file.unlink()


def write_incidents(log: Path, script: Script, started: float, ended: float) -> None:
    """Write which incidents there were, for `modelwatch backtest --incidents`; a later demo adds its own.

    started, ended : of the demo, Unix time.
    """
    file = incidents_beside(log)
    new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        if new:
            rows.writerow(("name", "start", "end"))
        for incident, begun, over in script.spans(ended - started):
            rows.writerow((incident.name, f"{started + begun:.3f}", f"{min(started + over, ended):.3f}"))


class LoggedKernel(Kernel):
    """A kernel that writes what it counts. Several processes may write into one file: a line is one write."""

    def __init__(self, kernel: Kernel, log: Path) -> None:
        vars(self).update(vars(kernel))  # it goes on with what the other has counted, and with its label values
        self._log = log.open("ab", buffering=0)
        self._labels = labels_beside(log).open("ab", buffering=0)

    def fold(self, events: Sequence[tuple[Any, ...]]) -> None:
        """Write and count a chunk of events."""
        self._log.write(_lines(_row(Prediction(*event)) for event in events))
        super().fold(events)

    def fold_labels(self, found: Sequence[LabelCount]) -> None:
        """Write and count labels."""
        self._labels.write(_lines(one._asdict() for one in found))
        super().fold_labels(found)


def _row(event: Prediction) -> dict[str, Any]:
    row = event._asdict()
    return (row.pop("features") or {}) | row


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    now = time.time()
    return b"".join(json.dumps({"timestamp": now, **row}).encode() + b"\n" for row in rows)


def log_into(monitor: Monitor, log: Path) -> None:
    """Let a monitor write what it counts from now on."""
    recorder = monitor.recorder
    with recorder.held():
        recorder.kernel = LoggedKernel(recorder.kernel, log)
