"""`modelwatch serve --pages-only`: it shows what fires, tells nobody, and stands in the way of nobody who tells."""

from __future__ import annotations

from alerts.life import requests
from integrations.calling import call
from modelwatch import names
from modelwatch.config import load_config
from modelwatch.notify.grouping import Policy
from modelwatch.notify.outbox import Outbox
from modelwatch.serve.run import Parts, app_of
from modelwatch.sources.kept import fresh_states
from modelwatch.store.live import Key
from modelwatch.store.reader import LiveReader, Totals
from serve.conftest import CONFIG, House, firing

HERE = (b"host", b"localhost:8080")
RECEIVERS = """
alerting:
  receivers: {team: {webhook: "http://127.0.0.1:9/"}}
  routes: {critical: team, warning: team, info: team}
  deadman: team
"""


def looked_at(house: House) -> int:
    """Return how many minutes were counted for the availability of the service."""
    reader = LiveReader(house.folder / "live.db")
    changes, host = reader.poll()
    reader.close()
    totals = Totals()
    totals.apply(changes, host.schemas)
    table = totals.tallies[Key("sentiment", "1")].tables[names.SLICES.name]
    return sum(int(table.value(row)) for row in table.rows if row[0] == "availability")


def told(house: House, parts: Parts) -> list[str]:
    """Return the names of the alerts that somebody is to be told of."""
    known = Outbox(parts.store.database, Policy.of(load_config(house.folder / "modelwatch.yaml"))).known()
    return [one.alert.name for one in known]


def test_it_shows_and_tells_nobody(house: House) -> None:
    """An alert fires on its pages and in its gauges; no notice is made, no state kept, no action offered."""
    house.write(CONFIG + RECEIVERS)
    parts = house.serve(pages_only=True)
    house.happen(*requests(100, failed=50))
    assert house.rounds(parts, 60, lambda: ("HighErrorRate", "critical") in firing(parts))
    app = app_of(parts)
    shown = call(app, "/alerts", headers=[HERE]).body.decode()
    assert "HighErrorRate" in shown and 'action="/alerts/acknowledge"' not in shown
    assert b'modelwatch_alerts_firing{severity="critical"}' in call(app, "/metrics", headers=[HERE]).body
    assert told(house, parts) == [] and parts.heartbeat is None
    assert fresh_states(load_config(house.folder / "modelwatch.yaml"), house.clock.now) is None


def test_it_stands_in_the_way_of_nobody_who_tells(house: House) -> None:
    """One that tells leads, and keeps its states, although another one shows pages beside; a minute counts once."""
    house.write(CONFIG + RECEIVERS)
    shows = house.serve(pages_only=True)
    house.rounds(shows, 9)
    alone = looked_at(house)
    assert alone >= 2
    tells = house.serve()
    house.happen(*requests(100, failed=50))

    def fires() -> bool:
        shows.evaluator.round()
        return ("HighErrorRate", "critical") in firing(tells)

    began = house.clock.now()
    assert house.rounds(tells, 60, fires)
    assert tells.evaluator.leads and "HighErrorRate" in told(house, tells)
    assert looked_at(house) - alone <= (house.clock.now() - began) / 60 + 1
