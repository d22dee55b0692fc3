"""What is wrong with a running installation, and what to do: one finding a check."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from modelwatch.config import Config, ModelConfig, load_config
from modelwatch.errors import ConfigError, ModelwatchError
from modelwatch.onboarding.finding import Check, Finding
from modelwatch.onboarding.outside import Places, outside_checks
from modelwatch.reference import Reference

REFERENCE_STALE_S = 180 * 86_400
LABELS_STALE_S = 7 * 86_400
QUIET_S = 3600
ROOM = 1 << 30  # bytes that a disk should have free
NETWORK_DISKS = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs", "lustre")


def examine(path: Path, places: Places, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Examine an installation, from the inside to the outside; a check that breaks is a finding of its own.

    Parameters
    ----------
    path : the configuration.
    places : where Prometheus, Alertmanager and the service are.
    """
    try:
        config = load_config(path, secrets=False)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("configuration", "failure", line)
        return
    models = ", ".join(f"{name} {model.version}" for name, model in config.models.items())
    yield Finding("configuration", "ok", f"{path} is valid: {models}")
    checks: list[tuple[str, Check]] = [("who is told", lambda: _told(path, config))]
    checks += [(f"reference of {m.name}", lambda m=m: _reference(m, now())) for m in config.models.values()]  # type: ignore[misc]
    checks += [("live.db", lambda: _live(config.live, now()))]
    checks += [("store", lambda: _store(config, now(), by_prometheus=places.prometheus is not None))]
    checks += outside_checks(config, places, now)
    for name, check in checks:
        try:
            yield from check()
        except ModelwatchError as error:
            yield Finding(name, "failure", str(error))
        except Exception as error:  # noqa: BLE001 - one look must not hide the others
            yield Finding(name, "unknown", f"cannot be examined ({type(error).__name__}: {str(error)[:120]}).")


def _told(path: Path, config: Config) -> Iterator[Finding]:
    try:
        load_config(path)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("secrets", "failure", line)
    alerting = config.alerting
    if not alerting.receivers and alerting.alertmanager is None:
        yield Finding("who is told", "warning", "nobody: there are no receivers.",
                      "Add alerting.receivers, and try one: modelwatch alerts test NAME.")  # fmt: skip
    elif alerting.alertmanager is None:
        critical = alerting.routes.critical
        who = ", ".join(critical) or "nobody"
        yield Finding("who is told", "ok" if critical else "warning", f"of what is critical: {who}",
                      "" if critical else "Add routes.critical.")  # fmt: skip


def _reference(model: ModelConfig, now: float) -> Iterator[Finding]:
    name = f"reference of {model.name}"
    if model.reference is None:
        yield Finding(name, "warning", "there is none, so drift cannot be told.",
                      "Make one: modelwatch profile DATA -o reference.json.")  # fmt: skip
        return
    reference = Reference.load(model.reference)
    known = {**reference.numeric, **reference.categorical}
    absent = unprofiled(model, reference)
    if absent:
        yield Finding(name, "warning", f"has no profile of {', '.join(absent[:5])}.",
                      "Profile data that have these columns, or remove the features.")  # fmt: skip
    age = now - model.reference.stat().st_mtime
    if age > REFERENCE_STALE_S:
        yield Finding(name, "warning", f"was written {age / 86_400:.0f} days ago.",
                      "Compare it with the data that the present version was trained on.")  # fmt: skip
    elif not absent:
        yield Finding(name, "ok", f"{len(known)} features of {reference.rows:,} rows, {age / 86_400:.0f} days old")


def unprofiled(model: ModelConfig, reference: Reference) -> list[str]:
    """Return the features that a profile does not have: their drift cannot be told."""
    return [name for name in model.features if name not in reference.numeric and name not in reference.categorical]


