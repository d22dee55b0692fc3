"""Pushes the counts of a job, which ends before anybody scrapes it, to a Prometheus Pushgateway."""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import threading
import time
import urllib.error
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modelwatch import names
from modelwatch.errors import ModelwatchError, fault
from modelwatch.exposition import TEXT

if TYPE_CHECKING:
    from modelwatch.record.worker import Worker

#: As prometheus_client's handlers: called with url, method, timeout, headers and data; returns the call that sends.
Handler = Callable[..., Callable[[], None]]

logger = logging.getLogger("modelwatch")

_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_PLAIN = re.compile("[a-zA-Z0-9_-]+")
_OURS = frozenset({"job", "model_name", "model_version", "le"}).union(
    *(metric.labels for metric in vars(names).values() if isinstance(metric, names.Metric))
)
_REMEDIES = {
    400: "The gateway's log says why: another job may push the same names in another form.",
    401: "Give the credentials by handler=, as prometheus_client.exposition.basic_auth_handler does.",
    403: "Give the credentials by handler=, as prometheus_client.exposition.basic_auth_handler does.",
    404: "Give the address of a Pushgateway, without /metrics.",
    405: "Give the address of a Pushgateway, without /metrics.",
}


def push(
    worker: Worker,
    url: str,
    job: str,
    grouping_key: Mapping[str, object] | None,
    *,
    timeout: float,
    handler: Handler | None,
    registry: Any,
    check: bool,
) -> bool:
    """Flush, and replace the group of this job at the gateway by the page of this host: see `Monitor.push`."""
    try:
        gateway = _gateway(url)
        address = gateway + _group(job, grouping_key or {})
        if not (isinstance(timeout, (int, float)) and 0 < timeout < threading.TIMEOUT_MAX):
            raise ModelwatchError(fault("push", "timeout", timeout, "a number of seconds above 0", "Write 10."))
        _within(timeout, gateway, lambda seconds: _send(worker, address, gateway, seconds, handler, registry))
    except ModelwatchError as error:
        worker.faults.pending.append("push")
        _log(error)
        if check:
            raise
        return False
    return True


def _log(error: ModelwatchError) -> None:
    with contextlib.suppress(Exception):  # a log handler of the host's
        logger.warning("modelwatch: %s", error)


def _gateway(url: str) -> str:
    """Return the address of the gateway, with its scheme and without a slash at the end."""
    try:
        whole = url if "://" in url else f"http://{url}"
        parts = urlsplit(whole)
        usable = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and not parts.fragment
        if usable and parts.port != 0 and parts.username is None:
            return whole.rstrip("/")
    except (TypeError, ValueError):  # no text; brackets that do not match, a port that is no number
        pass
    shown = re.sub("^([a-z]+://)?.*@", r"\1…@", url) if isinstance(url, str) else url
    expected = "the address of a Pushgateway, without a user"
    raise ModelwatchError(fault("push", "url", shown, expected, 'Write "http://pushgateway:9091".'))


def _group(job: str, grouping_key: Mapping[str, object]) -> str:
    """Return the path of the group; what is not plain goes in base64: slashes, dots and spaces would be changed."""
    if not isinstance(job, str) or not job:
        raise ModelwatchError(fault("push", "job", job, "the name of the job", 'Write job="nightly_scoring".'))
    try:
        labels = {str(name): str(value) for name, value in grouping_key.items()}
        for name in labels:
            if not _LABEL.fullmatch(name) or name.startswith("__") or name in _OURS:
                remedy = 'Write grouping_key={"instance": "host-1"}.'
                expected = "a name of a label that our metrics do not have themselves"
                raise ModelwatchError(fault("push", "grouping_key", name, expected, remedy))
        return "/metrics" + "".join(_segment(name, value) for name, value in [("job", job), *sorted(labels.items())])
    except ModelwatchError:
        raise
    except Exception as error:  # a value's own __str__, a lone surrogate
        given = type(error).__name__
        text = fault("push", "grouping_key", given, "names and values that are text", 'Write {"instance": "host-1"}.')
        raise ModelwatchError(text) from error


def _segment(name: str, value: str) -> str:
    if _PLAIN.fullmatch(value):
        return f"/{name}/{value}"
    return f"/{name}@base64/{base64.urlsafe_b64encode(value.encode()).decode() or '='}"


def _within(timeout: float, gateway: str, send: Callable[[float], None]) -> None:
    """Call `send` with its time, and wait no longer: a socket's own time-out begins anew with every byte it gets."""
    faults: list[BaseException] = []

    def run() -> None:
        try:
            send(timeout)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            faults.append(error)

    thread = threading.Thread(target=run, name="modelwatch-push", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ModelwatchError(f"push: no thread could be started ({error}). Push before the job ends.") from error
    thread.join(timeout)
    if thread.is_alive() or (faults and _is_timeout(faults[0])):
        given = f"no answer after {timeout:g} s"
        raise ModelwatchError(fault("push", gateway, given, "an answer within them", "Raise timeout, or push again."))
    if faults:
        raise _reason(gateway, faults[0]) from faults[0]


def _send(worker: Worker, address: str, gateway: str, timeout: float, handler: Handler | None, registry: Any) -> None:
    from prometheus_client.exposition import default_handler

    deadline = time.monotonic() + timeout
    if not worker.flush(timeout):
        why = worker.why_not or f"not done within {timeout:g} s"
        raise ModelwatchError(f"push: live.db is behind ({why}); nothing was pushed to {gateway}. Push again.")
    page = worker.scrape.render(registry=registry)
    left = max(0.001, deadline - time.monotonic())
    send = handler or default_handler
    send(url=address, method="PUT", timeout=left, headers=[("Content-Type", TEXT)], data=page)()


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)


def _reason(gateway: str, error: BaseException) -> ModelwatchError:
    """Return what went wrong, in one line, without anything that was pushed."""
    if isinstance(error, ModelwatchError):
        return error
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        remedy = _REMEDIES.get(error.code, "Push again.")
        return ModelwatchError(fault("push", f"the answer of {gateway}", error.code, "200 or 202", remedy))
    if isinstance(error, OSError):
        reason = str(getattr(error, "reason", error))
        remedy = "Check that it runs and that its address is right."
        return ModelwatchError(fault("push", f"the answer of {gateway}", reason, "200 or 202", remedy))
    return ModelwatchError(fault("push", gateway, type(error).__name__, "a handler that sends", "Mend the handler."))
