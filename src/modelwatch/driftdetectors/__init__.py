"""The field's best-known drift detectors, each usable alone; judged off the request path."""

from modelwatch.driftdetectors.concept import ConceptDriftDetector
from modelwatch.driftdetectors.data import DataDriftDetector, FeatureDrift
from modelwatch.driftdetectors.judging import DriftAlert

__all__ = ["ConceptDriftDetector", "DataDriftDetector", "DriftAlert", "FeatureDrift"]
