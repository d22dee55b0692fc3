"""The period that an objective is about: the last 30 days, or the calendar month or week that is on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal, cast

from modelwatch.config import ModelConfig
from modelwatch.configfields import CALENDAR, LONGEST_PERIOD, period_days
from modelwatch.errors import ConfigError, fault
from modelwatch.slo.burn import DAY_S, PERIOD_S


@dataclass(frozen=True)
class Period:
    """A period of a length that ends now, or a calendar one that began at its first midnight (UTC).

    length_s : of a rolling period, in seconds.
    """

    kind: Literal["rolling", "month", "week"] = "rolling"
    length_s: float = PERIOD_S

    @property
    def days_s(self) -> float:
        """Its length for burn rates, in seconds: of a calendar month 30 days, of a week 7."""
        return 7 * DAY_S if self.kind == "week" else self.length_s

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

    @classmethod
    def of(cls, text: str) -> Period:
        """Read a period: "month" or "week", the calendar's, or days that end now, such as "30d" or "7d".

        Raises
        ------
        ConfigError   neither of these, or more than 400 days, which are not kept.

        Examples
        --------
        >>> str(Period.of("28d")), str(Period.of("week"))
        ('last 28 days', 'this week')
        """
        if text in CALENDAR:
            kind = cast("Literal['month', 'week']", text)
            return cls(kind)
        days = period_days(text)
        if days is None:
            expected = f"{', '.join(CALENDAR)}, or 1d to {LONGEST_PERIOD}d"
            raise ConfigError(fault("--period", "period", text, expected, "Write --period 30d."))
        return cls("rolling", days * DAY_S)

    @classmethod
    def of_model(cls, model: ModelConfig) -> Period:
        """Return the period of a model's objectives."""
        return cls.of(model.slos.period)

    def __str__(self) -> str:
        return f"last {self.length_s / DAY_S:g} days" if self.kind == "rolling" else f"this {self.kind}"
