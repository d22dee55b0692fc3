"""How the columns of a model's prediction logs are named: the section `logs` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from modelwatch.configfields import FilePath, FrozenMap, Problem, Section, Text, fixed, or_empty, refuse


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise refuse(Problem("the name of a time zone such as UTC or Europe/Berlin", "Write another.")) from None
    return name


class Logs(Section):
    """Where a log says what; None is the usual name of the column, where there is one of that name.

    time_zone : of timestamps that do not say theirs.
    latency_unit : of numbers without a unit.
    features : {feature: column}, of those whose columns are named otherwise.
    labels : a table of labels that came later, joined by `request_id`; its columns are named as here.
    """

    timestamp: Text | None = None
    time_zone: Annotated[Text, AfterValidator(_zone)] = "UTC"
    endpoint: Text | None = None
    prediction: Text | None = None
    confidence: Text | None = None
    label: Text | None = None
    latency: Text | None = None
    latency_unit: Literal["s", "ms", "us", "ns"] = "s"
    error: Text | None = None
    segment: Text | None = None
    request_id: Text | None = None
    features: Annotated[dict[Text, Text], or_empty, fixed] = FrozenMap()
    labels: FilePath | None = None
