"""What is over the cap of a label is counted, exported and said wherever that label is shown (RELIABILITY 12)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from counting import KEY, close_everything, commit, page_values, read_rows, record, scraped, worker_at
from modelwatch import names
from modelwatch.record.worker import Worker
from modelwatch.schema import ModelSchema
from modelwatch.server.health import View
from modelwatch.server.panels import errors_by_type
from modelwatch.server.quality import quality_page
from modelwatch.server.resourcespage import resources_page
from modelwatch.sources.render import status_lines
from modelwatch.sources.status import StatusSource
from modelwatch.testing import FakeClock

CAP, MORE = 20, 7
SCHEMA = ModelSchema(classes=(), cap=CAP, categorical={"colour": ()})
#: metric, its capped label, and where its value stands in an event
CAPPED = [
    (names.REQUESTS, "endpoint"),
    (names.ERRORS, "error_type"),
    (names.PREDICTIONS, "predicted_class"),
    (names.SEGMENTS, "segment"),
    (names.FEATURE_CATEGORY, "category"),
]


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Close what the workers of a test have opened."""
    yield
    close_everything()


def events(n: int) -> list[tuple[Any, ...]]:
    """Return events of which each has an endpoint, error, segment, class and category of its own."""
    return [(f"/{i}", 0.01, f"E{i}", f"s{i}", f"c{i}", 0.9, {"colour": f"k{i}"}) for i in range(n)]


def counting(folder: Path, n: int) -> tuple[Worker, FakeClock]:
    """Return a worker that has committed n such events."""
    clock = FakeClock()
    worker = worker_at(folder / "live.db", clock, schema=SCHEMA)
    for event in events(n):
        record(worker, event=event)
    assert commit(worker)
    return worker, clock


def status_of(folder: Path, clock: FakeClock) -> dict[str, Any]:
    """Return the state that pages and the terminal show."""
    source = StatusSource(folder / "live.db", clock=clock)
    try:
        return source.read()
    finally:
        source.close()


def test_every_capped_label_is_exported_as_incomplete(tmp_path: Path) -> None:
    """`modelwatch_label_overflow_total` has each metric and label with its exact count, and totals stay whole."""
    worker, _ = counting(tmp_path, CAP + MORE)
    values = page_values(worker.scrape.render())
    for metric, label in CAPPED:
        kept = [v for (name, labels), v in values.items() if name == metric.name]
        assert sum(kept) == CAP + MORE, metric
        other = [v for (name, labels), v in values.items() if name == metric.name and (label, names.OTHER) in labels]
        over = scraped(worker, names.OVERFLOW.name, metric=metric.name, label=label)
        assert over == sum(other) == MORE, metric


def test_nothing_over_a_cap_is_said_to_be_incomplete(tmp_path: Path) -> None:
    """At the cap exactly, no page speaks of it."""
    worker, clock = counting(tmp_path, CAP)
    assert not [name for name, _ in page_values(worker.scrape.render()) if name == names.OVERFLOW.name]
    status = status_of(tmp_path, clock)
    assert status["models"][0]["details"]["incomplete"] == {}
    assert "ncomplete" not in quality_page(status) + resources_page(status)
    assert not [line for line in status_lines(status) if "Incomplete" in line]


def test_panels_and_terminal_say_what_is_incomplete(tmp_path: Path) -> None:
    """The mix of answers, the card of error types, and a line a metric in the terminal; for as long as it is true."""
    _, clock = counting(tmp_path, CAP + MORE)
    status = status_of(tmp_path, clock)
    assert status["models"][0]["details"]["incomplete"] == {metric.name: MORE for metric, _ in CAPPED}
    page = quality_page(status)
    assert page.count(f"Incomplete: {MORE} answers over the cap of labels are together in {names.OTHER}.") == 1
    page = resources_page(status)
    assert page.count(f"Incomplete: {MORE} errors over the cap of labels are together in {names.OTHER}.") == 1
    lines = [line for line in status_lines(status) if "Incomplete" in line]
    assert len(lines) == len(CAPPED)
    assert all(names.OTHER in line and f": {MORE} counted" in line for line in lines)
    clock.advance(600)
    assert status_of(tmp_path, clock)["models"][0]["details"]["incomplete"] == {}


def test_shares_of_error_types_are_of_all_errors(tmp_path: Path) -> None:
    """Of eight types, of which not all are shown, each has its eighth."""
    _, clock = counting(tmp_path, 8)
    view = View(status := status_of(tmp_path, clock), status["models"][0])
    rows, _, _ = errors_by_type(view)
    assert {row.change.replace("\N{NO-BREAK SPACE}", " ") for row in rows} == {"12.5 %"}


def test_the_sum_of_workers_is_incomplete(tmp_path: Path) -> None:
    """Two workers at their caps: the host's counter of what is over is the sum, and is kept in the file."""
    worker, clock = counting(tmp_path, CAP + MORE)
    other = worker_at(tmp_path / "live.db", clock, schema=SCHEMA)
    for event in events(CAP + MORE):
        record(other, event=event)
    assert commit(other)
    assert scraped(worker, names.OVERFLOW.name, metric=names.PREDICTIONS.name) == 2 * MORE
    assert {row.key for row in read_rows(tmp_path / "live.db", clock)[0].rows} == {KEY}
