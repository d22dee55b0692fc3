"""What `modelwatch alerts` says beside a `serve` that runs, and without one."""

from __future__ import annotations

import json

import pytest

from alerts.life import requests
from modelwatch.alerts import AlertState, dumped
from modelwatch.config import load_config
from modelwatch.sources.evaluated import HostCounts, alert_lines, alerts_json, evaluate_host
from modelwatch.sources.kept import STATES, fresh_states
from serve.conftest import CONFIG, House

DAY_S = 86_400


def test_alerts_of_a_serve_that_runs_are_as_old_as_it_knows(house: House) -> None:
    """While one evaluates, its states count: an alert fires for days. Without one, only the counts are known."""
    parts = house.serve()
    house.happen(*requests(100, failed=50))
    assert house.rounds(parts, 80, lambda: bool(parts.evaluator.found["sentiment"].evaluation.firing))
    config = load_config(house.folder / "modelwatch.yaml")
    kept = fresh_states(config, house.clock.now)
    assert kept == {"sentiment": parts.evaluator.found["sentiment"].evaluation.states}
    name = parts.evaluator.found["sentiment"].evaluation.firing[0].key
    old = {**kept["sentiment"], name: AlertState("firing", house.clock.now() - 7 * DAY_S)}
    parts.store.set_value(STATES, json.dumps({"sentiment": dumped(old)}))
    counts = HostCounts(config.live, house.clock)
    known = evaluate_host(config, counts, fresh_states(config, house.clock.now))
    text = "\n".join(alert_lines(known))
    assert "(as modelwatch serve knows it)" in text
    assert "firing for 7 d" in text
    assert alerts_json(known)["replayed_s"] == 0
    house.clock.advance(60)
    assert fresh_states(config, house.clock.now) is None, "its lease has ended: what it knew may be old"
    replayed = evaluate_host(config, counts)
    assert "(the last 1.5 hours replayed)" in alert_lines(replayed)[0]
    assert alerts_json(replayed)["replayed_s"] == 5400


@pytest.mark.parametrize("kept", ["{", "[]", '{"sentiment": 3}'])
def test_states_that_cannot_be_read_are_none(house: House, kept: str) -> None:
    """Whatever the store holds, the counts are evaluated instead."""
    parts = house.serve()
    house.rounds(parts, 1)
    parts.store.set_value(STATES, kept)
    assert fresh_states(load_config(house.folder / "modelwatch.yaml"), house.clock.now) is None


def test_a_store_that_is_not_there_is_not_made(house: House) -> None:
    """A command that shows alerts makes no file; without a store nobody keeps states."""
    config = load_config(house.folder / "modelwatch.yaml")
    assert fresh_states(config) is None
    assert not (house.folder / "truth.db").exists()
    house.write(CONFIG.replace("store: sqlite:///truth.db\n", ""))
    assert fresh_states(load_config(house.folder / "modelwatch.yaml")) is None


def test_a_long_name_stands_apart_from_what_is_said(house: House) -> None:
    """At least one space is between the columns, whatever the labels are."""
    counts = HostCounts(house.folder / "live.db", house.clock)
    found = evaluate_host(load_config(house.folder / "modelwatch.yaml"), counts, {})
    (one,) = found.values()
    long = [v._replace(labels={"feature_name": "f" * 90}) for v in one.evaluation.verdicts]
    object.__setattr__(one.evaluation, "verdicts", tuple(long))
    lines = [line for line in alert_lines(found) if "f" * 90 in line]
    assert lines
    assert all(line.split("f" * 90)[1][:1] in {" ", ","} for line in lines)
