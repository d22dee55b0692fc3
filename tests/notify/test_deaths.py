"""kill -9 between deciding, sending and marking: no notice is lost, and one is there twice at most, with the same key."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest

from modelwatch.notify.alert import Alert
from modelwatch.testing import KillAt
from notify.killed import POINTS, dispatcher_of, notify
from notify.receivers import web

KILLS = int(os.environ.get("MODELWATCH_KILLS", "50"))  # `make soak` asks for more


@pytest.mark.timeout(600)
def test_kills_lose_no_notice(tmp_path: Path) -> None:
    """At 50 random points: half of them between two steps, half of them anywhere."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["notify.killed"])
    chance = random.Random(42)
    store = f"sqlite:///{tmp_path / 'store.db'}"
    kept: dict[str, set[str]] = defaultdict(set)
    kills = 0
    with web() as receiver:
        for trial in range(KILLS):
            if trial % 2:
                killer = KillAt(chance.choice(POINTS), nth=chance.randint(1, 4), start_method="forkserver")
            else:
                killer = KillAt(after_s=chance.uniform(0.0, 0.6), start_method="forkserver")
            death = killer.run(notify, store, receiver.url, trial)
            kills += death.killed
            for change, name in death.acknowledged:
                kept[change].add(name)
        dispatcher = dispatcher_of(store, receiver.url)
        dispatcher.start()
        assert dispatcher.flush(60)
        told: dict[str, set[str]] = defaultdict(set)
        for request in receiver.requests:
            told[request.body["status"]].add(request.body["groupLabels"]["alertname"])
        assert kept["firing"] - told["firing"] == set()
        assert kept["resolved"] - told["resolved"] == set()
        now = time.time()
        dispatcher.outbox.transition([Alert(name, "critical").ended(now) for name in told["firing"]], now)
        assert dispatcher.flush(60)
        assert dispatcher.stop()
        dispatcher.outbox.database.close()
        ids = receiver.ids()
        ends = [
            request.body["groupLabels"]["alertname"]
            for request in receiver.requests
            if request.body["status"] == "resolved"
        ]
        firing = {id for id, request in zip(ids, receiver.requests, strict=True) if request.body["status"] == "firing"}
    assert kills == KILLS
    assert len(kept["firing"]) >= KILLS / 4
    assert set(ends) == told["firing"]
    assert len(firing) == len(told["firing"])  # a notice that comes twice has one key
    assert len(ids) - len(set(ids)) <= kills
