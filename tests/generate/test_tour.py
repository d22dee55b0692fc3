"""The demo on real Prometheus and Alertmanager, in fast motion: from incidents to receivers, and every panel and name."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from generate.test_closed_loop import expressions, unknown
from generate.tours import Tour, shortest_window_s, touring
from modelwatch.config import load_config
from modelwatch.generate import generate
from modelwatch.sources.evaluated import HostCounts, Looked, alerts_json, evaluate_host, host_slos, slo_json
from modelwatch.sources.prometheus import Client, PrometheusCounts, prometheus_state
from modelwatch.sources.status import StatusSource
from modelwatch.stack import references_of

SCALE = 60
pytestmark = pytest.mark.timeout(400)  # whichever test is the first waits for the whole tour
#: Panels that have nothing to show on the machine of the tests, by a part of their query, with the reason.
SILENT = {
    "node_cpu_seconds_total": "of the node exporter, which only Compose starts",
    "modelwatch_gpu_": "needs a GPU",
    "offset 1w": "there was no week before",
    "offset 5m": "new versions: there was none",
}


@dataclass
class Story:
    """What was seen on the way."""

    window_s: float = 0.0
    scrape_s: float = 0.0
    both: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    ended_while_down: list[float] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    longest_silence_s: float = 0.0
    silence_s: float = 0.0
    silent_panels: list[str] = field(default_factory=list)
    panels: int = 0
    unknown: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One request in eight fails; then the service is down; then all is well; then Prometheus ends."""
    found = Story()
    with touring(tmp_path_factory.mktemp("tour"), "failing-outage", 600, SCALE) as tour:
        found.window_s = shortest_window_s(tour.folder / "stack" / "rules")
        found.scrape_s = _seconds(
            yaml.safe_load((tour.folder / "stack" / "prometheus.yml").read_text())["global"]["scrape_interval"]
        )
        tour.until(tour.beats, "Watchdog")
        tour.until(lambda: tour.pages('"trigger"', "of requests fail"), "PagerDuty is told of errors", 50)
        found.both = _both(tour)
        tour.until(lambda: tour.messages("FIRING: HighErrorRate (critical)"), "Slack is told of errors", 10)
        found.steps.append("errors told")
        tour.until(lambda: not tour.answers(), "the service goes down", 50)
        down = time.monotonic()
        tour.until(lambda: tour.pages('"trigger"', "the service is down"), "PagerDuty is told of the outage")
        tour.until(lambda: tour.messages("FIRING: ServiceDown (critical)"), "Slack is told of the outage")
        found.steps.append("outage told")
        up = tour.until(tour.answers, "the service is back", 90)
        ended = [*tour.pages('"resolve"'), *tour.messages("RESOLVED")]
        found.ended_while_down = [at for at in ended if down <= at < up]
        for what in ("of requests fail", "the service is down"):
            tour.until(lambda what=what: tour.pages('"resolve"', what), f"PagerDuty is told that it ended: {what}")  # type: ignore[misc]
        for what in ("HighErrorRate (critical)", "ServiceDown (critical)"):
            tour.until(lambda what=what: tour.messages(f"RESOLVED: {what}"), f"Slack is told that it ended: {what}")  # type: ignore[misc]
        found.steps.append("both ended")
        found.commands = {
            name: tour.command(name, "--json", "--prometheus", tour.prometheus.url).stdout
            for name in ("status", "alerts", "slo")
        }
        _panels(tour, found)
        _names(tour, found)
        beats = tour.beats()
        found.longest_silence_s = max(b - a for a, b in zip(beats, beats[1:], strict=False))
        stopped = tour.stop_prometheus()
        time.sleep(15)
        found.silence_s = time.monotonic() - max(at for at in tour.beats() if at < stopped + 8)
    yield found


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()  # type: ignore[union-attr]
    return int(number) * (0.001 if unit == "ms" else 1.0)


def _both(tour: Tour) -> dict[str, tuple[Any, Any]]:
    """Return the state, the alerts and the objectives from the store, and from Prometheus, all at one moment."""
    config = load_config(tour.folder / "modelwatch.yaml", secrets=False)
    client = Client(tour.prometheus.url)
    source = StatusSource.from_config(config)
    status = source.read(), prometheus_state(config, client)
    source.close()
    counts: tuple[Looked, Looked] = HostCounts(config.live), PrometheusCounts(config, client)
    alerts = [evaluate_host(config, each) for each in counts]
    slos = [host_slos(config, each) for each in counts]
    return {
        "status": status,
        "alerts": (alerts_json(alerts[0]), alerts_json(alerts[1])),
        "slo": (slo_json(slos[0]), slo_json(slos[1])),
    }


def _made(tour: Tour) -> dict[str, str]:
    config = load_config(tour.folder / "modelwatch.yaml", secrets=False)
    return generate(config, ["rules", "drift-rules", "grafana"], references=references_of(config))


def _panels(tour: Tour, found: Story) -> None:
    """Ask every panel's query once."""
    for path, texts in expressions(_made(tour)).items():
        for text in texts if path.startswith("grafana") else ():
            filled = re.sub(r"\$(job|instance|model|version)", ".*", text.replace("$__rate_interval", "1m"))
            found.panels += 1
            if not tour.prometheus.query(filled):
                found.silent_panels.append(text)


