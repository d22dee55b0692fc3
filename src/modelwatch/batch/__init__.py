"""Logs and training data of any size, as columns: what a service counts live, counted from files and frames.

One call turns a log into the tallies that the live store would have held:

    from modelwatch.batch import analyze

    found = analyze("logs/*.parquet", model=load_config("modelwatch.yaml").model("churn"), span="hour")
    found.key, found.schema, found.reference      # as the live store has them
    found.total                                   # Tally of all rows
    for start, tally in found.tallies(): ...      # by bucket, in the order of time
    windows = found.windows(now, (3600, 86400))   # store.windows.Windows, as alerts and signals read it
    found.store_rows(), found.changes()           # as rows of live.db, for Windows.apply and Totals.apply

`batch.outcomes` names the tables of labelled predictions that a log has beside those of the live store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelwatch.batch.analysis import Analysis
    from modelwatch.batch.analyzing import analyze

__all__ = ["Analysis", "analyze"]


def __getattr__(name: str) -> Any:
    """Load what is asked for: reading a profile needs none of it."""
    if name == "analyze":
        from modelwatch.batch.analyzing import analyze

        return analyze
    if name == "Analysis":
        from modelwatch.batch.analysis import Analysis

        return Analysis
    raise AttributeError(name)
