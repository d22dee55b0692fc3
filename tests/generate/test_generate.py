"""The generated files: what they are, to the letter; the same every time; and nothing but what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from generate.stacks import GOLDEN, HOSTILE, WHOLE, config_of, files_of
from modelwatch.config import parse_config
from modelwatch.errors import ConfigError
from modelwatch.generate import PARTS, Places, generate


def test_golden(golden: Callable[[str, str], None], request: pytest.FixtureRequest) -> None:
    """Every file of a small stack is the committed one, and there is no other."""
    case = GOLDEN / "regression"
    made = generate(config_of((case / "in.yaml").read_text()), version="0.1.0")
    for path, text in made.items():
        golden(f"generate/regression/out/{path}", text)
    there = {str(file.relative_to(case / "out")) for file in (case / "out").rglob("*") if file.is_file()}
    assert there == set(made)


def test_same_input_same_text() -> None:
    """The files depend on nothing but the configuration: not on its folder, its secrets or the run."""
    text = WHOLE.replace("segment: category", "segment: category\n    reference: r.json")
    one, other = (
        parse_config(text, environ=dict.fromkeys(("PAGERDUTY_ROUTING_KEY", "SLACK_WEBHOOK_URL", "LOG_TOKEN", "BACKUP_ROUTING_KEY"), f"http://{key}"), root=root)
        for key, root in (("a", Path("/a")), ("b", Path("/b")))
    )  # fmt: skip
    parts = ("prometheus", "rules", "compose")
    assert generate(one, parts, version="1") == generate(other, parts, version="1")


def test_every_file_says_where_it_comes_from() -> None:
    """Version and fingerprint stand in each; the fingerprint changes with the configuration."""
    made = files_of(WHOLE)
    marks = {text.partition("fingerprint ")[2][:12] for path, text in made.items() if not path.endswith(".gitignore")}
    assert len(marks) == 1
    assert all("0.1.0" in text for path, text in made.items() if not path.endswith(".gitignore"))
    other = generate(config_of(WHOLE.replace("critical: 0.2", "critical: 0.3")), ("prometheus",), version="0.1.0")
    assert other["prometheus.yml"].partition("fingerprint ")[2][:12] not in marks


def test_only_what_was_asked_for() -> None:
    """A part alone gives its own files; an unknown one is named, with those that there are."""
    assert set(generate(config_of(WHOLE), ["prometheus"])) == {"prometheus.yml"}
    with pytest.raises(ConfigError, match=r"part is 'graphana'; expected one of .*grafana"):
        generate(config_of(WHOLE), ["graphana"])


def test_all_alerts_and_names_of_receivers() -> None:
    """Every alert of the catalogue that needs no profile is in the rules, and receivers keep their names."""
    from modelwatch.catalogue import ALERTS

    made = files_of(WHOLE)
    found = {
        rule["alert"]
        for path, text in made.items()
        if path.startswith("rules/")
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert found == set(ALERTS) - {"DataDriftDetected", "ConceptDriftDetected"}
    receivers = [each["name"] for each in yaml.safe_load(made["alertmanager.yml"])["receivers"]]
    assert receivers == ["oncall", "team", "log", "backup", "alive", "nobody"]


def test_secrets_are_in_no_file() -> None:
    """With the secrets known, no generated file has one of them."""
    hidden = {
        name: f"hidden-{name}"
        for name in ("PAGERDUTY_ROUTING_KEY", "SLACK_WEBHOOK_URL", "LOG_TOKEN", "BACKUP_ROUTING_KEY")
    }
    hidden["SLACK_WEBHOOK_URL"] = "http://hidden-slack.example.org/x"
    made = generate(parse_config(WHOLE, environ=hidden), [part for part in PARTS if part != "grafana"])
    assert not [path for path, text in made.items() if "hidden" in text]


def test_no_default_password() -> None:
    """Compose refuses to start without a password for Grafana and a token for the pages."""
    services = yaml.safe_load(files_of(WHOLE)["docker-compose.yml"])["services"]
    assert services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")
    assert services["pages"]["environment"]["MODELWATCH_TOKEN"].startswith("${MODELWATCH_TOKEN:?")
    assert all("healthcheck" in service for service in services.values())
    assert all(":latest" not in service["image"] for service in services.values() if "/" in service["image"])


@pytest.mark.parametrize("discovery", ["static", "file", "kubernetes"])
def test_discovery(discovery: str) -> None:
    """Prometheus finds the replicas by one of three ways; their job is always the service."""
    text = generate(
        config_of(WHOLE.replace("replicas: 2", "replicas: 1")), ["prometheus"], places=Places(discovery=discovery)
    )
    job = yaml.safe_load(text["prometheus.yml"])["scrape_configs"][0]
    assert job["job_name"] == "sentiment-api"
    assert f"{discovery}_sd_configs" in job or (discovery == "static" and "static_configs" in job)


def test_unknown_discovery() -> None:
    """Any other way is refused."""
    with pytest.raises(ConfigError, match="discovery is 'dns'; expected one of static, file, kubernetes"):
        generate(config_of(WHOLE), places=Places(discovery="dns"))


def test_a_receiver_that_alertmanager_has_not() -> None:
    """Apprise is refused by name, never left out silently."""
    text = WHOLE.replace('alive: {webhook: "http://127.0.0.1:9/alive"}', 'alive: {apprise: "json://x"}')
    with pytest.raises(ConfigError, match=r"alerting.receivers.alive: kind is 'apprise'; expected one of pagerduty"):
        generate(config_of(text), ["alertmanager"])


def test_a_variable_that_is_no_secret() -> None:
    """A channel may come from the environment; without it the option is named."""
    text = WHOLE.replace('"#ml"', '"${CHANNEL}"')
    made = generate(config_of(text), ["alertmanager"], environ={"CHANNEL": "#x"})
    assert "'#x'" in made["alertmanager.yml"]
    with pytest.raises(ConfigError, match="channel is '\\${CHANNEL}'; expected an environment variable that is set"):
        generate(config_of(text), ["alertmanager"])


def test_hostile_paths_stay_inside() -> None:
    """No name of a model or a service leads out of the directory, and no two share a file."""
    made = files_of(HOSTILE)
    assert all(".." not in path and not path.startswith("/") and path.isascii() and " " not in path for path in made)
    assert sum(path.endswith("_requests.yml") for path in made) == 4


def test_unknown_deadman() -> None:
    """A dead-man's receiver must be one of the receivers."""
    with pytest.raises(ConfigError, match="alerting.deadman: receiver is 'aliv'"):
        config_of(WHOLE.replace("deadman: alive", "deadman: aliv"))


def test_one_mode_tells() -> None:
    """The pages beside Alertmanager tell nobody themselves."""
    services = yaml.safe_load(files_of(WHOLE)["docker-compose.yml"])["services"]
    assert services["pages"]["command"][:3] == ["modelwatch", "serve", "--pages-only"]
