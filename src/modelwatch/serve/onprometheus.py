"""Pages on the counts of a Prometheus: its rules and its Alertmanager do the work, and nothing is told from here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from modelwatch.config import Config
from modelwatch.errors import ModelwatchError
from modelwatch.sources.evaluated import alerts_json, evaluate_host, host_slos, slo_json
from modelwatch.sources.prometheus import Client, PrometheusCounts, PrometheusUnavailable, prometheus_state
from modelwatch.sources.settings import settings

EVERY_S = 15.0
SLOS_EVERY_S = 60.0
STOP_S = 2.0
logger = logging.getLogger("modelwatch")


class Watching:
    """Asks a Prometheus again and again, in a thread of its own, so that no page waits for one that hangs.

    Parameters
    ----------
    config : whose models are asked for.
    client : of the Prometheus.
    every_s : between two looks; by default 15 seconds, less where the configuration scales time.
    monotonic : seconds.
    """

    def __init__(
        self,
        config: Config,
        client: Client,
        every_s: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self.client, self._monotonic = config, client, monotonic
        self.every_s = every_s or max(1.0, EVERY_S / config.time_scale)
        self.reason = "it has not been asked yet"
        self._found: Mapping[str, Any] | None = None
        self._slos: Mapping[str, Any] = {}
        self._at = self._slos_at = float("-inf")
        self._settings = settings(config)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelwatch-prometheus", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; a question that is under way is left."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self.every_s)

    def look(self) -> bool:
        """Ask once; return whether it answered. If not, `reason` says why, and what was known before stays known."""
        try:
            state = prometheus_state(self.config, self.client)
            evaluated = evaluate_host(self.config, PrometheusCounts(self.config, self.client))
            if self._monotonic() - self._slos_at >= SLOS_EVERY_S / self.config.time_scale:
                self._slos = slo_json(host_slos(self.config, PrometheusCounts(self.config, self.client)))
                self._slos_at = self._monotonic()
        except ModelwatchError as error:
            self._fail(str(error))
            return False
        except Exception as error:  # the thread goes on, and the page says so
            logger.debug("modelwatch: a fault of its own", exc_info=True)
            self._fail(repr(error))
            return False
        self._found = {**state, "alerts": alerts_json(evaluated), "slos": self._slos}
        self._at, self.reason = self._monotonic(), ""
        return True

    def _fail(self, reason: str) -> None:
        if reason != self.reason:
            logger.warning("modelwatch: a look at the Prometheus failed; it is tried again: %s", reason)
        self.reason = reason

    def read(self) -> dict[str, Any]:
        """Return the state of the models; what was known last where it does not answer now, and that it does not.

        Raises
        ------
        PrometheusUnavailable   nothing is known yet.
        """
        if self._found is None:
            raise PrometheusUnavailable(f"--prometheus: nothing is known of {self.client.url} yet: {self.reason}")
        passed = self._monotonic() - self._at
        late = self.reason or ("" if passed <= 4 * self.every_s else f"no answer for {passed:.0f} s")
        age = self._found["data_age_s"]
        return {
            **self._found,
            "now": self._found["now"] + passed,
            "data_age_s": None if age is None else age + passed,
            "live": {"path": self.client.url, "kept": not late, "reason": late or None},
            "evaluation": {"evaluated_s_ago": passed, "leads": False, "reason": late or None},
        }

    def settings(self) -> dict[str, Any]:
        """Return the configuration as it was understood."""
        return {**self._settings, "live": self.client.url, "series": {}}
