"""What modelwatch knows of itself on this host: what it counted, lost and refused, where it keeps it, what it uses."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from modelwatch import names
from modelwatch.store.live import DAY, HOUR, log_of
from modelwatch.store.reader import HostState
from modelwatch.store.windows import Windows
from modelwatch.tally import Labels, Tally

MOST_ROWS = 6  # rows of one table by label
COUNTED = {
    "events": names.EVENTS,
    "abandoned": names.ABANDONED,
    "caller_folds": names.CALLER_FOLDS,
    "refused": names.REFUSED,
    "overflow": names.OVERFLOW,
    "samples_dropped": names.SAMPLES_DROPPED,
    "internal_errors": names.INTERNAL_ERRORS,
}


def itself(
    host: HostState, windows: Windows, live: Path, *, readable: bool, scaled: Callable[[float], int] = int
) -> dict[str, Any]:
    """Return the state of modelwatch itself as plain values, over all models of the host.

    Parameters
    ----------
    scaled : what `time_scale` makes of an hour and a day, in seconds.
    readable : whether `live` could be read now; else everything that it tells is None: old figures are not the state.

    Returns
    -------
    dict. `counts`: by the names of `COUNTED`, of the last `hour` and `day`, and the largest `rows` by label as
    [[labels…], hour, day] with the number of `more` that are not in it. `since`: Unix time of the first count.
    `damaged_rows`. `file`: `bytes` of live.db and its log, `free_bytes` of its disk, and how many damaged files are
    `set_aside`. `process`: what the living workers use now (`cpu_cores` over the last minute); `used`: totals since the
    file began. `gpus`: one mapping each. What nobody tells is absent from `process`, `used` and `gpus`.
    """
    keys = windows.keys()
    hour, day = ([windows.sum(key, window_s) for key in keys] for window_s in (scaled(HOUR), scaled(DAY)))
    used = {name: n / 1e6 if name == "cpu_us" else n for name, n in host.used.items()}
    return {
        "since": host.began if readable else None,
        "counts": {name: of_tallies(metric, hour, day) for name, metric in COUNTED.items()} if readable else None,
        "damaged_rows": host.damaged_rows + len(windows.damaged) if readable else None,
        "file": _file(live),
        "process": dict(host.process) if readable else {},
        "used": {name.replace("cpu_us", "cpu_s"): n for name, n in used.items()} if readable else {},
        "gpus": [{"gpu": g.index, "name": g.name, **g.values} for g in host.gpus] if readable else [],
    }


def of_tallies(metric: names.Metric, hour: Iterable[Tally], day: Iterable[Tally]) -> dict[str, Any]:
    """Return what was counted of a metric in the last hour and day, with its largest rows by label."""
    recent, all_day = _by_label(metric, hour), _by_label(metric, day)
    ranked = sorted(
        ((labels, n) for labels, n in all_day.items() if labels and n), key=lambda pair: (-pair[1], pair[0])
    )
    return {
        "hour": sum(recent.values()),
        "day": sum(all_day.values()),
        "rows": [[list(labels), recent.get(labels, 0), n] for labels, n in ranked[:MOST_ROWS]],
        "more": max(0, len(ranked) - MOST_ROWS),
    }


def _by_label(metric: names.Metric, tallies: Iterable[Tally]) -> Mapping[Labels, int]:
    found: dict[Labels, int] = {}
    for tally in tallies:
        table = tally.tables.get(metric.name)
        for labels, row in table.rows.items() if table else ():
            found[labels] = found.get(labels, 0) + int(table.counts[row, 0]) if table else 0
    return found


def _file(live: Path) -> dict[str, Any]:
    """Return the size of the file, what its disk has left, and what lies damaged beside it; None for unknown."""
    try:
        size: int | None = live.stat().st_size + (log_of(live).stat().st_size if log_of(live).exists() else 0)
    except OSError:
        size = None
    try:
        free: int | None = shutil.disk_usage(live.parent).free
        kept: int | None = sum(
            not found.name.endswith(("-wal", "-shm")) for found in live.parent.glob(f"{live.name}.damaged-*")
        )
    except OSError:
        free = kept = None
    return {"bytes": size, "free_bytes": free, "set_aside": kept}
