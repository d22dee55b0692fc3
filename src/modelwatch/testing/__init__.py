"""For tests of a watched service: faults, deaths, reproducible predictions, and the real programs around it."""

from modelwatch.testing.faults import ClockJump, FakeClock, StuckStore, TornFile
from modelwatch.testing.servers import Prometheus, Service, running_prometheus, running_service

__all__ = [
    "ClockJump",
    "FakeClock",
    "Prometheus",
    "Service",
    "StuckStore",
    "TornFile",
    "running_prometheus",
    "running_service",
]
