"""Its own state in plain words: what it counted, lost, keeps and uses, and what to do when that is not fine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelwatch.server import words
from modelwatch.server.health import VERDICTS, Verdict, worst
from modelwatch.server.words import MISSING, NBSP, clean, finite

STALE_S = 30.0  # counts older than this are not the present
LEAST_FREE = 2**30  # bytes of the disk that live.db is on: compaction and the log need room
CHIPS = {"ok": "OK", "crit": "Critical", "warn": "Warning", "unk": "Cannot tell", "info": "Info", "none": "Not told"}
_UNREAD = "The counts cannot be read now, so nobody knows. See “Counts kept” below."


class Line(NamedTuple):
    """One thing to know: its state, its value (of the last hour, with that of the day beside it, for counts).

    `chip` is empty where nothing is judged; `said` tells what the value means, and what to do where it is not fine.
    """

    name: str
    state: str
    value: str
    day: str
    said: str
    chip: str


class Count(NamedTuple):
    """How a count of ourselves is told: `hurt` is its state while it is not 0 in the last hour."""

    key: str
    name: str
    hurt: str
    fine: str
    told: str
    parts: str = ""


COUNTS = (
    Count(
        "abandoned", "Events given up", "warn", "No event was given up: every request is in the counts.",
        "These requests are in no number. Something blocked the counting for a second while the buffer was full: look"
        " for a value whose own __str__ or __eq__ hangs, and hand plain numbers and text to the monitor.",
    ),
    Count(
        "internal_errors", "Internal errors", "warn", "modelwatch has not failed anywhere.",
        "modelwatch failed; the service was not disturbed. Its log says why under “modelwatch: internal fault”. At"
        " “live” it is the file: a full disk, a lock, or missing rights.", "place",
    ),
    Count(
        "samples_dropped", "Samples dropped", "info", "Every prediction chosen for review was kept.",
        "Predictions chosen for review were not kept, so that the service need not wait. Is the store slow, or down?"
        " No count is touched; accuracy rests on fewer labels.", "reason",
    ),
    Count(
        "caller_folds", "Buffer full", "info", "The counting thread kept up with the requests.",
        "Nothing is lost: events came faster than the counting thread could take them, so that many requests counted a"
        " chunk themselves, about a millisecond each. Run more workers, or record fewer features.",
    ),
    Count(
        "refused", "Values refused", "info", "Every value could be counted.",
        "Only the value is left out, its request counts. Hand over what the field expects: finite numbers, durations"
        " in seconds, features that the configuration names.", "field and fault",
    ),
    Count(
        "overflow", "Labels over their cap", "info", "Every label has fewer values than its cap.",
        "They are counted together as __other__, so figures by this label are incomplete. Record routes and classes,"
        " not ids or free text, or raise max_label_values.", "metric and label",
    ),
)  # fmt: skip


class Itself(NamedTuple):
    """What the page shows: the verdict, and three lists of lines."""

    verdict: Verdict
    counted: Sequence[Line]
    kept: Sequence[Line]
    used: Sequence[Line]


def itself(status: Mapping[str, Any]) -> Itself:
    """Return modelwatch's own state from the status of the server.

    A value that is unknown is a dash with a state of its own, never 0. The machine's figures are shown, not judged.
    """
    monitor: Mapping[str, Any] = status.get("monitor") or {}
    counted = [_events(status, monitor), *(_count(monitor, count) for count in COUNTS)]
    kept = [_workers(status, monitor), _newest(status), _file(status, monitor), _disk(monitor), _damaged(monitor)]
    return Itself(_verdict(status, counted, kept), counted, kept, [*_process(status, monitor), *_gpus(monitor)])


def _line(name: str, state: str, value: str, said: str, day: str = "") -> Line:
    return Line(name, state, value, day, said, CHIPS[state])


def _measured(name: str, value: str, said: str) -> Line:
    """Return a line that is not judged; without a value it says so."""
    if value != MISSING:
        return Line(name, "none", value, "", said, "")
    return _line(name, "none", MISSING, "This platform does not tell.")


def _held(monitor: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return (monitor.get("counts") or {}).get(key) or {}


def _events(status: Mapping[str, Any], monitor: Mapping[str, Any]) -> Line:
    held = _held(monitor, "events")
    hour, day = finite(held.get("hour")), finite(held.get("day"))
    name = "Events counted"
    if hour is None:
        return _line(name, "unk", MISSING, _UNREAD, MISSING)
    if not hour:
        idle = "Nothing was counted for an hour. Silence is not health: is the service asked, and does it record?"
        return _line(name, "unk", "none", idle, words.number(day))
    alive = finite((status.get("workers") or {}).get("alive"))
    said = f"Requests and answers, from {words.plural(alive, 'worker', 'workers')}, each counted exactly once."
    return _line(name, "ok", words.number(hour), said, words.number(day))


def _count(monitor: Mapping[str, Any], count: Count) -> Line:
    held = _held(monitor, count.key)
    hour, day = finite(held.get("hour")), finite(held.get("day"))
    if hour is None or day is None:
        return _line(count.name, "unk", MISSING, _UNREAD, MISSING)
    if not day:
        return _line(count.name, "ok", "0", count.fine, "0")
    state = count.hurt if hour else "info"
    said = f"{'' if hour else 'None in the last hour. '}{count.told}{_parts(held, count.parts)}"
    return _line(count.name, state, words.number(hour), said, words.number(day))


def _parts(held: Mapping[str, Any], by: str) -> str:
    """Return where a count comes from, most first."""
    rows = held.get("rows") or ()
    if not by or not rows:
        return ""
    parts = [f"{NBSP.join(clean(part, 60) for part in labels)}{NBSP}{words.number(n)}" for labels, _, n in rows]
    more = finite(held.get("more"))
    parts += [f"and {words.number(more)} more"] if more else []
    return f" By {by}: {', '.join(parts)}."


def _workers(status: Mapping[str, Any], monitor: Mapping[str, Any]) -> Line:
    workers = status.get("workers") or {}
    alive, died = finite(workers.get("alive")), finite(workers.get("died"))
    name, value = "Workers", f"{words.number(alive)} reporting"
    if not alive:
        return _line(name, "unk", value, "Nobody has reported for ten seconds. Is the service running?")
    if not died:
        return _line(name, "ok", value, "None has died without saying goodbye.")
    since = words.day_and_clock(monitor.get("since"))
    said = (
        f"{words.plural(died, 'worker has', 'workers have')} died since {since}, each with at most its last second of"
        " counts. Killed for memory (see dmesg), or crashed (see the service's log)?"
    )
    return _line(name, "info", value, said)


def _newest(status: Mapping[str, Any]) -> Line:
    age = finite(status.get("data_age_s"))
    name = "Newest data"
    if age is None:
        return _line(name, "unk", MISSING, "No living worker has written anything. Is the service running?")
    value = f"{words.age(age)} old"
    if age <= STALE_S:
        return _line(name, "ok", value, "Every worker writes its counts once a second, or every two when it is idle.")
    if not finite((status.get("workers") or {}).get("alive")):
        return _line(name, "unk", value, "Nobody writes any more. Is the service running?")
    held = "A worker cannot write its counts; they wait in its memory. Is the disk full or slow?"
    return _line(name, "unk", value, held)


def _file(status: Mapping[str, Any], monitor: Mapping[str, Any]) -> Line:
    live = status.get("live") or {}
    where, reason = clean(live.get("path") or "no file"), clean(live.get("reason") or "no reason is known", 160)
    value = words.size((monitor.get("file") or {}).get("bytes"))
    if not live.get("kept"):
        told = f"{where} cannot be read: {reason.rstrip('.')}. The numbers on all pages are of the past."
        return _line("Counts kept", "unk", value, told)
    since = words.day_and_clock(monitor.get("since"))
    return _line(
        "Counts kept", "ok", value, f"In {where}, since {since}, over restarts; old minutes become hours, then days."
    )


def _disk(monitor: Mapping[str, Any]) -> Line:
    free = finite((monitor.get("file") or {}).get("free_bytes"))
    if free is None:
        return _line("Free on its disk", "unk", MISSING, "The folder of live.db cannot be looked at.")
    if free < LEAST_FREE:
        full = "Counts stay in memory once the disk is full, and are lost with their worker. Make room."
        return _line("Free on its disk", "warn", words.size(free), full)
    return _line("Free on its disk", "ok", words.size(free), f"Warning below {words.size(LEAST_FREE)}.")


def _damaged(monitor: Mapping[str, Any]) -> Line:
    rows, files = finite(monitor.get("damaged_rows")), finite((monitor.get("file") or {}).get("set_aside"))
    if rows is None:
        return _line("Damage", "unk", MISSING, _UNREAD)
    if not rows and not files:
        return _line("Damage", "ok", "none", "Every row could be read.")
    value = " and ".join(
        [words.plural(rows, "row", "rows")] * bool(rows) + [words.plural(files, "file", "files")] * bool(files)
    )
    said = (
        "Damaged rows are in no count; a damaged file lies beside the new one, and counting went on. Was the disk full"
        " or the machine reset? Check the disk, then delete the files set aside."
    )
    return _line("Damage", "info", value, said)


def _process(status: Mapping[str, Any], monitor: Mapping[str, Any]) -> list[Line]:
    now, used = monitor.get("process") or {}, monitor.get("used") or {}
    if not now:
        alive = finite((status.get("workers") or {}).get("alive"))
        install = "Install modelwatch[server] beside the service: it brings psutil, which tells CPU, memory and files."
        return [_line("Processes", "none", MISSING, install if alive else "No worker reports, so nobody tells.")]
    since = words.day_and_clock(monitor.get("since"))
    cores = finite(now.get("cpu_cores"))
    cpu = MISSING if cores is None else f"{words.number(cores, 2)} cores"
    seconds = finite(used.get("cpu_s"))
    spent = "" if seconds is None else f" {words.span(seconds)} of CPU since {since}."
    lines = [
        _measured("CPU", cpu, f"The whole service over the last minute, modelwatch's part included.{spent}"),
        _measured(
            "Memory",
            words.size(now.get("resident_bytes")),
            "Resident, all workers; shared pages count for each. Growing for hours without more traffic: a leak.",
        ),
        _measured(
            "Open files",
            words.number(now.get("open_files")),
            "Sockets included. Growing only: connections are not closed; “ulimit -n” is the limit of each worker.",
        ),
        _measured(
            "Threads", words.number(now.get("threads")), "modelwatch adds one to each worker, and none to a request."
        ),
    ]
    read, written = (words.size(used.get(f"disk_{what}_bytes")) for what in ("read", "written"))
    if (read, written) != (MISSING, MISSING):
        lines.append(
            _measured("Disk", written, f"Written since {since}; {read} read. modelwatch itself writes a row a second.")
        )
    return lines


def _gpus(monitor: Mapping[str, Any]) -> list[Line]:
    gpus: Sequence[Mapping[str, Any]] = monitor.get("gpus") or ()
    if not gpus:
        told = "No GPU reports here. One appears by itself when NVML finds it (nvidia-ml-py, in modelwatch[server])."
        return [Line("GPU", "none", "none", "", told, "")]
    return [_gpu(gpu) for gpu in gpus]


def _gpu(gpu: Mapping[str, Any]) -> Line:
    used, whole = (finite(gpu.get(f"memory_{what}_bytes")) for what in ("used", "total"))
    degrees, watts = finite(gpu.get("temperature_celsius")), finite(gpu.get("power_watts"))
    facts = [clean(gpu.get("name", ""), 60)]
    facts += [f"{words.size(used)} of {words.size(whole)} memory"] if used is not None and whole is not None else []
    facts += [f"{words.number(degrees)}{NBSP}°C"] if degrees is not None else []
    facts += [f"{words.number(watts)}{NBSP}W"] if watts is not None else []
    busy = finite(gpu.get("utilization"))
    value = "not told" if busy is None else f"{words.percent(busy, 0)} busy"
    return Line(f"GPU {clean(gpu.get('gpu', ''), 8)}", "none", value, "", f"{', '.join(facts)}.", "")


def _verdict(status: Mapping[str, Any], counted: Sequence[Line], kept: Sequence[Line]) -> Verdict:
    lines = [*counted, *kept]
    state = worst([line.state for line in lines if line.state != "info"])
    wrong = [line for line in lines if line.state == state]
    if state == "ok":
        events, notes = counted[0], [line.name.lower() for line in lines if line.state == "info"]
        told = f"{events.value} events were counted in the last hour, {events.day} in 24{NBSP}h, and kept."
        noted = f" Worth a look: {words.listed(notes)}." if notes else " Nothing was lost or refused."
        return Verdict("ok", VERDICTS["ok"], "modelwatch itself is well", told + noted)
    if not (status.get("live") or {}).get("kept"):
        return Verdict(state, VERDICTS[state], "the counts cannot be read", kept[2].said)
    named = words.listed([line.name[0].lower() + line.name[1:] for line in wrong])
    clause = f"look at {named}" if state == "warn" else f"no answer on {named}"
    if len(wrong) == 1:
        return Verdict(state, VERDICTS[state], clause, wrong[0].said)
    figures = " ".join(f"{line.name}: {line.value}." for line in wrong)
    return Verdict(state, VERDICTS[state], clause, f"{figures} What to do stands beside each of them, below.")
