"""Reports: what a log of predictions says of quality, drift and data, as one state with three renderings.

from modelwatch.report import report

found = report("logs/*.parquet", "training.parquet", labels="labels.csv")
found.to_dict()                     # the state: docs/report.md has its schema
found.to_html(), found.to_markdown(), found.to_json()
found.fails_on("warning")           # whether something is so bad
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelwatch.report.making import report
    from modelwatch.report.state import Report, report_of

__all__ = ["Report", "report", "report_of"]


def __getattr__(name: str) -> Any:
    """Load what is asked for: the command line starts faster."""
    if name == "report":
        from modelwatch.report.making import report

        return report
    if name in ("Report", "report_of"):
        from modelwatch.report import state

        return getattr(state, name)
    raise AttributeError(name)
