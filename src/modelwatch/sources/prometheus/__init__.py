"""Counts from a Prometheus: the same tallies, windows and signals as those of a host, over all its replicas."""

from modelwatch.sources.prometheus.client import Client, PrometheusUnavailable
from modelwatch.sources.prometheus.looks import PrometheusCounts
from modelwatch.sources.prometheus.state import prometheus_state

__all__ = ["Client", "PrometheusCounts", "PrometheusUnavailable", "prometheus_state"]
