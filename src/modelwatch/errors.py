"""The exceptions of the package: one line each that says where, what was given, what was expected, what to do."""

from __future__ import annotations


class ModelwatchError(Exception):
    """Root of every error that modelwatch raises on purpose."""


class ConfigError(ModelwatchError):
    """The configuration cannot be used. The message begins with the path of the field."""


class SchemaMismatch(ModelwatchError):
    """Two tallies, or a tally and a profile, were counted on different edges or labels."""


class NotEnoughData(ModelwatchError):
    """A number was asked of no data."""


class DamagedData(ModelwatchError):
    """Stored bytes cannot be read back: torn, foreign, or changed."""


class NewerFormat(ModelwatchError):
    """Stored data were written by a newer version. They are left untouched."""


class StoreUnavailable(ModelwatchError):
    """The store of samples and labels cannot be used at the moment. What was asked for was not acknowledged.

    busy : somebody else is writing; trying again soon will do.
    refused : it is there, and will never take these values.
    lasting : it does not pass by itself: somebody must change the address, the file, or who may write it.
    """

    busy = False
    refused = False
    lasting = False


class UnknownLabel(ModelwatchError):
    """A label that the model could never have answered: no class of a classifier, or no number."""


class MissingExtra(ModelwatchError):
    """A command needs an optional dependency that is not installed. The message names the extra."""


def fault(where: str, what: str, given: object, expected: str, remedy: str) -> str:
    """Return the house's one-line error message.

    Examples
    --------
    >>> fault("models.churn.slos.latency.objective", "objective", 99.9, "a ratio between 0 and 1", "Write 0.999.")
    'models.churn.slos.latency.objective: objective is 99.9; expected a ratio between 0 and 1. Write 0.999.'
    """
    return f"{where}: {what} is {given!r}; expected {expected}. {remedy}"
