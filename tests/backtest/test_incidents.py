"""Labelled incidents: files as people write them, and what is found, missed, late or false."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelwatch.backtest.incidents import Incident, compare, read_incidents
from modelwatch.backtest.replay import Told
from modelwatch.errors import ConfigError


def told(began: float, ended: float | None = None, severity: str = "critical") -> Told:
    """Return an alert of the tests."""
    return Told("HighErrorRate", severity, {}, began, ended=ended)  # type: ignore[arg-type]  # one of the severities


def test_files(tmp_path: Path) -> None:
    """CSV and JSON; ISO 8601 with a zone or in that of the log, and Unix numbers; in the order of time."""
    file = tmp_path / "a.csv"
    file.write_text(
        "name,start,end,note\nlate,2026-01-02T10:00:00+01:00,2026-01-02T11:00:00Z,x\n"
        "early,2026-01-01 10:00,2026-01-01 10:30,\nnumbers,1767225600,1767229200.5,\n"
    )
    found = read_incidents(file, "Europe/Berlin")
    assert found == [
        Incident("numbers", 1_767_225_600, 1_767_229_200),
        Incident("early", 1_767_258_000, 1_767_259_800),
        Incident("late", 1_767_344_400, 1_767_351_600),
    ]
    (tmp_path / "a.json").write_text('[{"name": "n", "start": 1767225600, "end": "2026-01-01T01:00:00Z"}]')
    assert read_incidents(tmp_path / "a.json") == [Incident("n", 1_767_225_600, 1_767_229_200)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "name,start\nx,2026-01-01\n", "incident 1: end is None; expected start, end and name"),
        ("a.csv", "name,start,end\nx,soon,2026-01-01\n", "incident 1: start is 'soon'; expected a time"),
        ("a.csv", "name,start,end\nx,2026-01-02,2026-01-01\n", "incident 1: end is '2026-01-01'; expected not before"),
        ("a.json", "{}", "incidents is 'dict'; expected a list of objects"),
        ("a.json", "[1]", "incidents is 'list'; expected a list of objects"),
        ("a.json", "{", "incidents cannot be read"),
        ("missing.csv", None, "incidents cannot be read"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    """Each is one line that says which incident and what was expected."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_incidents(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_found_late_missed_and_false() -> None:
    """What begins inside, or within the grace, finds; what fires already does not; all else is a false alarm."""
    every = [told(50, 120), told(130, 140, "info"), told(150), told(260, 270), told(900, 910)]
    incidents = [Incident("a", 100, 200), Incident("b", 240, 250), Incident("c", 600, 700), Incident("d", 5000, 6000)]
    every.append(Told("SLOBurnRate", "warning", {}, 650, eased=True))  # goes on from critical: no news
    found, false = compare(incidents, every, (0, 1000), grace_s=30)
    a, b, c, d = found
    assert (a.delay_s(), a.delay_s("critical"), a.before) == (30, 50, ("HighErrorRate",))
    assert (b.delay_s(), b.missed) == (20, False)
    assert (c.missed, c.delay_s(), d.missed, d.inside) == (True, None, False, False)
    assert [one.began for one in false] == [50, 900]
