"""Production monitoring and alerting for machine-learning models.

Three lines instrument a service::

    monitor = modelwatch.Monitor.from_config("modelwatch.yaml", "sentiment_classifier")
    modelwatch.integrations.fastapi.instrument(app, monitor)
    modelwatch.current_request().predicted(label, confidence=score)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelwatch.config import Config as Config
    from modelwatch.config import load_config as load_config
    from modelwatch.driftdetectors import ConceptDriftDetector as ConceptDriftDetector
    from modelwatch.driftdetectors import DataDriftDetector as DataDriftDetector
    from modelwatch.errors import ConfigError as ConfigError
    from modelwatch.errors import ModelwatchError as ModelwatchError
    from modelwatch.record.monitor import Monitor as Monitor
    from modelwatch.record.request import current_request as current_request
    from modelwatch.slotracker import SLOTracker as SLOTracker
    from modelwatch.standalone import LatencyTracker as LatencyTracker
    from modelwatch.standalone import ThroughputMonitor as ThroughputMonitor
    from modelwatch.standalone import monitor_ml_endpoint as monitor_ml_endpoint
    from modelwatch.standalone import track_confidence as track_confidence
    from modelwatch.standalone import track_prediction as track_prediction
    from modelwatch.standalonequality import GroundTruthSampler as GroundTruthSampler
    from modelwatch.standalonequality import SegmentPerformanceTracker as SegmentPerformanceTracker

__version__ = "0.1.0"
__all__ = [
    "ConceptDriftDetector",
    "Config",
    "ConfigError",
    "DataDriftDetector",
    "GroundTruthSampler",
    "LatencyTracker",
    "ModelwatchError",
    "Monitor",
    "SLOTracker",
    "SegmentPerformanceTracker",
    "ThroughputMonitor",
    "__version__",
    "current_request",
    "load_config",
    "monitor_ml_endpoint",
    "track_confidence",
    "track_prediction",
]

_WHERE = {
    **dict.fromkeys(("Config", "load_config"), "config"),
    **dict.fromkeys(("ConceptDriftDetector", "DataDriftDetector"), "driftdetectors"),
    **dict.fromkeys(("ConfigError", "ModelwatchError"), "errors"),
    "Monitor": "record.monitor",
    "SLOTracker": "slotracker",
    "current_request": "record.request",
    **dict.fromkeys(
        ("LatencyTracker", "ThroughputMonitor", "monitor_ml_endpoint", "track_confidence", "track_prediction"),
        "standalone",
    ),
    **dict.fromkeys(("GroundTruthSampler", "SegmentPerformanceTracker"), "standalonequality"),
}

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: `import modelwatch` itself costs next to nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'modelwatch' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"modelwatch.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
