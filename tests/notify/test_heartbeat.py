"""The dead-man's receiver hears of a monitor that works, all the time, and of nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelwatch.clock import SteadyClock
from modelwatch.config import load_config
from modelwatch.configalerting import Receiver
from modelwatch.notify.client import Client
from modelwatch.notify.heartbeat import EVERY_S, Heartbeat
from modelwatch.notify.senders import sender_of
from modelwatch.testing import HangingSink, Snitch, running_receiver

CONFIG = """
service: {{name: s}}
models: {{m: {{version: "1", task: regression}}}}
time_scale: 60
alerting:
  receivers: {{snitch: {{webhook: "{url}"}}, team: {{webhook: "http://127.0.0.1:9/"}}}}
  deadman: snitch
"""
LONG_S = 20.0


def heartbeat_of(folder: Path, url: str, is_alive: Callable[[], bool], more: str = "") -> Heartbeat | None:
    """Return the heartbeat of a configuration."""
    (folder / "modelwatch.yaml").write_text(CONFIG.format(url=url) + more)
    return Heartbeat.of(load_config(folder / "modelwatch.yaml"), is_alive, SteadyClock())


@contextmanager
def beating(heartbeat: Heartbeat | None) -> Iterator[Heartbeat]:
    """Let one beat until the block ends."""
    assert heartbeat is not None
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()


def wait_for(what: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_comes_again_and_again_in_the_form_of_an_alertmanager(tmp_path: Path) -> None:
    """Once a scaled minute the receiver hears that Watchdog fires, with another key each time."""
    with running_receiver() as receiver, beating(heartbeat_of(tmp_path, receiver.url, lambda: True)) as heartbeat:
        assert heartbeat.every_s == EVERY_S / 60
        wait_for(lambda: len(receiver.requests) >= 2)
    body = receiver.requests[0].body
    assert (body["status"], body["commonLabels"]["alertname"]) == ("firing", "Watchdog")
    assert len(set(receiver.ids())) == len(receiver.ids())


def test_a_monitor_that_does_not_evaluate_is_missed(tmp_path: Path) -> None:
    """The process runs, but nothing is evaluated any more: no heartbeat comes, and its receiver raises alarm."""
    alive = [True]
    with Snitch(wait_s=2.5) as snitch, beating(heartbeat_of(tmp_path, snitch.url, lambda: alive[0])):
        wait_for(lambda: len(snitch.beats()) >= 2)
        assert snitch.alarms() == []
        alive[0] = False
        wait_for(snitch.alarms)


def test_a_receiver_that_hangs_delays_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither beginning nor ending waits for it; what is in the way is said once."""
    with HangingSink() as sink, caplog.at_level(logging.WARNING, "modelwatch"):
        sender = sender_of("snitch", Receiver.model_validate({"webhook": sink.url}))
        heartbeat = Heartbeat("other", sender, lambda: True, client=Client(wall_s=5.0))
        began = time.monotonic()
        heartbeat.start()
        heartbeat.stop()
        assert time.monotonic() - began < 2.5
        heartbeat = Heartbeat("snitch", sender, lambda: True, client=Client(wall_s=0.2))
        assert not heartbeat.beat()
        assert not heartbeat.beat()
    assert len([r for r in caplog.records if "snitch does not take the heartbeat" in r.message]) == 1


def test_where_an_alertmanager_tells_serve_keeps_quiet(tmp_path: Path) -> None:
    """Without `deadman`, and beside an Alertmanager, which sends the heartbeat itself, there is none."""
    more = "  alertmanager: http://127.0.0.1:9093\n"
    assert heartbeat_of(tmp_path, "http://127.0.0.1:9/", lambda: True, more) is None
    (tmp_path / "modelwatch.yaml").write_text(
        CONFIG.format(url="http://127.0.0.1:9/").replace("  deadman: snitch\n", "")
    )
    assert Heartbeat.of(load_config(tmp_path / "modelwatch.yaml"), lambda: True, SteadyClock()) is None