def _live(path: Path, now: float) -> Iterator[Finding]:
    from modelwatch.store.reader import LiveReader, Totals

    if not path.exists():
        yield Finding("live.db", "failure", f"{path} does not exist.",
                      "Start the service in this folder, or set live: to its file.")  # fmt: skip
        return
    disk = _disk_of(path)
    if disk in NETWORK_DISKS:
        yield Finding("live.db", "failure", f"{path} is on a network disk ({disk}), where SQLite loses data.",
                      "Move it to a local disk.")  # fmt: skip
    free = shutil.disk_usage(path.parent).free
    if free < ROOM:
        yield Finding("disk", "warning", f"{free / 1e6:.0f} MB are free beside {path}.", "Make room.")
    reader, totals = LiveReader(path), Totals()
    try:
        changes, host = reader.poll()
    finally:
        reader.close()
    totals.apply(changes, host.schemas)
    if host.damaged_rows or totals.damaged:
        yield Finding("live.db", "warning", f"{host.damaged_rows + totals.damaged} rows cannot be read.",
                      "See whether the disk is failing; the other rows are whole.")  # fmt: skip
    if not host.workers:
        yield Finding("workers", "failure", "no process counts into it now.", "Start the service.")
        return
    deaths = f"; {host.deaths} died without a goodbye since the file began" if host.deaths else ""
    yield Finding("workers", "ok", f"{host.workers} count, heard {host.oldest_beat_age_s or 0:.0f} s ago{deaths}")
    for key, start in sorted(totals.newest.items()):
        quiet = now - start
        if quiet > QUIET_S:
            yield Finding("traffic", "warning", f"{key.model} {key.version} counted nothing for {quiet / 3600:.0f} h.",
                          "See whether requests reach it, or whether the version is retired.")  # fmt: skip


def _store(config: Config, now: float, *, by_prometheus: bool) -> Iterator[Finding]:
    from modelwatch.groundtruth.store import Store
    from modelwatch.sources.kept import EVALUATOR

    if config.store is None:
        yield Finding("store", "warning", "there is none: no labels, no accuracy, and `serve` keeps no states.",
                      "Add store: sqlite:///modelwatch.db.")  # fmt: skip
        return
    if config.store.startswith("sqlite:///") and not Path(config.store.removeprefix("sqlite:///")).exists():
        yield Finding("store", "warning", "is not made yet.", "The service makes it when it starts.")
        return
    store = Store(config.store)
    try:
        if store.is_leased(EVALUATOR):
            yield Finding("evaluation", "ok", "`modelwatch serve` evaluates the alerts")
        elif not by_prometheus:
            yield Finding("evaluation", "warning", "no `modelwatch serve` evaluates the alerts, so it tells nobody.",
                          "Start it; where a Prometheus does this, name it: --prometheus URL.")  # fmt: skip
        for name in config.models:
            counts = store.counts(name)
            last = store.rows(name, last=1, by="labelled")
            newest = max(last.labelled_at, default=None) if len(last) else None
            yield _labels(name, counts.waiting, newest, now)
    finally:
        store.close()


def _labels(name: str, waiting: int, newest: float | None, now: float) -> Finding:
    check = f"labels of {name}"
    if newest is None and not waiting:
        return Finding(check, "ok", "no predictions are kept for review yet")
    if newest is None or now - newest > LABELS_STALE_S:
        last = "none has come" if newest is None else f"the last one came {(now - newest) / 86_400:.0f} days ago"
        return Finding(check, "warning", f"{last}; {waiting:,} predictions wait.",
                       "Review some (page Review), or send them to /feedback: accuracy cannot be told.")  # fmt: skip
    return Finding(check, "ok", f"the last one came {(now - newest) / 3600:.1f} h ago; {waiting:,} predictions wait")


def _disk_of(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the type of the file system that a file is on; empty where that is not known."""
    try:
        rows = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    at = path.resolve()
    under: Mapping[str, str] = {row[1]: row[2] for row in rows if len(row) > 2 and at.is_relative_to(row[1])}
    return under[max(under, key=len)] if under else ""
