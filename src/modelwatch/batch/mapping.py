"""Which column of a log says what: the configured names, or the usual ones, checked against what is there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from modelwatch.batch.profile import LABELS, RESERVED
from modelwatch.config import ModelConfig
from modelwatch.errors import ConfigError

#: The usual names of the columns of each role, the first that is there is taken.
USUAL = {
    "timestamp": ("timestamp", "ts", "time"),
    "endpoint": ("endpoint",),
    "prediction": ("prediction",),
    "confidence": ("confidence",),
    "label": LABELS,
    "latency": ("duration", "latency"),
    "error": ("error",),
    "segment": ("segment",),
    "request_id": ("request_id",),
}
ROLES = tuple(USUAL)
SHOWN = 20  # columns that a message names


@dataclass(frozen=True)
class Roles:
    """The column of each role, None where there is none; `features` is {feature: column}."""

    timestamp: str | None = None
    endpoint: str | None = None
    prediction: str | None = None
    confidence: str | None = None
    label: str | None = None
    latency: str | None = None
    error: str | None = None
    segment: str | None = None
    request_id: str | None = None
    features: dict[str, str] = field(default_factory=dict)
    time_zone: str = "UTC"
    latency_unit: str = "s"

    def columns(self) -> list[str]:
        """Return every column that is read, each once."""
        named = [column for role in ROLES if (column := getattr(self, role))]
        return list(dict.fromkeys([*named, *self.features.values()]))

    def of(self, there: Collection[str]) -> Roles:
        """Return the roles whose columns are there."""
        kept = {role: None for role in ROLES if getattr(self, role) not in there}
        features = {name: column for name, column in self.features.items() if column in there}
        return replace(self, features=features, **kept)  # type: ignore[arg-type]  # the roles are texts


def roles_of(model: ModelConfig, columns: Sequence[str], where: str, *, labelled: bool = False) -> Roles:
    """Return which of the columns says what.

    Parameters
    ----------
    columns : of the log.
    where : the log, for the message.
    labelled : labels are in a table of their own: those of the log are left alone.

    Raises
    ------
    ConfigError   configured columns, or features of the model, are not there; all of them are named.
    """
    logs, there = model.logs, set(columns)
    wanted: dict[str, str | None] = {role: getattr(logs, role) for role in ROLES}
    if labelled:
        wanted["label"] = None
    usual = {
        **USUAL,
        **({"label": ()} if labelled else {}),
        "segment": (model.segment, "segment") if model.segment else USUAL["segment"],
    }
    found = {role: name or next((one for one in usual[role] if one in there), None) for role, name in wanted.items()}
    features = {name: logs.features.get(name, name) for name in model.features}
    missing = [name for name in (*filter(None, wanted.values()), *features.values()) if name not in there]
    if missing:
        shown = ", ".join(columns[:SHOWN]) + (", …" if len(columns) > SHOWN else "")
        names = ", ".join(dict.fromkeys(missing))
        raise ConfigError(
            f"{where}: columns {names} are not there; expected them among {shown or 'no columns at all'}."
            " Name the columns under logs: in the configuration, or remove what the log does not have."
        )
    return Roles(**found, features=features, time_zone=logs.time_zone, latency_unit=logs.latency_unit)


def spare_columns(columns: Sequence[str], roles: Roles) -> list[str]:
    """Return the columns that no role takes: where nothing is configured, each is a feature."""
    taken = {*roles.columns(), *RESERVED, *LABELS}
    return [name for name in columns if name not in taken]
