"""Asks a Prometheus over its HTTP API: within a time, at most so many bytes, and every fault is one line."""

from __future__ import annotations

import base64
import http.client
import json
import queue
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from modelwatch.errors import ConfigError, ModelwatchError, fault

WALL_S = 10.0  # of one question, from the connection to the last byte
MOST_BYTES = 64 * 2**20  # of one answer
MOST_WORDS = 200  # characters that are shown of what it said
REMEDY = "Check the address, and that it is a Prometheus that runs."


class PrometheusUnavailable(ModelwatchError):
    """A Prometheus did not answer, or its answer cannot be used."""


class Series(NamedTuple):
    """One series of an answer: its labels, and its values by Unix time."""

    labels: Mapping[str, str]
    values: Mapping[float, float]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Goes where it was sent and nowhere else: the password would go along."""

    def redirect_request(self, *_: Any) -> None:
        """Make an error of it."""


class Client:
    """A Prometheus, or what answers as one (Thanos, Mimir, VictoriaMetrics).

    Parameters
    ----------
    url : its address; may hold a path, and a name and a password, which no message shows.
    wall_s : seconds for one question in all.

    Raises
    ------
    ConfigError   no http or https address.
    """

    def __init__(self, url: str, wall_s: float = WALL_S) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            host, port, valid = parts.hostname or "", parts.port, parts.scheme in ("http", "https")
        except ValueError:
            host, port, valid = "", None, False
        if not valid or not host:
            shown = url.rpartition("@")[2]
            expected = "an address that begins with http:// or https://"
            raise ConfigError(fault("--prometheus", "address", shown, expected, "Write http://127.0.0.1:9090."))
        name = f"[{host}]" if ":" in host else host
        place = name if port is None else f"{name}:{port}"
        self.url = urllib.parse.urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        self.wall_s = wall_s
        self._headers = {"Accept": "application/json"}
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects).open

    def query(self, expression: str, at: float | None = None) -> list[Series]:
        """Return the series of an expression at one time; without one now, as the server's clock has it.

        Raises
        ------
        PrometheusUnavailable   it is down, slow, or answers something else.
        """
        moment = {} if at is None else {"time": f"{at:.3f}"}
        return list(self._series("query", "vector", {"query": expression, **moment}))

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> list[Series]:
        """Return the series of an expression from `start` to `end`, Unix time, every `step_s` seconds.

        Raises
        ------
        PrometheusUnavailable   as `query`.
        """
        span = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:.3f}"}
        return list(self._series("query_range", "matrix", {"query": expression, **span}))

    def now(self) -> float:
        """Return the time of the server's clock, Unix time.

        Raises
        ------
        PrometheusUnavailable   as `query`.
        """
        (found,) = self.query("vector(1)") or [Series({}, {})]
        if not found.values:
            raise self._unusable("no time")
        return next(iter(found.values))

    # -- one question ------------------------------------------------------------------------------------------------

    def _series(self, path: str, kind: str, arguments: Mapping[str, str]) -> Iterator[Series]:
        data = self._asked(path, arguments)
        try:
            if data["resultType"] != kind:
                raise ValueError(data["resultType"])
            for one in data["result"]:
                pairs = [one["value"]] if kind == "vector" else one["values"]
                labels = {str(name): str(value) for name, value in one["metric"].items()}
                yield Series(labels, {float(at): float(value) for at, value in pairs})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise self._unusable("an answer of another form") from None

    def _asked(self, path: str, arguments: Mapping[str, str]) -> Any:
        """Return the data of an answer; the whole takes `wall_s` at most, however slowly it comes."""
        found: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        body = urllib.parse.urlencode({**arguments, "timeout": f"{self.wall_s:g}s"}).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", body, self._headers)  # noqa: S310 - checked above

        def ask() -> None:
            try:
                with self._open(request, timeout=self.wall_s) as answer:
                    found.put(answer.read(MOST_BYTES + 1))
            except Exception as error:  # noqa: BLE001  # told to the caller
                found.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            told = found.get(timeout=self.wall_s)
        except queue.Empty:
            raise self._unusable(f"silent for {self.wall_s:g} s") from None
        if isinstance(told, Exception):
            raise self._unusable(_why(told)) from None
        if len(told) > MOST_BYTES:
            raise self._unusable(f"an answer of more than {MOST_BYTES:,} bytes")
        try:
            whole = json.loads(told)
            if whole["status"] != "success":
                raise self._unusable(_words(str(whole.get("error", "an error"))))
            return whole["data"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._unusable("no answer of a Prometheus") from None

    def _unusable(self, what: str) -> PrometheusUnavailable:
        return PrometheusUnavailable(fault("prometheus", self.url, what, "an answer to a query", REMEDY))


def _why(error: Exception) -> str:
    """Return what an error says, in one line; of an answer with an error what it tells itself."""
    if isinstance(error, urllib.error.HTTPError):
        with error:
            try:
                told = json.loads(error.read(MOST_WORDS * 100))["error"]
            except (OSError, ValueError, KeyError, TypeError, RecursionError, http.client.HTTPException):
                told = error.reason
        return _words(f"status {error.code}, {told}")
    if isinstance(error, TimeoutError):
        return "silent"
    if isinstance(error, urllib.error.URLError):
        reason = error.reason
        return _words(getattr(reason, "strerror", None) or str(reason))
    return _words(f"{type(error).__name__} {error}".strip())


def _words(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:MOST_WORDS]
