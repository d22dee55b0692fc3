"""The drift of a log against training data by a peer, run in its own environment: prints its CPU seconds as JSON.

Reading the two files is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import pandas as pd


def nannyml(training: pd.DataFrame, log: pd.DataFrame) -> Callable[[], Any]:
    """Univariate drift of every column by its default methods, fitted to the training data first."""
    import nannyml as nml

    calculator = nml.UnivariateDriftCalculator(column_names=list(log.columns))
    return lambda: calculator.fit(training).calculate(log)


def evidently(training: pd.DataFrame, log: pd.DataFrame) -> Callable[[], Any]:
    """The preset of data drift, with its own choice of tests."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    return lambda: Report([DataDriftPreset()]).run(log, training)


def whylogs(training: pd.DataFrame, log: pd.DataFrame) -> Callable[[], Any]:
    """A profile of each of the two tables."""
    import whylogs as why

    return lambda: [why.log(table).view() for table in (training, log)]


def main() -> None:
    """Do what the command line says: the peer, the training data, the log."""
    peer, training, log = sys.argv[1:]
    with redirect_stdout(sys.stderr):
        run = {"nannyml": nannyml, "evidently": evidently, "whylogs": whylogs}[peer](
            pd.read_parquet(training), pd.read_parquet(log)
        )
        begin = time.process_time()
        run()
        seconds = time.process_time() - begin
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
