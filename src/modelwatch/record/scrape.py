"""What Prometheus reads of this host: the committed counts of all workers, and what their processes do now."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from modelwatch import names
from modelwatch.exposition import GaugeValue, Page, Source
from modelwatch.record.recorder import WAIT_S, Recorder
from modelwatch.referenceseries import inclusion_series, reference_page
from modelwatch.store.live import Key
from modelwatch.store.reader import HostState
from modelwatch.store.writer import DEAD_S
from modelwatch.tally import Tally

if TYPE_CHECKING:
    from modelwatch.record.worker import Worker
    from modelwatch.reference import Reference

SHOWN_S = 86_400  # a version that counted nothing for so long is not shown any more


class Scrape:
    """Renders the page of one worker; whichever worker is asked, the counts are those of the host."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._page = Page()
        self._errors: Counter[str] = Counter()
        self._seeded: dict[Key, tuple[Tally, int]] = {}
        self._profiles: tuple[dict[Key, Reference], dict[bool, bytes]] = {}, {}

    def render(self, *, openmetrics: bool = False, registry: Any = None) -> bytes:
        """Return the exposition; `registry`: of prometheus_client, whose families are added."""
        foreign = b""
        if registry is not None:
            from modelwatch.record.foreign import render

            foreign = render(registry, openmetrics=openmetrics, on_error=self._on_error)
        self._worker.tell_drops()
        with self._worker.reading:
            sources = self._sources()
            gauges = self._gauges(sources)
            return self._page.render(
                sources, gauges, openmetrics=openmetrics, foreign=self._references(openmetrics=openmetrics) + foreign,
                on_error=self._on_error,
            )  # fmt: skip

    def _references(self, *, openmetrics: bool) -> bytes:
        """Return the profiles of the models, which are made into text once."""
        references = self._worker.references
        known, pages = self._profiles
        if known != references:
            known, pages = self._profiles = dict(references), {}
        if openmetrics not in pages:
            try:
                pages[openmetrics] = reference_page(references.items(), openmetrics=openmetrics)
            except Exception as error:  # noqa: BLE001 - it costs only itself
                self._on_error("reference", error)
                pages[openmetrics] = b""
        return pages[openmetrics]

    def _on_error(self, family: str, error: Exception) -> None:
        self._errors[family] += 1
        self._worker.faults.add("exposition", error, ours=False)

    def _sources(self) -> list[Source]:
        """Return the model versions of this process, and others of its models that counted in the last day."""
        worker = self._worker
        totals = worker.poll()
        recorders = dict(worker.recorders)
        served = {key.model for key in recorders}
        newest = worker.totals.newest
        recent = worker.clock.now() - SHOWN_S
        sources = []
        for key, recorder in recorders.items():
            tally = totals.get(key)
            if tally is None:
                tally = recorder.kernel.schema.empty()
            sources.append(Source(*key, recorder.kernel.schema, self._with_known_rows(recorder, key, tally)))
        for key, tally in totals.items():
            schema = worker.host.schemas.get(key)
            if key not in recorders and key.model in served and schema is not None and newest.get(key, 0) >= recent:
                tally.add_matching(schema.empty())
                sources.append(Source(*key, schema, tally))
        for source in sources:
            _complete(source.tally)
        return sorted(sources, key=lambda source: (source.name, source.version))

    def _with_known_rows(self, recorder: Recorder, key: Key, tally: Tally) -> Tally:
        """Give `tally` the rows that this process knows: a series that exists at 0 loses no increase."""
        with recorder.held(WAIT_S) as held:
            if not held:  # the counting is blocked; a scrape must be answered
                tally.add_matching(recorder.kernel.schema.empty())
                return tally
            mine = recorder.kernel.tally.tables
            size = sum(len(table.rows) for table in mine.values())
            if self._seeded.get(key) == (tally, size):
                return tally
            known = {name: list(table.rows) for name, table in mine.items()}
        tally.add_matching(recorder.kernel.schema.empty())
        for name, rows in known.items():
            table = tally.tables[name]
            for labels in rows:
                table.row(labels)
        self._seeded[key] = (tally, size)
        return tally

    def _gauges(self, sources: list[Source]) -> list[GaugeValue]:
        host, worker = self._worker.host, self._worker
        shown = {source.name for source in sources} if host.heard else set()
        values = {name: host.gauges.get(name, {}) for name in shown}
        found = [
            GaugeValue(names.IN_PROGRESS, gauges.get("in_progress", 0), {"model_name": name})
            for name, gauges in sorted(values.items())
        ]
        found += [
            GaugeValue(names.THROUGHPUT, gauges.get("last_minute", 0) / 60, {"model_name": name})
            for name, gauges in sorted(values.items())
        ]
        found += [GaugeValue(names.MODEL_INFO, 1, {"model_name": s.name, "model_version": s.version}) for s in sources]
        found += [gauge for s in sources for gauge in inclusion_series(s.name, s.version, s.tally)]
        if host.heard:
            found.append(GaugeValue(names.WORKERS, host.workers))
        found.append(GaugeValue(names.WORKER_DEATHS, host.deaths))
        lag = worker.lag()
        found.append(GaugeValue(names.FLUSH_LAG, max(lag, host.oldest_beat_age_s or 0.0)))
        found.append(GaugeValue(names.LIVE_UP, float(worker.kept is not False and lag < DEAD_S)))
        found.append(GaugeValue(names.LIVE_DAMAGED, host.damaged_rows + worker.totals.damaged))
        found += [
            GaugeValue(names.COLLECTOR_ERRORS, n, {"family": family}) for family, n in sorted(self._errors.items())
        ]
        return found + _resources(host)


_PROCESS = {
    "resident_bytes": names.PROCESS_MEMORY,
    "open_files": names.PROCESS_FILES,
    "threads": names.PROCESS_THREADS,
}
_USED = {  # metric and how many units of the count are one of it
    "cpu_us": (names.PROCESS_CPU, 1e6),
    "disk_read_bytes": (names.PROCESS_DISK_READ, 1),
    "disk_written_bytes": (names.PROCESS_DISK_WRITTEN, 1),
}
_GPU = {
    "utilization": names.GPU_UTILIZATION,
    "memory_used_bytes": names.GPU_MEMORY_USED,
    "memory_total_bytes": names.GPU_MEMORY_TOTAL,
    "temperature_celsius": names.GPU_TEMPERATURE,
    "power_watts": names.GPU_POWER,
}


def _resources(host: HostState) -> list[GaugeValue]:
    """Return what the processes and the GPUs of the host tell; what nobody tells is absent, not 0."""
    found = [GaugeValue(metric, host.used[name] / unit) for name, (metric, unit) in _USED.items() if name in host.used]
    found += [GaugeValue(metric, host.process[name]) for name, metric in _PROCESS.items() if name in host.process]
    return found + [
        GaugeValue(metric, gpu.values[what], {"gpu": gpu.index, "name": gpu.name})
        for what, metric in _GPU.items()
        for gpu in host.gpus
        if what in gpu.values
    ]


def _complete(tally: Tally) -> None:
    """Give every endpoint that was ever asked all of its series: no page may lack one that another page has."""
    tables = tally.tables
    endpoints = tables[names.REQUESTS.name].rows
    for name in (names.FAILED.name, names.CANCELLED.name, names.DURATION.name):
        table = tables.get(name)
        if table is not None and len(table.rows) < len(endpoints):
            for labels in endpoints:
                table.row(labels)
