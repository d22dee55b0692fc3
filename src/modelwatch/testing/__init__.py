"""For tests of a watched service: faults, deaths, reproducible predictions, and the real programs around it."""

from modelwatch.testing.deaths import Death, KillAt, acknowledge, reached
from modelwatch.testing.faults import ClockJump, FakeClock, StuckStore, TornFile
from modelwatch.testing.forms import PAGERDUTY, SLACK, Form, Said
from modelwatch.testing.postgres import Postgres, running_postgres
from modelwatch.testing.programs import Program
from modelwatch.testing.receivers import HangingSink, Received, Receiver, Snitch, running_receiver
from modelwatch.testing.servers import Prometheus, Service, running_prometheus, running_service
from modelwatch.testing.streams import HOSTILE, stream

__all__ = [
    "HOSTILE",
    "PAGERDUTY",
    "SLACK",
    "ClockJump",
    "Death",
    "FakeClock",
    "Form",
    "HangingSink",
    "KillAt",
    "Postgres",
    "Program",
    "Prometheus",
    "Received",
    "Receiver",
    "Said",
    "Service",
    "Snitch",
    "StuckStore",
    "TornFile",
    "acknowledge",
    "reached",
    "running_postgres",
    "running_prometheus",
    "running_receiver",
    "running_service",
    "stream",
]
