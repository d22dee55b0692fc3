"""Foreign files at the start of a service: the configuration and the reference profile."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import modelwatch.demo
from fuzz.foreign import NUMBERS, TEXTS, VALUES, changed, taken, torn
from modelwatch.alerts.rules import rules_of
from modelwatch.config import load_config, parse_config
from modelwatch.configfields import period_days, seconds
from modelwatch.errors import ConfigError, DamagedData
from modelwatch.reference import Reference, _digest
from modelwatch.schema import ModelSchema

DEMO = Path(modelwatch.demo.__file__).parent
TEXT = (DEMO / "modelwatch.yaml").read_text(encoding="utf-8")
WHOLE: dict[str, Any] = yaml.safe_load(TEXT)
PROFILE: dict[str, Any] = json.loads((DEMO / "reference.json").read_text(encoding="utf-8"))
del PROFILE["sha256"]
SCHEMA = ModelSchema(classes=("a", "b"), numeric={"x": ((0.0, 1.0), (1.0,))}, categorical={"c": ("d",)})


@settings(max_examples=100)
@given(changed(WHOLE))
def test_a_configuration_with_one_part_replaced(tree: Any) -> None:
    """Is refused in lines that can be shown, or gives the rules of its alerts as any other."""
    config = taken(lambda: parse_config(yaml.safe_dump(tree, allow_unicode=True), environ={}))
    for name in config.models if config is not None else ():
        assert rules_of(config, name)


@settings(max_examples=100)
@given(data=torn(TEXT.encode()))
def test_a_configuration_with_bytes_changed(tmp_path_factory: Any, data: bytes) -> None:
    """A file is refused in lines that can be shown, or read."""
    path = tmp_path_factory.getbasetemp() / "torn.yaml"
    path.write_bytes(data)
    taken(lambda: load_config(path, environ={}))


@pytest.mark.parametrize("merged", ["*x{0}, *x{0}", "*x{0}, *x{1}"])
def test_merges_of_merges_do_not_grow_without_end(merged: str) -> None:
    """Each of sixty mappings has the keys of two before it: refused at once, since it would be billions of keys."""
    lines = ["x0: &x0 {k: 1}", "x1: &x1 {l: 1}"]
    lines += [f"x{i}: &x{i} {{<<: [{merged.format(i - 1, i - 2)}]}}" for i in range(2, 60)]
    with pytest.raises(ConfigError, match="merges of more than 100000 values"):
        parse_config("\n".join(lines), environ={})


@settings(max_examples=150)
@given(changed(PROFILE))
@example({**PROFILE, "schema": 10**400})
@example({**PROFILE, "rows": math.inf})
def test_a_reference_with_one_part_replaced(tree: Any) -> None:
    """Even when its hash is right: it is refused as damaged, or its numbers can be used."""
    whole = {**tree, "sha256": _digest(tree)} if isinstance(tree, dict) else tree
    found = taken(lambda: Reference.from_json(json.dumps(whole)))
    if found is not None:
        for profile in found.numeric.values():
            assert all(map(math.isfinite, profile.edges))
            assert profile.size >= 0
        assert Reference.from_json(found.to_json()) == found


@settings(max_examples=100)
@given(data=torn(json.dumps({**PROFILE, "sha256": _digest(PROFILE)}).encode()) | st.binary(max_size=40))
@example(b"[" * 100_000)
@example(b'{"schema": ' + b"9" * 5000 + b"}")
def test_a_reference_with_bytes_changed(tmp_path_factory: Any, data: bytes) -> None:
    """A file is refused, and what is left of it is never taken for another profile."""
    path = tmp_path_factory.getbasetemp() / "torn.json"
    path.write_bytes(data)
    found = taken(lambda: Reference.load(path))
    assert found is None or found.sha256 == _digest(PROFILE)


@settings(max_examples=150)
@given(changed(json.loads(SCHEMA.to_json())) | VALUES)
def test_a_schema_with_one_part_replaced(tree: Any) -> None:
    """That of a model in a live.db: it is refused as damaged, or its tables can be made."""
    try:
        found = ModelSchema.from_json(json.dumps(tree))
    except DamagedData:
        return
    assert found.empty().fingerprints() == found.fingerprints


@settings(max_examples=200)
@given(VALUES | st.builds(lambda n, unit: f"{n}{unit}", NUMBERS, TEXTS | st.sampled_from("s ms m h d".split())))
@example("9" * 5000 + "s")
@example("1" * 400 + "d")
def test_any_duration(value: object) -> None:
    """Whatever stands where a duration should: finite seconds, not below 0, or none."""
    found = seconds(value)
    assert found is None or (math.isfinite(found) and found >= 0)
    days = period_days(value)
    assert days is None or 1 <= days <= 400
