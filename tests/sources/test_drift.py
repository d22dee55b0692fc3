"""Drift in the live state: the decision on every feature, in words, from what was really counted."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelwatch import Monitor
from modelwatch.batch.profile import profile
from modelwatch.config import load_config
from modelwatch.kernel import Kernel
from modelwatch.record.monitor import schema_of
from modelwatch.reference import Reference
from modelwatch.signals import Counts, Objectives
from modelwatch.signals.drift import ANSWER_PSI, CATEGORY_DRIFT, FEATURE_KS, sides
from modelwatch.sources.drift import drift_state, watched_of
from modelwatch.sources.driftsince import LATE_S, Pieces
from modelwatch.sources.evaluated import HostCounts, alerts_json, evaluate_host
from modelwatch.sources.render import status_lines
from modelwatch.statistics import ks, ks_bracket
from modelwatch.tally import Tally
from modelwatch.testing import FakeClock

CONFIG = """
service: {name: shop}
live: live.db
models:
  m:
    version: "1"
    task: classification
    classes: ["no", "yes"]
    features: {length: numeric, weight: numeric, stars: numeric, gone: numeric, odd: numeric, language: categorical,
               country: categorical}
    reference: reference.json
"""
Event = dict[str, Any]


def event(chance: random.Random) -> Event:
    """Return the arguments of a request as in training."""
    answer = chance.random()
    return {
        "duration": 0.01,
        "prediction": "yes" if answer > 0.4 else "no",
        "confidence": max(answer, 1 - answer),
        "features": {
            "length": chance.gauss(100, 20),
            "weight": chance.gauss(5, 1),
            "stars": float(chance.randrange(1, 6)),
            "gone": chance.random(),
            "language": chance.choice(["en", "en", "de"]),
            "country": chance.choice(["GB", "US", "DE"]),
        },
    }


def moved(chance: random.Random) -> Event:
    """Return one of a world that has changed: another unit, longer, a new language, values that are lost, more doubt."""
    one = event(chance)
    one["confidence"] = 0.5 + (one["confidence"] - 0.5) / 2
    features = one["features"]
    features |= {"length": chance.gauss(115, 20), "weight": features["weight"] * 1000, "gone": None}
    features["language"] = chance.choice(["en", "pl", "pl"])
    return one


def table(events: list[Event]) -> dict[str, np.ndarray[Any, Any]]:
    """Return events as columns for a profile."""
    columns: dict[str, list[Any]] = {"prediction": [], "confidence": []}
    for one in events:
        columns["prediction"].append(one["prediction"])
        columns["confidence"].append(one["confidence"])
        for name, value in one["features"].items():
            columns.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in columns.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a configuration and a profile that lacks one of its features."""
    chance = random.Random(1)
    reference = profile(table([event(chance) for _ in range(5000)])).reference
    (tmp_path / "reference.json").write_text(reference.to_json())
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    return tmp_path


