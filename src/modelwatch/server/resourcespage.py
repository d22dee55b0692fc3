"""The page "is it the machine?": load, processor, memory, disk, and GPUs of the host, as its workers report them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch import names
from modelwatch.server import charts, words
from modelwatch.server.frame import RESOURCES, band, choose, document, frame, page_title, query, render
from modelwatch.server.health import VERDICTS, Verdict, View
from modelwatch.server.panels import CHIPS, errors_by_type
from modelwatch.server.words import MISSING, NBSP, clean, finite

FULL = 0.9  # share of the memory of a GPU, from where it is worth a look
_WORKERS_AWAY = "No worker has reported for ten seconds, so nobody tells. The counts below are of the past."
Plain = Mapping[str, Any]


class Resource(NamedTuple):
    """One calm line: name, state, value, what it is compared with, and a picture where its past is known."""

    name: str
    state: str
    chip: str
    value: str
    unit: str
    said: str
    picture: Markup = Markup()


def resources_page(status: Plain, *, base: str = "", model: str | None = None) -> str:
    """Return the page on the resources of the host as a full HTML document.

    Parameters and errors are those of `pages.health_page`.
    """
    parts = resources_fragments(status, base=base, model=model)
    chosen = choose(status, model)
    said = resources_verdict(status)
    title = page_title(said.word, RESOURCES, chosen)
    return document("resources", parts, base, f"{base}/fragments/resources{query(model)}", title, said.state)


def resources_fragments(status: Plain, *, base: str = "", model: str | None = None) -> dict[str, str]:
    """Return the changing parts of the page on resources, by the name that the page gives their boxes."""
    chosen = choose(status, model)
    bits = frame(status, chosen, base, model, RESOURCES) | band(resources_verdict(status), RESOURCES, chosen)
    load = [] if chosen is None else _load(View(status, chosen))
    bits["load"] = render("resourcelines", title="Load", about="of this model", lines=load) if load else ""
    bits["types"] = "" if chosen is None else _types(View(status, chosen))
    bits["machine"] = render(
        "resourcelines", title="Service", about="all worker processes of this host, your model in them",
        lines=_process(status),
    )  # fmt: skip
    bits["gpus"] = render("resourcelines", title="GPUs", about="of this host, read by NVML", lines=_gpus(status))
    return bits


def _types(view: View) -> str:
    """Return the card of the errors by their type."""
    rows, hidden, empty = errors_by_type(view)
    cancelled = words.plural(view.detail("cancelled"), "request was", "requests were")
    return render(
        "errors", rows=rows, hidden=hidden, empty=empty, window=view.window, cancelled=view.detail("cancelled"),
        cancelled_words=cancelled, incomplete=view.incomplete(names.ERRORS, "errors"),
    )  # fmt: skip


def resources_verdict(status: Plain) -> Verdict:
    """Return whether the machine can be told to be well: it is shown, and judged only where something has a limit."""
    if not _process_held(status):
        alive = finite((status.get("workers") or {}).get("alive"))
        told = (
            "Install modelwatch[server] beside the service: it brings psutil, which tells processor, memory and files."
            if alive
            else f"{_WORKERS_AWAY} Is the service running?"
        )
        return Verdict("unk", VERDICTS["unk"], "the machine does not tell", told)
    lines = [line for line in _process(status) if line.name in {"CPU", "Memory"}]
    told = ", ".join(
        f"{line.name if line.name == 'CPU' else line.name.lower()} {line.value}{NBSP}{line.unit}" for line in lines
    )
    return Verdict(
        "none", "In use", told, "Shown, not judged: what the machine does has no limit here; alerts judge the service."
    )


def _process_held(status: Plain) -> Plain:
    held: Plain = (status.get("monitor") or {}).get("process") or {}
    return held


def _load(view: View) -> list[Resource]:
    """Return what the model is asked now: throughput and requests in progress."""
    rate = next(iter(view.of("request_rate")), None)
    state = rate.state if rate else "unk"
    series = view.series(view.history.get("request_rate"))
    now = None if state == "unk" or rate is None else rate.value
    known = series.known()
    past = f" Highest of the last hour: {words.rate(max(known))}." if known else ""
    said = (rate.reason if rate and rate.reason else "no requests") if now is None else ""
    said = f"{said[:1].upper()}{said[1:]}." if said else f"Finished in the last {view.window}.{past}"
    flight = view.detail("in_progress")
    waiting = "Requests being answered now, by all workers of this host." if flight is not None else _WORKERS_AWAY
    return [
        Resource(
            "Throughput", state, CHIPS[state], words.rate_number(now) if now is not None else "No data",
            "req/s" if now is not None else "", said, _spark(series, state),
        ),
        Resource("In progress", "none" if flight is not None else "unk", "" if flight is not None else CHIPS["unk"],
                 words.number(flight), "requests" if flight != 1 else "request", waiting),
    ]  # fmt: skip


def _spark(series: charts.Series, state: str) -> Markup:
    return (
        Markup(charts.spark(series, height=32, tone="s" if state in {"warn", "crit"} else ""))
        if series.known()
        else Markup()
    )


def _process(status: Plain) -> list[Resource]:
    """Return what the worker processes use."""
    monitor: Plain = status.get("monitor") or {}
    now, used = _process_held(status), monitor.get("used") or {}
    since = words.day_and_clock(monitor.get("since"))
    alive = finite((status.get("workers") or {}).get("alive"))
    cores, seconds = finite(now.get("cpu_cores")), finite(used.get("cpu_s"))
    spent = f" {words.span(seconds)} of processor time since {since}." if seconds is not None else ""
    read, written = (words.size(used.get(f"disk_{what}_bytes")) for what in ("read", "written"))
    lines = [
        _measured("CPU", words.number(cores, 2), "cores", f"Busy over the last minute.{spent}"),
        _sized(
            "Memory",
            now.get("resident_bytes"),
            f"Resident, {words.plural(alive, 'worker', 'workers')}; shared pages count for each.",
        ),
        _measured(
            "Threads",
            words.number(finite(now.get("threads"))),
            "",
            "modelwatch adds one to each worker, and none to a request.",
        ),
        _measured(
            "Open files",
            words.number(finite(now.get("open_files"))),
            "",
            "Sockets included. If they only grow, connections are not closed.",
        ),
    ]
    disk = written if written != MISSING else ""
    lines.append(_measured("Disk", *_split(disk), f"Written since {since}; {read} read." if disk else ""))
    free = finite((monitor.get("file") or {}).get("free_bytes"))
    lines.append(_measured("Free on disk", *_split(words.size(free)), "Of the disk that live.db is on."))
    return lines


def _split(text: str) -> tuple[str, str]:
    number, _, unit = text.partition(NBSP)
    return number, unit


def _sized(name: str, count: Any, said: str) -> Resource:
    return _measured(name, *_split(words.size(finite(count))), said)


def _measured(name: str, value: str, unit: str, said: str) -> Resource:
    if value and value != MISSING:
        return Resource(name, "none", "", value, unit, said)
    return Resource(
        name, "unk", CHIPS["unk"], MISSING, "", "Nobody tells now: no worker reports it, or the platform cannot."
    )


def _gpus(status: Plain) -> list[Resource]:
    """Return the GPUs: how busy, and how full. One without a reading says so."""
    held: Sequence[Plain] = (status.get("monitor") or {}).get("gpus") or ()
    if not held:
        told = "No GPU reports here. One appears by itself when NVML finds it (nvidia-ml-py, in modelwatch[server])."
        return [Resource("GPU", "none", "", "none", "", told)]
    return [_gpu(one) for one in held]


def _gpu(one: Plain) -> Resource:
    used, whole = (finite(one.get(f"memory_{what}_bytes")) for what in ("used", "total"))
    degrees, watts, busy = (finite(one.get(key)) for key in ("temperature_celsius", "power_watts", "utilization"))
    share = used / whole if used is not None and whole else None
    facts = [clean(one.get("name", ""), 60)]
    facts += (
        [f"{words.size(used)} of {words.size(whole)} memory ({words.percent(share, 0)})"] if share is not None else []
    )
    facts += [f"{words.number(degrees)}{NBSP}°C"] if degrees is not None else []
    facts += [f"{words.number(watts)}{NBSP}W"] if watts is not None else []
    state = "info" if share is not None and share >= FULL else "none"
    value, unit = (words.number(100 * busy), "% busy") if busy is not None else (MISSING, "")
    return Resource(
        f"GPU {clean(one.get('gpu', ''), 8)}", state, CHIPS["info"] if state == "info" else "", value, unit,
        f"{', '.join(facts)}.", Markup(charts.bar(busy, height=10)),
    )  # fmt: skip