def _names(tour: Tour, found: Story) -> None:
    """Look for every scraped series and label that a rule or a panel names in the Prometheus."""
    start = time.time() - 600
    known: dict[str, set[str]] = {}
    with urllib.request.urlopen(
        f"{tour.prometheus.url}/api/v1/series?match[]=%7B__name__%3D~%22.%2B%22%7D&start={start:.0f}", timeout=30
    ) as answer:
        for labels in json.load(answer)["data"]:
            known.setdefault(labels["__name__"], set()).update(labels)
    made = _made(tour)
    recorded = re.findall(r"record: (\S+)", "".join(text for path, text in made.items() if path.startswith("rules/")))
    found.unknown = [each for each in unknown(made, known) if each.split()[1] not in recorded]


def test_incidents_arrive_and_end(story: Story) -> None:
    """Errors, and an outage: told to PagerDuty and Slack in their own forms, and ended in both."""
    assert story.steps == ["errors told", "outage told", "both ended"]


def test_no_window_is_shorter_than_four_scrapes(story: Story) -> None:
    """Time is scaled so far and no further."""
    assert story.window_s >= 4 * story.scrape_s


def test_an_outage_ends_nothing(story: Story) -> None:
    """While the service is down nothing of it resolves, neither at PagerDuty nor at Slack."""
    assert story.ended_while_down == []


def test_prometheus_that_stops_is_noticed(story: Story) -> None:
    """The dead-man's receiver hears nothing for much longer than it ever did before."""
    assert story.silence_s > max(3 * story.longest_silence_s, 5)


def test_every_panel_has_data(story: Story) -> None:
    """After the tour every panel's query returns something, or is on the list with its reason."""
    assert story.panels > 30
    assert [text for text in story.silent_panels if not any(part in text for part in SILENT)] == []


def test_every_name_was_scraped(story: Story) -> None:
    """Every series with its labels that a rule or panel names is in the Prometheus that scraped the demo."""
    assert story.unknown == []


class TestSameNumbers:
    """`--prometheus` and the store of the host, asked at one moment."""

    def test_status(self, story: Story) -> None:
        """The same shape; counts that differ by the seconds between two scrapes; ratios that hardly differ."""
        host, theirs = story.both["status"]
        assert set(host) == set(theirs)
        (mine,), (other,) = host["models"], theirs["models"]
        assert set(mine) == set(other) and set(mine["details"]) == set(other["details"])
        assert [(r["signal"], r["labels"], r["unit"]) for r in mine["readings"]] == [
            (r["signal"], r["labels"], r["unit"]) for r in other["readings"]
        ]
        for a, b in zip(mine["readings"], other["readings"], strict=True):
            near = 0.1 if a["unit"] == "ratio" else 0.4 * a["value"]  # two seconds apart in a window of five
            assert a["value"] == pytest.approx(b["value"], abs=near), a["signal"]
            assert a["outcome"] == b["outcome"], a["signal"]
        rows, others = ({(r["name"], r["statistic"]): r for r in one["drift"]["rows"]} for one in (mine, other))
        assert set(rows) == set(others)
        told = [key for key in rows if None not in (rows[key]["score"], others[key]["score"])]
        assert len(told) >= 3  # a Prometheus that began later has fewer values, and may not be able to tell
        for key in told:
            assert rows[key]["score"] == pytest.approx(others[key]["score"], abs=0.1), key

    def test_alerts(self, story: Story) -> None:
        """The same alerts; what fires on one side fires on the other."""
        host, theirs = story.both["alerts"]

        def by_name(state: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
            return {
                (one["alert"], one["severity"], tuple(sorted(one["labels"].items()))): one for one in state["alerts"]
            }

        mine, other = by_name(host), by_name(theirs)
        for key in mine.keys() & other.keys():
            assert set(mine[key]) <= set(other[key]) or mine[key]["state"] != other[key]["state"]
        critical = ("HighErrorRate", "critical", ())
        assert mine[critical]["state"] == other[critical]["state"] == "firing"
        assert mine[critical]["value"] == pytest.approx(other[critical]["value"], abs=0.06)
        assert len(mine.keys() ^ other.keys()) <= 4  # segments of which a label has only just come

    def test_slo(self, story: Story) -> None:
        """The same objectives, as far kept."""
        host, theirs = (each["models"]["sentiment_classifier"] for each in story.both["slo"])
        assert [one["slo"] for one in host] == [one["slo"] for one in theirs]
        for a, b in zip(host, theirs, strict=True):
            assert set(a) == set(b)
            if min(a["valid"], b["valid"]) > 100:  # minutes, and labels at first, are too few
                assert a["compliance"] == pytest.approx(b["compliance"], abs=0.08), a["slo"]
        assert sum(one["valid"] > 100 for one in theirs) >= 2

    def test_commands(self, story: Story) -> None:
        """The commands print it in the shape that they print of the store."""
        for name, text in story.commands.items():
            assert set(json.loads(text)) == set(story.both[name][0])
