"""What Prometheus, Alertmanager and Compose themselves say of the generated files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from generate.stacks import HOSTILE, WHOLE, config_of, files_of, placed
from modelwatch.generate import Places, generate
from support import require

STACKS = {"whole": WHOLE, "hostile": HOSTILE}


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a plain stack, and of one whose names try to break out of every format."""
    return placed(files_of(STACKS[request.param]), tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the plain stack."""
    return placed(files_of(WHOLE), tmp_path_factory.mktemp("whole"))


def run(*command: str, folder: Path) -> str:
    """Run a program that must succeed; return what it said."""
    environment = {**os.environ, "MODELWATCH_TOKEN": "t", "GRAFANA_ADMIN_PASSWORD": "p"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_rules_and_their_lint(stack: Path) -> None:
    """All rules parse, and the linter has nothing to say."""
    rules = sorted(str(path) for path in (stack / "rules").glob("*.yml"))
    run(require("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *rules, folder=stack)


@pytest.mark.parametrize("discovery", ["static", "file", "kubernetes"])
def test_prometheus_takes_its_configuration(tmp_path: Path, discovery: str) -> None:
    """With each way to find the replicas, and with hostile names."""
    for text in STACKS.values():
        files = generate(config_of(text), ["prometheus"], places=Places(discovery=discovery))
        command = [require("promtool"), "check", "config", str(placed(files, tmp_path) / "prometheus.yml")]
        done = subprocess.run(command, capture_output=True, text=True)
        if "field kubernetes_sd_configs not found" in done.stderr:
            pytest.skip("this promtool was built without the discovery of Kubernetes, as Debian's is")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", STACKS)
def test_vmalert_takes_its_rules(tmp_path: Path, name: str) -> None:
    """The rules on request: read with their templates by the vmalert of VictoriaMetrics, whatever a name holds."""
    folder = placed(generate(config_of(STACKS[name]), ["vmalert"], references={}), tmp_path)
    run(require("vmalert"), "-dryRun", "-rule=vmalert/*.yml", folder=folder)


def test_rules_for_vmalert_are_made_on_request_only() -> None:
    """They are no part of the whole stack, and differ from its rules in two things alone."""
    plain, asked = files_of(HOSTILE), generate(config_of(HOSTILE), ["vmalert"], version="0.1.0")
    assert not [path for path in plain if path.startswith("vmalert/")]
    for path, text in asked.items():
        before = yaml.safe_load(plain[path.replace("vmalert/", "rules/")])["groups"]
        after = yaml.safe_load(text)["groups"]
        for old, new in zip(
            (r for g in before for r in g["rules"]), (r for g in after for r in g["rules"]), strict=True
        ):
            assert new["expr"] == old["expr"] and set(old) - set(new) <= {"keep_firing_for"}


def test_alertmanager_takes_its_configuration(stack: Path) -> None:
    """Receivers, routes, inhibition."""
    run(require("amtool"), "check-config", "alertmanager.yml", folder=stack)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=critical alertname=HighErrorRate", "backup,oncall,team"),
        ("severity=warning alertname=HighErrorRate", "team"),
        ("severity=info alertname=LatencyTrend", "log"),
        ("severity=none alertname=Watchdog", "alive"),
        ("alertname=SomebodyElses", "team"),
    ],
)
def test_routes(whole: Path, labels: str, receivers: str) -> None:
    """What is critical reaches PagerDuty and Slack, and waits for the backup; each severity its own; Watchdog its own."""
    said = run(
        require("amtool"), "config", "routes", "test", "--config.file=alertmanager.yml", *labels.split(), folder=whole
    )
    assert said.strip() == receivers


def test_escalation_waits(whole: Path) -> None:
    """The backup is told after a quarter of an hour, of each alert alone, and never of what is over by then."""
    routes = yaml.safe_load((whole / "alertmanager.yml").read_text())["route"]["routes"]
    backup = next(route for route in routes if route["receiver"] == "backup")
    assert (backup["group_wait"], backup["group_by"], backup["continue"]) == ("15m", ["..."], True)


def test_compose_takes_its_file(stack: Path) -> None:
    """Debian's docker-compose, with the two secrets that it asks for."""
    run(require("docker-compose"), "config", "--quiet", folder=stack)


def test_compose_asks_for_passwords(whole: Path) -> None:
    """Without them it does not start."""
    done = subprocess.run([require("docker-compose"), "config", "--quiet"], cwd=whole, capture_output=True, text=True)
    assert done.returncode != 0
    assert "into .env" in done.stderr


# -- the generated unit tests of the rules -----------------------------------------------------------------------------

QUICK = ("monitor", "requests", "service", "quality")


def quick_tests(folder: Path) -> list[str]:
    """Return the tests of the plain stack's first model that take about a second."""
    return sorted(
        str(p) for topic in QUICK for p in (folder / "tests").glob(f"*{topic}_*.yml") if "price" not in p.name
    )


def test_rules_do_as_their_tests_say(whole: Path) -> None:
    """Each alert fires just beyond its limit and not just below it."""
    files = quick_tests(whole)
    assert len(files) >= 7
    run(require("promtool"), "test", "rules", *files, folder=whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rules_of_objectives_do_as_their_tests_say(whole: Path) -> None:
    """The same of every burn rate of every objective, and of the other model."""
    files = [
        str(p) for p in (whole / "tests").glob("*.yml") if str(p) not in quick_tests(whole) and "drift" not in p.name
    ]
    run(require("promtool"), "test", "rules", *sorted(files), folder=whole)


def _mutants() -> Iterator[tuple[str, str, str, str]]:
    """Yield (topic, alert, what stands there, what is planted)."""
    yield "requests", "HighErrorRate", "> 0.05", "> 0.5"
    yield "requests", "HighErrorRate", "> 0.02", "> 0.002"
    yield "requests", "HighErrorRate", "ml_requests_failed_total", "ml_errors_total"
    yield (
        "requests",
        "HighErrorRate",
        "sum by (model_name) (increase(ml_requests_total",
        "sum by (job) (increase(ml_requests_total",
    )
    yield "requests", "HighLatencyP95", 'le="0.4"', 'le="0.5"'
    yield "requests", "HighLatencyP95", 'le="+Inf"', 'le="Inf"'
    yield "requests", "TrafficStopped", "<= 0", "< 0"
    yield "requests", "MetricsAbsent", "absent(", "present_over_time("
    yield "service", "ServiceDown", "absent(", "count("
    yield "service", "ReplicaDown", ">= 1", ">= 2"
    yield "quality", "LowModelAccuracy", "< 0.7", "< 0.5"
    yield (
        "quality",
        "HighLowConfidencePredictions",
        "ml_low_confidence_predictions_total",
        "ml_low_confidence_predictions",
    )
    yield "quality", "LabelStarvation", "<= 0", "<= 1000000000"
    yield "monitor", "CannotTell", "> 0.05", "> 0.9"
    yield "monitor", "MonitorUnhealthy", "> 0", "> 1000"


@pytest.mark.parametrize(("topic", "alert", "before", "after"), list(_mutants()))
def test_mutants_are_killed(whole: Path, tmp_path: Path, topic: str, alert: str, before: str, after: str) -> None:
    """A mistake that is planted in a rule is found by the generated tests."""
    name = "service.yml" if topic == "service" else f"sentiment_{topic}.yml"
    rules = yaml.safe_load((whole / "rules" / name).read_text())
    hit = False
    for rule in rules["groups"][0]["rules"]:
        if rule.get("alert") == alert and before in rule["expr"] and not (hit and alert == "HighErrorRate"):
            rule["expr"], hit = rule["expr"].replace(before, after), True
    assert hit, "there is nothing to change"
    placed({path: text for path, text in files_of(WHOLE).items() if path.startswith(("rules/", "tests/"))}, tmp_path)
    (tmp_path / "rules" / name).write_text(yaml.safe_dump(rules))
    killed = False
    for test in sorted((tmp_path / "tests").glob(f"{name.removesuffix('.yml')}_*.yml")):
        suite = yaml.safe_load(test.read_text())
        suite["tests"] = [each for each in suite["tests"] if each["name"].startswith(f"{alert} ")]
        test.write_text(yaml.safe_dump(suite))
        killed = killed or bool(
            subprocess.run([require("promtool"), "test", "rules", str(test)], capture_output=True).returncode
        )
    assert killed, "no test failed"
