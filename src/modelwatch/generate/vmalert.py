"""The rules as vmalert of VictoriaMetrics takes them, of old versions and new ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from modelwatch.generate.context import Context
from modelwatch.generate.text import template_text, yaml_text

FOLDER = "vmalert"
#: Not known to old versions, which refuse a file that has it.
UNKNOWN = "keep_firing_for"
NOTE = (
    f"# For vmalert. Without {UNKNOWN}, which old versions refuse: an alert ends as soon as its condition does.\n"
    "# vmalert reads labels of recordings as templates, and Prometheus does not: here they are quoted.\n"
)


def files(context: Context, made: Mapping[str, str]) -> dict[str, str]:
    """Return the rule files for vmalert.

    made : rules/*.yml, by path.
    """
    return {
        f"{FOLDER}/{PurePosixPath(path).name}": context.header + NOTE + yaml_text(_known(yaml.safe_load(text)))
        for path, text in made.items()
        if path.startswith("rules/")
    }


def _known(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {"groups": [{**group, "rules": [_rule(rule) for rule in group["rules"]]} for group in whole["groups"]]}


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in rule.items() if key != UNKNOWN}
    if "record" in rule and "labels" in rule:
        known["labels"] = {name: template_text(value) for name, value in rule["labels"].items()}
    return known
