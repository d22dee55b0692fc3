"""Alerts handed over to a real Alertmanager: it tells its own receiver, and forgets what has ended."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelwatch.groundtruth.database import Database
from modelwatch.notify.alert import Alert
from modelwatch.notify.alertmanager import BATCH, LASTS_S, RESOLVED_S, Handover, alerts_for
from modelwatch.notify.grouping import Known
from modelwatch.notify.outbox import Outbox
from modelwatch.notify.outcome import Retry
from modelwatch.testing import running_service
from notify.conftest import AT_ONCE
from notify.receivers import web
from support import free_port, require

ERRORS = Alert(
    "HighErrorRate", "critical", "sentiment", "1.4.2", {"endpoint": "/predict"}, "Errors are 12 %",
    started_at=time.time() - 60, dashboard_url="https://example.com/",
)  # fmt: skip


@contextmanager
def alertmanager(folder: Path, receiver: str) -> Iterator[str]:
    """Run an Alertmanager that tells a webhook at once; return its address."""
    config = {
        "route": {"receiver": "hook", "group_by": ["alertname", "model"], "group_wait": "0s", "group_interval": "1s"},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": receiver, "send_resolved": True}]}],
    }
    (folder / "alertmanager.yml").write_text(json.dumps(config))
    command = [
        require("prometheus-alertmanager"), f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}", "--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        "--log.level=error",
    ]  # fmt: skip
    with running_service(command, ready="/-/ready") as service:
        yield service.url


def read(url: str) -> Any:
    """Return what an Alertmanager knows."""
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=10) as answer:
        return json.load(answer)


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_real_alertmanager_is_told_of_the_beginning_and_the_end(tmp_path: Path, database: Database) -> None:
    """And sends what our own webhook sends: the same labels, annotations and status, in the same form."""
    outbox = Outbox(database, AT_ONCE)
    with web() as hook, alertmanager(tmp_path, hook.url) as url:
        handover = Handover(outbox, url)
        handover.start()
        outbox.transition([ERRORS], time.time())
        handover.wake()
        until(lambda: len(hook.requests) >= 1)
        (found,) = read(url)
        assert found["labels"] == {
            "alertname": "HighErrorRate", "severity": "critical", "model": "sentiment", "version": "1.4.2",
            "endpoint": "/predict",
        }  # fmt: skip
        assert found["annotations"] == {"summary": "Errors are 12 %", "dashboard_url": "https://example.com/"}
        outbox.transition([], time.time(), complete=True)
        handover.wake()
        until(lambda: hook.requests[-1].body["status"] == "resolved")
        assert handover.stop()
    from modelwatch.notify.alert import Group, notice_of
    from modelwatch.notify.senders.webhook import message

    theirs = hook.requests[0].body
    ours = message(notice_of(Group("hook", "HighErrorRate", "sentiment"), 1, "firing", time.time(), [ERRORS]))
    assert theirs.keys() == ours.keys() - {"kind", "notice"}
    assert theirs["alerts"][0].keys() == ours["alerts"][0].keys()
    for name in ("version", "status", "receiver", "groupLabels", "commonLabels", "truncatedAlerts"):
        assert theirs[name] == ours[name], name
    for name in ("labels", "annotations", "status", "endsAt", "generatorURL"):
        assert theirs["alerts"][0][name] == ours["alerts"][0][name], name


def test_an_alertmanager_that_comes_late_is_told_what_fires(tmp_path: Path, database: Database) -> None:
    """It was away when the alert began; nothing more is needed than that it is there."""
    outbox, port = Outbox(database, AT_ONCE), free_port()
    outbox.transition([ERRORS], time.time())
    handover = Handover(outbox, f"http://127.0.0.1:{port}")
    assert not handover.post(time.time())
    assert isinstance(handover.last, Retry)
    with web() as hook, alertmanager(tmp_path, hook.url) as url:
        assert Handover(outbox, url).post(time.time())
        assert len(read(url)) == 1


def test_amtool_reads_what_was_posted(tmp_path: Path, database: Database) -> None:
    """A storm in batches; markup in every field is data to it."""
    odd = "<!channel> {{ .x }} \"'\\ \ud800\x00"
    alerts = [
        Alert("DataDriftDetected", "warning", odd, labels={"feature": f"f{i}"}, started_at=time.time())
        for i in range(2 * BATCH)
    ]
    outbox = Outbox(database, AT_ONCE)
    outbox.transition(alerts, time.time())
    with web() as hook, alertmanager(tmp_path, hook.url) as url:
        assert Handover(outbox, url).post(time.time())
        command = [require("amtool"), "--alertmanager.url", url, "alert", "query", "-o", "json"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    found = json.loads(done.stdout)
    assert len(found) == 2 * BATCH
    assert {one["labels"]["model"] for one in found} == {alerts[0].model}


def test_what_fires_lasts_a_little_longer_than_to_the_next_post() -> None:
    """What has ended is posted for a quarter of an hour, and never with an end before its beginning."""
    now = 1_700_000_000.0
    fires = Known(Alert("A", "critical", started_at=now - 60), now)
    ended = Known(Alert("B", "critical", started_at=now - 60, ended_at=now - 120), now)
    old = Known(Alert("C", "critical", started_at=now - 6000, ended_at=now - RESOLVED_S - 1), now)
    posted = alerts_for([fires, ended, old], now)
    assert [one["labels"]["alertname"] for one in posted] == ["A", "B"]
    assert posted[0]["endsAt"] == "2023-11-14T22:15:20.000000Z"
    assert LASTS_S == 120.0
    assert posted[1]["endsAt"] == posted[1]["startsAt"]
