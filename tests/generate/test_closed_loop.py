"""Every metric and label that a rule or a panel names is on a real page: what is misspelt would be silent for ever."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from differential import START, Replay, prometheus_of
from generate.stacks import WHOLE, config_of
from modelwatch import names
from modelwatch.config import parse_config
from modelwatch.generate import generate
from modelwatch.names import Metric
from support import require
from test_differential_model import REFERENCE, SCHEMA, _events, _labels

#: Not on the page of a replayed service, with the reason.
ELSEWHERE = {
    "up": "of Prometheus itself",
    "ALERTS": "of Prometheus itself",
    "node_cpu_seconds_total": "of the node exporter",
    names.GPU_UTILIZATION.name: "needs a GPU",
    names.GPU_MEMORY_USED.name: "needs a GPU",
    names.SAMPLES_DROPPED.name: "only when samples are dropped",
    names.INTERNAL_ERRORS.name: "only when modelwatch fails",
    names.VALUE_REFERENCE_CDF.name: "of a regression model",
    f"{names.PREDICTION_VALUE.name}_bucket": "of a regression model",
    **{
        metric.name: "of the host, not of the counts"
        for metric in (
            names.PROCESS_CPU, names.PROCESS_MEMORY, names.PROCESS_FILES, names.PROCESS_DISK_READ,
            names.PROCESS_DISK_WRITTEN, names.IN_PROGRESS,
        )
    },
}  # fmt: skip
ADDED = {"job", "instance", "__name__"}  # by Prometheus, when it scrapes
_SERIES = re.compile(r'([a-zA-Z_:][\w:]*)\{((?:[^{}"]|"(?:[^"\\]|\\.)*")*)\}')
_LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')


@pytest.fixture(scope="module")
def page() -> dict[str, set[str]]:
    """{series: its labels} of every sample of a short replay."""
    replay = Replay(SCHEMA, _events, 300, ("1", "2"), {}, 3, labels=_labels, reference=REFERENCE)
    return {
        name: {label for _, labels, _ in samples for label, _, _ in (pair.partition("=") for pair in _pairs(labels))}
        for name, samples in replay.samples.items()
    }


def _pairs(labels: str) -> list[str]:
    return re.findall(r'\w+="(?:[^"\\]|\\.)*"', labels)


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The files of a stack whose first model has a profile."""
    return generate(config_of(WHOLE), ["rules", "drift-rules", "grafana"], references={"sentiment": REFERENCE})


def _recorded(made: dict[str, str]) -> dict[str, set[str]]:
    rules = [rule for path, text in made.items() if path.startswith("rules/") for rule in _rules(text)]
    return {rule["record"]: set(rule.get("labels", {})) for rule in rules if "record" in rule}


def _rules(text: str) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(text)["groups"]:
        yield from group["rules"]


def expressions(made: dict[str, str]) -> dict[str, list[str]]:
    """Return the expressions of all rules and panels, by file."""
    found = {}
    for path, text in made.items():
        if path.startswith("rules/"):
            found[path] = [str(rule["expr"]) for rule in _rules(text)]
        elif path.startswith("grafana/dashboards/"):
            board = json.loads(text)
            found[path] = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
            found[path] += [each["expr"] for each in board["annotations"]["list"]]
    return found


def unknown(made: dict[str, str], page: dict[str, set[str]]) -> list[str]:
    """Return the series and labels that are named and are nowhere."""
    recorded, found = _recorded(made), []
    for path, texts in expressions(made).items():
        for name, matchers in (match for text in texts for match in _SERIES.findall(text)):
            if name in recorded or name in ELSEWHERE:
                continue
            if name not in page:
                found.append(f"{path}: {name}")
                continue
            found += [
                f"{path}: {name} has no {label}"
                for label in _LABEL.findall(matchers)
                if label not in page[name] | ADDED
            ]
    return sorted(set(found))


def test_every_name_is_on_the_page(made: dict[str, str], page: dict[str, set[str]]) -> None:
    """Series and labels, by the page of a replayed service."""
    assert unknown(made, page) == []


def test_a_wrong_name_is_found(made: dict[str, str], page: dict[str, set[str]]) -> None:
    """The brief's own mistakes would be found: a name without _total, a label that is not there."""
    for right, wrong in (("ml_requests_total{", "ml_requests{"), ("outcome=", "result=")):
        broken = {path: text.replace(right, wrong) for path, text in made.items()}
        assert unknown(broken, page), wrong


def test_every_expression_runs(made: dict[str, str], tmp_path: Path) -> None:
    """Prometheus evaluates each over replicas, versions and a restart, without a fault; panels have something to show."""
    require("prometheus")
    replay = Replay(SCHEMA, _events, 3600, ("1", "1", "2"), {1800: 0}, 5, labels=_labels, reference=REFERENCE)
    recorded, silent = set(_recorded(made)), []
    with prometheus_of(replay, tmp_path, require("promtool")) as server:
        for path, texts in expressions(made).items():
            for text in texts:
                filled = re.sub(r"\$(job|instance|model|version)", ".*", text.replace("$__rate_interval", "5m"))
                filled = filled.replace('"sentiment"', '"replayed"')
                found = server.query(filled, START + 3600)
                named = {name for name, _ in _SERIES.findall(text)}
                if path.startswith("grafana") and not found and not named & (recorded | set(ELSEWHERE)):
                    silent.append(text)
    assert not [text for text in silent if "offset 1w" not in text and "offset 5m" not in text]


def test_what_is_elsewhere_is_known() -> None:
    """The list of exceptions names metrics of ours by their real names."""
    ours = {metric.name for metric in vars(names).values() if isinstance(metric, Metric)}
    mine = {name.removesuffix("_bucket") for name in ELSEWHERE if name.startswith(("ml_", "modelwatch_"))}
    assert mine <= ours


def test_windows_are_scaled() -> None:
    """A time_scale divides every window, for, group and repeat interval alike."""
    plain = generate(config_of(WHOLE), ["rules", "alertmanager"])
    fast = generate(parse_config(f"{WHOLE}\ntime_scale: 12\n", environ={}, secrets=False), ["rules", "alertmanager"])
    rules = {
        path: next(r for r in _rules(plain[path]) if r.get("alert") == "HighErrorRate")
        for path in plain
        if "sentiment_req" in path and "tests" not in path
    }
    for path, rule in rules.items():
        scaled = next(r for r in _rules(fast[path]) if r.get("alert") == "HighErrorRate")
        assert (rule["for"], scaled["for"]) == ("5m", "25s")
        assert "[300s]" in str(rule["expr"]) and "[25s]" in str(scaled["expr"])
    assert "group_interval: 5m" in plain["alertmanager.yml"] and "group_interval: 25s" in fast["alertmanager.yml"]
