"""What can be asked over HTTP: the service, its page for Prometheus, Prometheus with its rules, Alertmanager."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from modelwatch import __version__, names
from modelwatch.config import Config
from modelwatch.generate import generate
from modelwatch.onboarding.finding import Check, Finding
from modelwatch.reference import Reference

WAIT_S = 5.0
SKEW_S = 5.0  # clocks that differ by more make windows of minutes wrong
SLOW_S = 1.0  # a scrape that takes longer delays others
SHOWN = 5


@dataclass(frozen=True)
class Places:
    """Where the parts answer; None: it is not looked at.

    metrics : address of the service's /metrics; by default beside its health_url.
    """

    metrics: str | None = None
    prometheus: str | None = None
    alertmanager: str | None = None


class _Refused(Exception):
    """Something does not answer as it should."""


def outside_checks(config: Config, places: Places, now: Callable[[], float] = time.time) -> list[tuple[str, Check]]:
    """Return the checks that ask other processes, with their names."""
    health = config.service.health_url
    metrics = places.metrics or (urljoin(health, "/metrics") if health else None)
    alertmanager = places.alertmanager or config.alerting.alertmanager
    checks: list[tuple[str, Check]] = []
    if health:
        checks.append(("service", lambda: _guarded("service", health, _service(health, now), "Start the service.")))
    else:
        lack = Finding("service", "warning", "nobody asks whether it answers.", "Set service.health_url.")
        checks.append(("service", lambda: iter([lack])))
    if metrics:
        remedy = "Call instrument(app, monitor), or name the page with --metrics."
        checks.append(("/metrics", lambda: _guarded("/metrics", metrics, _page(metrics, config), remedy)))
    if places.prometheus:
        at = places.prometheus.rstrip("/")
        remedy_of_it = "Start it, or mend --prometheus."
        checks.append(("Prometheus", lambda: _guarded("Prometheus", at, _prometheus(at, config, now), remedy_of_it)))
    if alertmanager:
        checks.append(
            ("Alertmanager", lambda: _guarded("Alertmanager", alertmanager, _alertmanager(alertmanager), "Start it."))
        )
    return checks


def _guarded(check: str, url: str, found: Iterator[Finding], remedy: str) -> Iterator[Finding]:
    try:
        yield from found
    except _Refused as error:
        yield Finding(check, "failure", f"{error}.", remedy)
    except httpx.UnsupportedProtocol:
        yield Finding(check, "failure", f"{url!r} is no address.", "Write all of it: http://127.0.0.1:9090.")
    except httpx.ConnectError:
        yield Finding(check, "failure", f"nobody listens on {_host(url)}.", "Start it, or mend its address.")
    except httpx.TimeoutException:
        yield Finding(check, "failure", f"{_host(url)} does not answer within {WAIT_S:g} s.",
                      "See what keeps it busy, or whether a firewall is between.")  # fmt: skip
    except httpx.HTTPError as error:
        yield Finding(check, "failure", f"{_host(url)} does not answer ({type(error).__name__}).", remedy)
    except (httpx.InvalidURL, ValueError) as error:
        yield Finding(check, "failure", f"answers what cannot be read ({str(error)[:80]}).", remedy)


def _host(url: str) -> str:
    return httpx.URL(url).netloc.decode()


def _get(url: str, **parameters: str) -> httpx.Response:
    answer = httpx.get(url, params=parameters or None, timeout=WAIT_S, trust_env=False)
    if answer.status_code != 200:
        raise _Refused(f"{httpx.URL(url).path} answers {answer.status_code}")
    return answer


def _service(url: str, now: Callable[[], float]) -> Iterator[Finding]:
    before = now()
    answer = _get(url)
    yield Finding("service", "ok", f"answers in {answer.elapsed.total_seconds() * 1000:.0f} ms")
    date = answer.headers.get("Date")
    if date:
        yield _clocks("service", parsedate_to_datetime(date).timestamp() - before, 1.0)


def _clocks(whose: str, ahead_s: float, resolution_s: float = 0.0) -> Finding:
    """Compare another clock with ours; `resolution_s`: how coarse it tells the time."""
    name = f"clock of {whose}"
    if abs(ahead_s) <= SKEW_S + resolution_s:
        return Finding(name, "ok", "agrees with ours")
    side = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        name, "failure", f"is {abs(ahead_s):.0f} s {side} ours.", "Let NTP set both: windows of minutes are wrong."
    )


def _page(url: str, config: Config) -> Iterator[Finding]:
    answer = _get(url)
    took = answer.elapsed.total_seconds()
    samples = [s for family in text_string_to_metric_families(answer.text) for s in family.samples]
    slow, says = took > SLOW_S, f"{len(samples):,} series in {took * 1000:.0f} ms"
    if slow:
        yield Finding("/metrics", "warning", f"{says}.", "See which labels have many values: modelwatch check.")
    else:
        yield Finding("/metrics", "ok", says)
    shown = {
        (s.labels.get("model_name"), s.labels.get("model_version")) for s in samples if s.name == names.MODEL_INFO.name
    }
    for name, model in config.models.items():
        if (name, model.version) in shown:
            continue
        others = ", ".join(version or "" for other, version in sorted(shown, key=str) if other == name)
        seen = f"shows {name} {others}, not {model.version}." if others else f"does not show {name}."
        yield Finding("/metrics", "warning", seen, "Restart the service with this configuration.")


def _prometheus(at: str, config: Config, now: Callable[[], float]) -> Iterator[Finding]:
    told = _json(f"{at}/api/v1/query", query="time()")["data"]["result"]
    yield Finding("Prometheus", "ok", "answers")
    yield _clocks("Prometheus", float(told[1]) - now())
    yield from _targets(_json(f"{at}/api/v1/targets")["data"]["activeTargets"], config)
    yield _rules(_json(f"{at}/api/v1/rules")["data"]["groups"], config)
    if not _json(f"{at}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]:
        yield Finding("Prometheus", "failure", "knows no Alertmanager, so nobody is told.",
                      "Load the generated prometheus.yml, and start Alertmanager.")  # fmt: skip


def _json(url: str, **parameters: str) -> Any:
    answer = _get(url, **parameters).json()
    if not isinstance(answer, dict) or answer.get("status") != "success":
        raise _Refused(f"{httpx.URL(url).path} answers something else than Prometheus does")
    return answer


def _targets(targets: Iterable[Any], config: Config) -> Iterator[Finding]:
    mine = [target for target in targets if target["labels"].get("job") == config.service.name]
    down = [target for target in mine if target["health"] != "up"]
    if not mine:
        yield Finding("scrape", "failure", f"Prometheus has no target of job {config.service.name}.",
                      "Load the generated prometheus.yml.")  # fmt: skip
    for target in down[:SHOWN]:
        yield Finding("scrape", "failure", f"{target['labels'].get('instance')} is {target['health']}: "
                      f"{target['lastError'][:120]}.", "See whether its address and port are right.")  # fmt: skip
    if mine and not down:
        yield Finding("scrape", "ok", f"{len(mine)} of {len(mine)} replicas are scraped")


def _rules(groups: Iterable[Any], config: Config) -> Finding:
    loaded: dict[str, Any] = {rule["name"]: rule for group in groups for rule in group["rules"]}
    wanted = rule_names(config)
    missing = sorted(wanted - loaded.keys())
    failing = sorted(name for name in wanted & loaded.keys() if loaded[name].get("health") == "err")
    if missing:
        return Finding("rules", "failure", f"{len(missing)} of {len(wanted)} are not loaded: {_few(missing)}.",
                       "Run `modelwatch generate`, and reload Prometheus.")  # fmt: skip
    if failing:
        return Finding("rules", "failure", f"{len(failing)} cannot be evaluated: {_few(failing)}.",
                       "See the page Rules of Prometheus.")  # fmt: skip
    return Finding("rules", "ok", f"all {len(wanted)} are loaded")


def _few(texts: list[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (", …" if len(texts) > SHOWN else "")


def rule_names(config: Config) -> set[str]:
    """Return the names of all recording rules and alerts that a configuration makes."""
    references = {name: Reference.load(m.reference) for name, m in config.models.items() if m.reference}
    files = generate(config, version=__version__, references=references)
    texts = [text for path, text in files.items() if path.startswith("rules/")]
    rules = [rule for text in texts for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    return {rule.get("alert") or rule["record"] for rule in rules}


def _alertmanager(url: str) -> Iterator[Finding]:
    at = url.rstrip("/")
    _get(f"{at}/-/ready")
    alerts = _get(f"{at}/api/v2/alerts").json()
    watchdog = any(alert["labels"].get("alertname") == "Watchdog" for alert in alerts)
    if watchdog:
        yield Finding("Alertmanager", "ok", f"answers and hears Prometheus; {len(alerts)} alerts")
    else:
        yield Finding("Alertmanager", "warning", "answers, but has no Watchdog: nobody sends it alerts.",
                      "See whether Prometheus knows it: --prometheus URL.")  # fmt: skip