Serve = Callable[..., dict[str, Any]]


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Record events with a real monitor and return its status."""
    made: list[Monitor] = []

    def run(make: Callable[[random.Random], Event], n: int, seed: int = 2) -> dict[str, Any]:
        monitor = Monitor.from_config(folder / "modelwatch.yaml")
        made.append(monitor)
        chance = random.Random(seed)
        for _ in range(n):
            monitor.record("/p", **make(chance))
        assert monitor.flush(20)
        return monitor.status()

    yield run
    for monitor in made:
        monitor.close()


def drift_of(status: dict[str, Any]) -> dict[str, Any]:
    """Return the drift of the only model, as it comes out of JSON."""
    (model,) = json.loads(json.dumps(status, allow_nan=False))["models"]
    found: dict[str, Any] = model["drift"]
    return found


def test_what_moved_is_told_worst_first_with_its_reason(serve: Serve) -> None:
    """Another unit, a shift, a new category, doubt and lost values: each has its level, its words and its cells."""
    status = serve(moved, 4000)
    drift = drift_of(status)
    rows = {row["name"]: row for row in drift["rows"]}
    assert [row["level"] for row in drift["rows"]][:5] == ["severe"] * 4 + [None]
    levels = {name: row["level"] for name, row in rows.items()}
    assert levels["weight"] == levels["language"] == levels["length"] == levels["confidence"] == "severe"
    assert {name for name, row in rows.items() if row["outcome"] == "ok"} == {"stars", "country", "classes"}
    assert rows["weight"]["explanation"]["cause"] == "unit"
    assert "1000 times" in rows["weight"]["explanation"]["summary"]
    assert rows["language"]["explanation"]["cause"] == "unseen"
    assert "pl" in rows["language"]["explanation"]["summary"]
    assert (rows["length"]["window"], rows["length"]["windows"]["long"]["level"]) == ("short", "warning")
    assert rows["gone"]["explanation"]["cause"] == "missing"
    missing = {row["name"]: row["score"] for row in drift["missing"] if row["outcome"] == "firing"}
    assert missing == {"gone": 1.0, "odd": 1.0}
    assert rows["odd"]["outcome"] == "cannot_tell"
    assert rows["odd"]["reason"] == "the profile of the training data does not have it"
    for row in rows.values():
        for side in ("reference", "current"):
            assert not row["cells"] or sum(cell[side] for cell in row["cells"]) == pytest.approx(1 if row["n"] else 0)
    lines = [line for line in status_lines(status) if line.startswith("  Drift")]
    assert "nothing was counted before" in lines[0]
    assert [line.split()[1] for line in lines[1:]] == [row["name"] for row in drift["rows"]]
    (weight,) = [line for line in lines if "Drift, weight" in line]
    assert "KS 0.95" in weight or "KS 1.00" in weight
    assert "SEVERE: weight is about 1000 times what it was in training: another unit?" in weight
    assert any(line.startswith("  Missing, gone") for line in status_lines(status))


def test_nothing_moved_is_ok_or_cannot_be_told(serve: Serve) -> None:
    """The same world: no level; with few requests it says from which size on drift could be told."""
    few = drift_of(serve(event, 60))
    assert not [row for row in few["rows"] if row["level"]]
    (length,) = [row for row in few["rows"] if row["name"] == "length"]
    assert length["outcome"] == "cannot_tell"
    assert "with 60 values a day only drifts above" in length["reason"]
    (country,) = [row for row in few["rows"] if row["name"] == "country"]
    assert country["reason"] == "60 of 75 values in a day: 25 for each of 3 cells are needed"
    rows = drift_of(serve(event, 4000, seed=3))["rows"]
    assert {row["name"] for row in rows if row["outcome"] != "ok"} == {"odd"}
    assert rows[0]["name"] == "odd"


def test_running_time_shorter_than_the_window_is_said(serve: Serve) -> None:
    """A service that has just begun says that its day is not a day yet."""
    windows = drift_of(serve(event, 10))["windows"]
    assert windows["long"]["seconds"] == 86_400
    assert windows["long"]["covered_s"] < 120
    assert "nothing was counted before" in windows["long"]["words"]


def test_no_profile_or_another_version_is_a_reason(folder: Path, serve: Serve) -> None:
    """Without a profile of this version nothing is compared, and the reason stands there; missing values are judged."""
    text = CONFIG.replace("    reference: reference.json\n", "")
    (folder / "modelwatch.yaml").write_text(text)
    status = serve(moved, 200)
    drift = drift_of(status)
    assert drift["rows"] == []
    assert "modelwatch profile" in drift["reason"]
    assert [row["name"] for row in drift["missing"] if row["outcome"] == "firing"] == ["gone", "odd"]
    assert any("CANNOT TELL: there is no profile" in line for line in status_lines(status))
    (folder / "modelwatch.yaml").write_text(CONFIG)
    (watched,) = watched_of(load_config(folder / "modelwatch.yaml")).values()
    assert watched.reference is not None


def test_profile_that_cannot_be_read_any_more_is_a_reason(folder: Path, serve: Serve) -> None:
    """A running service whose profile has been damaged, or is gone, goes on; its status says what is wrong."""
    serve(event, 10)
    (folder / "reference.json").write_text("{}")
    (watched,) = watched_of(load_config(folder / "modelwatch.yaml")).values()
    assert watched.reference is None
    assert "reference.json: not a reference profile" in watched.problem
    (folder / "reference.json").unlink()
    assert "cannot be read" in watched_of(load_config(folder / "modelwatch.yaml"))["m"].problem


def test_alerts_of_a_scaled_time_are_not_muted_for_half_an_hour(folder: Path, serve: Serve) -> None:
    """A version is new for half an hour; where a minute is an hour, for half a minute, and then its drift is an alert."""
    (folder / "modelwatch.yaml").write_text(CONFIG + "time_scale: 60\n")
    serve(moved, 1000)
    config = load_config(folder / "modelwatch.yaml")

    def firing(seconds: float) -> set[str]:
        clock = FakeClock(time.time() + seconds)
        found = evaluate_host(config, HostCounts(config.live, clock))
        return {verdict.rule.name for verdict in found["m"].evaluation.firing}

    assert "DataDriftDetected" in firing(150)  # for two looks
    assert "DataDriftDetected" not in firing(-90)


def test_time_scale_divides_the_windows(folder: Path) -> None:
    """A day becomes six minutes, an hour a quarter of a minute."""
    (folder / "modelwatch.yaml").write_text(CONFIG + "time_scale: 240\n")
    (watched,) = watched_of(load_config(folder / "modelwatch.yaml")).values()
    assert watched.windows == (("long", 360), ("short", 15))


def counted(folder: Path, make: Callable[[random.Random], Event], n: int, seed: int) -> Counts:
    """Return n events as counts, as the configuration of the folder wants them."""
    config, reference = load_config(folder / "modelwatch.yaml"), Reference.load(folder / "reference.json")
    model = config.models["m"]
    kernel, chance = Kernel(schema_of(model)), random.Random(seed)
    events = [make(chance) for _ in range(n)]
    kernel.fold([("/p", 0.1, None, None, e["prediction"], e["confidence"], e["features"]) for e in events])
    objectives = Objectives.of(model, reference=reference)
    return Counts(kernel.tally, kernel.schema, 3600.0, objectives, "1", reference)


def test_counts_on_other_bins_than_the_profile_cannot_tell(folder: Path) -> None:
    """A profile that was made anew meanwhile has other edges than the counts: its features say so, others are judged."""
    counts, chance = counted(folder, event, 1000, 1), random.Random(99)
    other = profile(table([event(chance) for _ in range(900)])).reference
    counts = replace(counts, reference=other)
    (watched,) = watched_of(load_config(folder / "modelwatch.yaml")).values()
    state = drift_state(replace(watched, reference=other), "1", {"long": counts, "short": counts})
    rows = {row["name"]: row for row in state["rows"]}
    for name in ("length", "weight"):
        assert rows[name]["reason"] == "counted on other bins than the reference"
        assert (rows[name]["outcome"], rows[name]["score"], rows[name]["explanation"]) == ("cannot_tell", None, None)
    assert rows["stars"]["outcome"] == rows["language"]["outcome"] == "ok"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [event, moved])
def test_scores_are_those_of_the_signals(folder: Path, seed: int, make: Callable[[random.Random], Event]) -> None:
    """The state shows the numbers that alerts are made of: score beyond chance and certainty, feature by feature."""
    counts = counted(folder, make, [20, 80, 300, 1000, 3000, 6000][seed], seed)
    (watched,) = watched_of(load_config(folder / "modelwatch.yaml")).values()
    state = drift_state(watched, "1", {"long": counts, "short": counts})
    compared = 0
    for signal in (FEATURE_KS, CATEGORY_DRIFT, ANSWER_PSI):
        for (_, name), (value, samples, *_) in signal.measure(counts).items():
            (row,) = [row for row in state["rows"] if row["name"] == name]
            assert (signal.name, name) in sides(counts)
            assert row["n"] == samples
            if value is not None:
                assert row["excess"] == pytest.approx(value, rel=1e-12)
                compared += 1
    assert compared >= 3


def test_since_when_is_in_the_state_and_in_its_lines(serve: Serve) -> None:
    """A service that drifts since it began says that it is so since then or earlier, in the JSON and in the lines."""
    status = serve(moved, 4000)
    (weight,) = [row for row in drift_of(status)["rows"] if row["name"] == "weight"]
    words = weight["explanation"]["since_words"]
    assert words.startswith("Since 20")
    assert "UTC or earlier" in words
    assert any("Drift, weight" in line and words in line for line in status_lines(status))
    quiet = [row for row in drift_of(status)["rows"] if row["outcome"] == "ok"]
    assert quiet
    assert not any(row["explanation"]["since_words"] for row in quiet)


NOON = 1_700_049_600


def test_pieces_that_are_over_are_read_once(folder: Path) -> None:
    """The history of five hours by quarters is that of its minutes; an hour later only what is new is read again."""
    first, later = (counted(folder, make, 300, 1) for make in (event, moved))
    minutes: dict[int, Tally] = {}
    read: list[int] = []

    def since(at: float) -> dict[int, Tally]:
        found = {start: tally for start, tally in minutes.items() if start >= at}
        read.append(len(found))
        return found

    def add(begin: int, end: int, one: Counts) -> None:
        minutes.update({NOON + 60 * i: one.tally for i in range(begin, end)})

    add(0, 180, first)
    add(180, 300, later)
    pieces = Pieces(86_400)
    key = (FEATURE_KS.name, "length")
    history = pieces.read(NOON + 300 * 60, since, lambda tally: replace(first, tally=tally, _known={}))[key]
    assert history.every_s == 900
    assert list(history.starts) == [NOON + 900 * i for i in range(20)]
    assert [sum(cells) for cells in history.counts if not isinstance(cells, dict)] == [15 * 300] * 20
    add(300, 360, later)
    again = pieces.read(NOON + 360 * 60, since, lambda tally: replace(first, tally=tally, _known={}))[key]
    assert list(again.starts) == [NOON + 900 * i for i in range(24)]
    assert again.counts[:20] == history.counts
    assert read == [300, 60 + LATE_S // 60 + 10]  # the last piece was not over for five minutes: it is read again


def test_alerts_and_pages_say_since_when(folder: Path, serve: Serve) -> None:
    """What an alert of drift says is what the page says, since when included."""
    (folder / "modelwatch.yaml").write_text(CONFIG + "time_scale: 60\n")
    status = serve(moved, 1000)
    (weight,) = [row for row in drift_of(status)["rows"] if row["name"] == "weight"]
    config = load_config(folder / "modelwatch.yaml")
    found = evaluate_host(config, HostCounts(config.live, FakeClock(time.time() + 150)))
    told = [
        alert.get("culprits", ())
        for alert in alerts_json(found)["alerts"]
        if alert["labels"].get("feature_name") == "weight"
    ]
    assert any(weight["explanation"]["since_words"] in culprits for culprits in told)


def test_views_have_fine_bins_merged_ones_and_other_distances(folder: Path) -> None:
    """The exact KS of the raw values is within the bracket of all bins; the other measures are those of statistics."""
    chance = random.Random(5)
    events = [moved(chance) for _ in range(2000)]
    counts = counted(folder, moved, 2000, 5)
    (watched,) = watched_of(load_config(folder / "modelwatch.yaml")).values()
    rows = {row["name"]: row for row in drift_state(watched, "1", {"long": counts, "short": counts})["rows"]}
    training = random.Random(1)
    before = [event(training)["features"]["length"] for _ in range(5000)]
    exact = ks(before, [one["features"]["length"] for one in events])
    assert exact is not None
    length = rows["length"]["views"]
    low, high = length["ks"]
    assert length["bins"] == 100
    assert low <= exact.statistic <= high
    assert high - low < 0.02
    assert counts.reference is not None
    current = sides(counts)[FEATURE_KS.name, "length"].current
    assert not isinstance(current, Mapping)
    shown = ks_bracket(counts.reference.numeric["length"].shown_counts, current)
    assert shown is not None
    assert shown[0] <= low <= high <= shown[1]
    assert length["wasserstein"] == pytest.approx(0.75, abs=0.05)
    assert length["merged"]["bins"] < 100
    assert length["merged"]["psi"] <= length["psi"]
    assert rows["language"]["views"]["total_variation"] == pytest.approx(rows["language"]["score"])
    assert "ks" not in rows["language"]["views"]
    assert rows["odd"]["views"] is None
