"""The period that an objective is about: the last 30 days, or the calendar month or week that is on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal

from modelwatch.slo.burn import DAY_S, PERIOD_S


@dataclass(frozen=True)
class Period:
    """A period of a length that ends now, or a calendar one that began at its first midnight (UTC).

    length_s : of a rolling period, in seconds.
    """

    kind: Literal["rolling", "month", "week"] = "rolling"
    length_s: float = PERIOD_S

    def window(self, now: float) -> tuple[float, float]:
        """Return (seconds since the period began, its whole length in seconds).

        Examples
        --------
        >>> from datetime import datetime, timezone
        >>> noon = datetime(2026, 2, 3, 12, tzinfo=timezone.utc).timestamp()
        >>> since, length = Period("month").window(noon)
        >>> since / 86400, length / 86400
        (2.5, 28.0)
        """
        if self.kind == "rolling":
            return self.length_s, self.length_s
        midnight = datetime.fromtimestamp(now, timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.kind == "week":
            begin = midnight - timedelta(days=midnight.weekday())
            return now - begin.timestamp(), 7 * DAY_S
        begin = midnight.replace(day=1)
        end = (begin + timedelta(days=32)).replace(day=1)
        return now - begin.timestamp(), (end - begin).total_seconds()

    def __str__(self) -> str:
        return f"last {self.length_s / DAY_S:g} days" if self.kind == "rolling" else f"this {self.kind}"
