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
    from modelwatch.errors import ConfigError as ConfigError
    from modelwatch.errors import ModelwatchError as ModelwatchError
    from modelwatch.record.monitor import Monitor as Monitor
    from modelwatch.record.request import current_request as current_request

__version__ = "0.1.0"
__all__ = ["Config", "ConfigError", "ModelwatchError", "Monitor", "__version__", "current_request", "load_config"]

_WHERE = {
    "Config": "config", "load_config": "config", "ConfigError": "errors", "ModelwatchError": "errors",
    "Monitor": "record.monitor", "current_request": "record.request",
}  # fmt: skip

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: `import modelwatch` itself costs next to nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'modelwatch' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"modelwatch.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
