"""Back-tests: which alerts a log of predictions would have raised, which incidents they find, and what thresholds cost.

from modelwatch.backtest import backtest

found = backtest("logs/*.parquet", load_config("modelwatch.yaml"))
found.told, found.pages_a_month, found.incidents, found.to_dict()
"""

from modelwatch.backtest.backtesting import backtest
from modelwatch.backtest.incidents import Incident, read_incidents
from modelwatch.backtest.result import Backtest

__all__ = ["Backtest", "Incident", "backtest", "read_incidents"]
