"""The soak's own bookkeeping: its ledger, its page, and the tests that the page names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from soak.__main__ import PROVES, SCENARIOS, run  # noqa: E402
from soak.ledger import Finding, Ledger, Report, paired, percentile  # noqa: E402
from soak.page import Run, render  # noqa: E402
from soak.statements import STATEMENTS  # noqa: E402

RUN = Run(scale=0.25, seconds=600.0, load=1.5)


@pytest.mark.parametrize("number", sorted(STATEMENTS))
def test_every_proof_that_is_named_exists(number: int) -> None:
    """A promise has tests that are there by that name, or is measured elsewhere."""
    statement = STATEMENTS[number]
    assert statement.tests or statement.beside
    for test in statement.tests:
        path, _, name = test.partition("::")
        text = (ROOT / "tests" / path).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, test


def test_every_statement_has_its_row() -> None:
    """All fifty-two, and every scenario is for one of them."""
    assert sorted(STATEMENTS) == list(range(1, 53))
    assert PROVES.keys() == SCENARIOS.keys()
    assert set(PROVES.values()) <= STATEMENTS.keys()


def test_a_scenario_that_breaks_off_fails_and_the_others_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of an hour is not lost: what was measured before is kept, and why the rest was not is told."""

    def broken(report: Report, _scale: float) -> None:
        report.check(3, "memory", "50 MB", "+2 MB", holds=True)
        raise OSError("no more files")

    monkeypatch.setitem(SCENARIOS, "stuck-store", broken)
    monkeypatch.setitem(SCENARIOS, "threads", lambda report, _: report.ledger.add(Ledger(5, 4)))
    findings, ledger = run(["stuck-store", "threads"], 0.1)
    assert [(finding.statement, finding.holds) for finding in findings] == [(3, True), (3, False), (21, False)]
    assert findings[1].measured == "OSError: no more files"
    assert ledger == Ledger(5, 4)


def test_a_ledger_balances_only_when_every_event_is_somewhere() -> None:
    """Missing, doubled and lost beyond what is allowed do not balance."""
    assert Ledger(10, 10).balances()
    assert Ledger(10, 7, abandoned=3).balances()
    assert Ledger(10, 8, lost=2, allowed=2).balances()
    assert not Ledger(10, 9).balances()
    assert not Ledger(10, 11).balances()
    assert not Ledger(10, 7, lost=3, allowed=2).balances()
    total = Ledger()
    total.add(Ledger(10, 8, 1, lost=1, allowed=4))
    total.add(Ledger(5, 5))
    assert total == Ledger(15, 13, 1, 1, 4)


def test_a_figure_is_told_beside_its_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """What holds, what fails and what could not be run: each in a line of its own."""
    report = Report("one")
    report.check(3, "memory", "50 MB", "+2 MB", holds=True)
    report.check(3, "calls", "1 ms", "9 ms", holds=False)
    report.check(8, "drops", "5 s", "prometheus is not installed", holds=None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["holds", "FAILS", "cannot"]
    assert all("[bar: " in line for line in lines)
    assert [finding.holds for finding in report.findings] == [True, False, None]


def test_the_page_has_every_promise_and_every_figure() -> None:
    """A row a promise, its figures in it with their bars; what fails is named on top; the scale is said."""
    findings = [
        Finding(3, "memory", "50 MB", "+2 MB", holds=True),
        Finding(27, "exit", "5 s", "7.1 s", holds=False),
        Finding(8, "drops", "5 s", "no prometheus", holds=None),
    ]
    page = render(findings, Ledger(10, 10), RUN)
    assert "**1 of 2 figures hold, 1 cannot be told.** These do not:\n\n- 27, exit: 7.1 s; bar: 5 s" in page
    assert "Scale: 0.25" in page
    assert '`make soak ARGS="--scale 0.25 --write docs/reliability.md"`' in page
    assert '`make soak-full ARGS="--write docs/reliability.md"`' in render(findings, Ledger(), RUN._replace(scale=1.0))
    rows = {line.split(" | ")[0].strip("| "): line for line in page.splitlines() if line.startswith("| ")}
    assert {str(number) for number in STATEMENTS} <= rows.keys()
    assert rows["3"].endswith("memory: +2 MB *(bar: 50 MB; holds)* |")
    assert "(bar: 5 s; FAILS)" in rows["27"]
    assert all(line.count(" | ") == 3 for line in rows.values())


def test_percentiles_are_of_the_values() -> None:
    """The smallest and the largest value are the ends."""
    assert percentile([3.0, 1.0, 2.0], 0) == 1
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile([3.0, 1.0, 2.0], 1) == 3


def test_a_difference_in_pairs_has_an_interval() -> None:
    """The middle one, and all but the outermost at each side; a round that was disturbed moves none of them."""
    these, those = [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 900.0], [5.0] * 9
    assert paired(these, those) == (4.0, 1.0, 7.0)
