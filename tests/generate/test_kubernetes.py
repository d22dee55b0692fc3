"""The manifests against what the Prometheus operator and Kubernetes publish of their objects; the needed part is here."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from generate.stacks import HOSTILE, WHOLE, config_of
from modelwatch.generate import generate

STACKS = {"whole": WHOLE, "hostile": HOSTILE, "scaled": f"{WHOLE}\ntime_scale: 60\n"}
DURATION = re.compile(r"(0|(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?)")  # units from large to small
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")  # RFC 1123
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
KEY = re.compile(r"[-._a-zA-Z0-9]+")
MOST_BYTES = 2**20  # of a ConfigMap

# A field's type; of an object its fields, those that are needed with a "!" after their names. Others are refused.
TEXTS = Mapping[str, str]
RELABELING = {
    "action": {"replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep"}, "sourceLabels": [str],
    "targetLabel": str, "regex": str, "replacement": str, "separator": str, "modulus": int,
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "ServiceMonitor": {
        "selector!": {"matchLabels": TEXTS, "matchExpressions": list},
        "endpoints!": [
            {"port": str, "path": str, "interval": DURATION, "scrapeTimeout": DURATION, "relabelings": [RELABELING],
             "metricRelabelings": [RELABELING], "scheme": {"http", "https"}, "honorLabels": bool}
        ],
        "namespaceSelector": dict, "jobLabel": str, "targetLabels": [str], "podTargetLabels": [str],
    },
    "PrometheusRule": {
        "groups": [
            {"name!": str, "interval": DURATION, "limit": int, "query_offset": DURATION, "labels": TEXTS,
             "rules": [{"record": str, "alert": str, "expr!": str, "for": DURATION, "keep_firing_for": DURATION,
                        "labels": TEXTS, "annotations": TEXTS}]}
        ]
    },
}  # fmt: skip


def faults(value: Any, wanted: Any, where: str) -> list[str]:
    """Return what is not as it is published, in words."""
    if isinstance(wanted, re.Pattern):
        return [] if isinstance(value, str) and value and wanted.fullmatch(value) else [f"{where}: {value!r}"]
    if isinstance(wanted, set):
        return [] if value in wanted else [f"{where}: {value!r}"]
    if wanted is TEXTS:
        return [f"{where}.{name}: {each!r}" for name, each in value.items() if not isinstance(each, str)]
    if isinstance(wanted, list):
        if not isinstance(value, list):
            return [f"{where}: {value!r}"]
        return [fault for n, each in enumerate(value) for fault in faults(each, wanted[0], f"{where}[{n}]")]
    if isinstance(wanted, type):
        return [] if isinstance(value, wanted) else [f"{where}: {value!r}"]
    known = {name.rstrip("!"): each for name, each in wanted.items()}
    found = [f"{where}.{name}: not known" for name in value.keys() - known.keys()]
    found += [f"{where}.{name[:-1]}: missing" for name in wanted if name.endswith("!") and name[:-1] not in value]
    return found + [
        fault for name in value.keys() & known.keys() for fault in faults(value[name], known[name], f"{where}.{name}")
    ]


@functools.cache
def manifests(text: str) -> dict[str, dict[str, Any]]:
    """Return the manifests of a configuration, by path."""
    return {path: yaml.safe_load(made) for path, made in generate(config_of(text), ["kubernetes"]).items()}


@pytest.fixture(scope="module", params=STACKS)
def objects(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """The manifests of a plain stack, of one with hostile names, and of one in fast motion."""
    return manifests(STACKS[request.param])


def test_objects_have_published_fields_only(objects: dict[str, dict[str, Any]]) -> None:
    """Each field of a ServiceMonitor and a PrometheusRule is known, of its type, and in its form."""
    kinds = {made["kind"]: made for made in objects.values() if made["kind"] in PUBLISHED}
    assert set(kinds) == set(PUBLISHED)
    for kind, made in kinds.items():
        assert made["apiVersion"] == "monitoring.coreos.com/v1"
        assert faults(made["spec"], PUBLISHED[kind], kind) == []


def test_each_rule_is_an_alert_or_a_recording(objects: dict[str, dict[str, Any]]) -> None:
    """One of the two; names of groups are unique, as the operator's list of them asks."""
    groups = objects["kubernetes/prometheusrule.yml"]["spec"]["groups"]
    names = [group["name"] for group in groups]
    assert len(names) == len(set(names))
    assert all(("record" in rule) != ("alert" in rule) for group in groups for rule in group["rules"])


def test_names_and_labels_are_of_kubernetes(objects: dict[str, dict[str, Any]]) -> None:
    """Names are DNS names, values of labels are short and plain, and a ConfigMap is small enough with keys that it takes."""
    for made in objects.values():
        assert NAME.fullmatch(made["metadata"]["name"]) and len(made["metadata"]["name"]) <= 253
        for value in made["metadata"]["labels"].values():
            assert LABEL_VALUE.fullmatch(value) and len(value) <= 63
        if made["kind"] == "ConfigMap":
            assert made["apiVersion"] == "v1"
            assert all(KEY.fullmatch(key) and isinstance(text, str) for key, text in made["data"].items())
            assert sum(len(key) + len(text.encode()) for key, text in made["data"].items()) < MOST_BYTES


def test_monitor_finds_what_carries_its_label(objects: dict[str, dict[str, Any]]) -> None:
    """It selects by the label that all objects of the service carry, and never asks for longer than an interval."""
    made = objects["kubernetes/servicemonitor.yml"]
    assert made["spec"]["selector"]["matchLabels"].items() <= made["metadata"]["labels"].items()
    (endpoint,) = made["spec"]["endpoints"]
    assert endpoint["interval"] == endpoint["scrapeTimeout"]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("PrometheusRule", {"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "1", "for": "5s1m"}]}]}),
        ("PrometheusRule", {"groups": [{"name": "g", "rules": [{"alert": "A"}]}]}),
        ("PrometheusRule", {"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "1", "labels": {"a": 1}}]}]}),
        ("ServiceMonitor", {"selector": {}, "endpoints": [{"scrapeInterval": "15s"}]}),
        ("ServiceMonitor", {"endpoints": []}),
    ],
)
def test_mistakes_are_found(kind: str, spec: dict[str, Any]) -> None:
    """A time in a wrong order, a rule without expression, a number for a label, an unknown or a missing field."""
    assert faults(spec, PUBLISHED[kind], kind)
