"""What every generator is given: the configuration, the profiles, where things answer, and the header of the files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelwatch import names
from modelwatch.config import Config
from modelwatch.errors import ConfigError, fault
from modelwatch.reference import Reference

SCRAPE_S, EVALUATE_S, SHORTEST_S, RESEND_S = 15.0, 60.0, 1.0, 60.0
TOKEN_FILE = "secrets/MODELWATCH_TOKEN"  # noqa: S105 - the name of a file
#: Numbers of `modelwatch serve` that the recording rules of the stack give instead.
RECORDED = tuple(
    metric.name
    for metric in (
        names.ACCURACY, names.COMPLIANCE, names.BUDGET_LEFT, names.DRIFT_SCORE, names.CONCEPT_PSI, names.CLASS_PSI,
        names.COST,
    )
)  # fmt: skip
SERVICE_PORT, PAGES_PORT = 8000, 8080
PROMETHEUS_PORT, ALERTMANAGER_PORT, GRAFANA_PORT, NODE_PORT = 9090, 9093, 3000, 9100


@dataclass(frozen=True)
class Places:
    """Where the parts of the stack answer.

    service, pages, prometheus, alertmanager, node : "host:port", as the parts see one another; an empty one is not
        there.
    pages_url, grafana_url : as people see them; alerts link there.
    pages_token : the pages answer only to who has the token of the file secrets/MODELWATCH_TOKEN.
    discovery : how Prometheus finds the replicas.
    """

    service: str = f"service:{SERVICE_PORT}"
    pages: str = f"pages:{PAGES_PORT}"
    prometheus: str = f"prometheus:{PROMETHEUS_PORT}"
    alertmanager: str = f"alertmanager:{ALERTMANAGER_PORT}"
    node: str = f"node-exporter:{NODE_PORT}"
    pages_url: str = f"http://localhost:{PAGES_PORT}"
    grafana_url: str = f"http://localhost:{GRAFANA_PORT}"
    discovery: str = "static"
    pages_token: bool = True


DISCOVERIES = ("static", "file", "kubernetes")


@dataclass(frozen=True)
class Context:
    """What every generator is given.

    references : of the models that have a profile, by name.
    environ : variables that options of receivers which are no secrets may name.
    """

    config: Config
    version: str
    references: Mapping[str, Reference] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    def __post_init__(self) -> None:
        if self.places.discovery not in DISCOVERIES:
            given, expected = self.places.discovery, f"one of {', '.join(DISCOVERIES)}"
            raise ConfigError(fault("generate", "discovery", given, expected, "Name one of them."))

    @property
    def fingerprint(self) -> str:
        """Of the configuration, without its secrets and paths: the same on every machine."""
        exclude: Any = {"live": True, "store": True, "models": {"__all__": {"reference"}}}
        plain = self.config.model_dump(mode="json", exclude=exclude)
        text = json.dumps([plain, sorted(self.references)], sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    @property
    def made_by(self) -> str:
        """One line that says where a file comes from."""
        return f"Made by modelwatch {self.version} from its configuration, fingerprint {self.fingerprint}. DO NOT EDIT."

    @property
    def header(self) -> str:
        """The first lines of a file whose comments begin with #."""
        return f"# {self.made_by}\n# Change the configuration and run `modelwatch generate` again.\n"

    def scaled(self, seconds: float) -> float:
        """Return a span of time as the configuration's time_scale makes it; a second at least."""
        return max(seconds / self.config.time_scale, SHORTEST_S)

    @property
    def resend_flag(self) -> str:
        """How often Prometheus tells Alertmanager again that an alert fires, as its option; a minute, unscaled."""
        return f"--rules.alert.resend-delay={max(round(RESEND_S / self.config.time_scale), 1)}s"
