"""The demo's drift, as a user sees it: it is detected, explained, and ends."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from modelwatch import load_config
from modelwatch.demo import run
from modelwatch.demo.incidents import SCRIPTS
from modelwatch.demo.traffic import Traffic, read_texts
from modelwatch.errors import ModelwatchError
from modelwatch.reference import NumericProfile, Reference
from modelwatch.sources.status import StatusSource

SCALE = 240  # an hour is fifteen seconds
DRIFTS_S, LONGEST_S = 14, 85


def test_profile_of_the_demo_is_that_of_its_reviews() -> None:
    """The committed profile is what its script makes."""
    import runpy

    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "demo_reference.py"))
    made, committed = Reference.from_json(script["reference_text"]()), Reference.load(script["TARGET"])
    assert made.categorical == committed.categorical
    assert (made.rows, made.prediction, made.right) == (committed.rows, committed.prediction, committed.right)
    for name, profile in made.numeric.items():
        assert isinstance(profile, NumericProfile)
        assert (profile.edges, profile.counts) == (committed.numeric[name].edges, committed.numeric[name].counts)


def test_time_scale_of_the_demo(tmp_path: Path) -> None:
    """The option replaces what the configuration says; a scale that is none is one clear line."""
    run.write_config(tmp_path)
    assert load_config(tmp_path / run.CONFIG).time_scale == 60
    run.write_config(tmp_path, 1440, 8123)
    assert load_config(tmp_path / run.CONFIG).service.health_url == "http://127.0.0.1:8123/healthz"
    assert load_config(tmp_path / run.CONFIG).time_scale == 1440
    with pytest.raises(ModelwatchError, match="--time-scale: time scale is 0; expected a number above 0"):
        run.write_config(tmp_path, 0)


def _firing(source: StatusSource) -> dict[str, dict[str, Any]] | None:
    """Return what has drifted by now, by name; None before anything is counted."""
    models = source.read()["models"]
    if not models:
        return None
    return {row["name"]: row for row in models[0]["drift"]["rows"] if row["outcome"] == "firing"}


async def _watched(traffic: Traffic, source: StatusSource) -> tuple[dict[str, Any], float | None]:
    """Send traffic until drift has come and gone; return the language when it drifted, and the seconds until it ended."""
    stop, begun = asyncio.Event(), time.monotonic()
    sending = asyncio.create_task(traffic.run(LONGEST_S, stop))
    language: dict[str, Any] = {}
    ended = None
    while ended is None and not sending.done():
        await asyncio.sleep(0.5)
        firing = await asyncio.to_thread(_firing, source)
        if firing is not None and firing.get("language", {}).get("level") == "severe":
            language = firing["language"]
        elif language and not firing:
            ended = time.monotonic() - begun
    stop.set()
    await sending
    return language, ended


def test_drift_incident_is_detected_explained_and_ends(tmp_path: Path) -> None:
    """German and Spanish reviews make the mix of languages drift severely, and say so; a minute later all is well."""
    run.write_config(tmp_path, SCALE)
    path = tmp_path / run.CONFIG
    hours = "    drift: {window: 1h, severe_window: 1h}\n    low_confidence:"
    path.write_text(path.read_text().replace("    low_confidence:", hours, 1))
    script = SCRIPTS["drift"]
    started = time.time() - script.first_s - script.lasts_s + DRIFTS_S  # the incident is in its last seconds
    service = run.Service(tmp_path, run.free_port(0), "drift", started)
    source = StatusSource.from_config(load_config(tmp_path / run.CONFIG, secrets=False))
    try:
        service.start()
        traffic = Traffic(f"http://{run.HOST}:{service.port}", read_texts(), script, started)
        language, ended = asyncio.run(_watched(traffic, source))
    finally:
        service.stop()
        source.close()
    assert language, "it was not detected"
    assert ended is not None, "it did not end"
    assert language["explanation"]["cause"] in ("mix", "unseen")
    assert "language" in language["explanation"]["summary"]
    assert any(f"{name} " in " ".join(language["explanation"]["details"]) for name in ("de", "es"))
    assert language["explanation"]["since_words"], "it does not say since when"
    assert language["explanation"]["actions"]
