"""The training-time profile of a model: per feature the edges and counts that production is compared with.

JSON only, no raw rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch.errors import ConfigError, DamagedData, NewerFormat, NotEnoughData

SCHEMA = 1
FINE, EXPORTED = 100, 20  # bins kept and bins exported, the last one open
FEW = 10  # up to this many distinct values, every value is a bin of its own


@dataclass(frozen=True)
class NumericProfile:
    """Bins `(lower, upper]` at the reference's quantiles; the first and the last are open.

    edges : finite upper bounds, strictly increasing, at most 99.
    exported : the at most 19 of them that `/metrics` shows.
    counts : reference values per bin, length len(edges) + 1.
    """

    edges: tuple[float, ...]
    exported: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class CategoricalProfile:
    """Counts of each category in the reference, most frequent first."""

    counts: Mapping[str, int]


@dataclass(frozen=True)
class Reference:
    """The profile of one model; equal profiles have equal `sha256`."""

    numeric: Mapping[str, NumericProfile] = field(default_factory=dict)
    categorical: Mapping[str, CategoricalProfile] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the profile as JSON, with its schema version and hash."""
        body = {name: asdict(p) for name, p in self.numeric.items()}
        categories = {name: dict(p.counts) for name, p in self.categorical.items()}
        content = {"schema": SCHEMA, "numeric": body, "categorical": categories}
        return json.dumps(content | {"sha256": _digest(content)}, indent=1)

    @classmethod
    def from_json(cls, text: str, where: str = "reference.json") -> Reference:
        """Read a profile and check it.

        Raises
        ------
        DamagedData   not JSON, not a profile, or changed by hand.
        NewerFormat   written by a newer version.
        """
        try:
            content = json.loads(text)
            schema, digest = content.pop("schema"), content.pop("sha256")
            if schema > SCHEMA:
                raise NewerFormat(
                    f"{where}: schema is {schema!r}; expected at most {SCHEMA}. Upgrade modelwatch to read it."
                )
            if digest != _digest({"schema": schema, **content}):
                raise DamagedData(f"{where}: the hash does not match its content. Profile the training data again.")
            numeric = {name: _numeric(p) for name, p in content["numeric"].items()}
            categorical = {
                name: CategoricalProfile({str(c): int(n) for c, n in counts.items()})
                for name, counts in content["categorical"].items()
            }
        except (NewerFormat, DamagedData):
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it: it is damaged
            raise DamagedData(f"{where}: not a reference profile ({error}). Profile the training data again.") from None
        return cls(numeric, categorical)

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read a profile from a file; the error names the file and what to do."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"reference: {str(path)!r} cannot be read ({error}). "
                "Write one from the training data, or remove the field."
            ) from None
        return cls.from_json(text, str(path))


def _digest(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _numeric(given: Mapping[str, Any]) -> NumericProfile:
    edges, exported = (tuple(map(float, given[name])) for name in ("edges", "exported"))
    profile = NumericProfile(edges, exported, tuple(map(int, given["counts"])))
    if not all(map(np.isfinite, edges)) or any(b <= a for e in (edges, exported) for a, b in pairwise(e)):
        raise ValueError("edges are not finite and increasing")
    if min(profile.counts, default=0) < 0:
        raise ValueError("counts are below 0")
    if len(edges) >= FINE or len(profile.counts) != len(edges) + 1 or not set(profile.exported) <= set(edges):
        raise ValueError("edges, exported and counts do not fit each other")
    return profile


def profile_numeric(values: Sequence[float] | npt.NDArray[np.float64]) -> NumericProfile:
    """Return the profile of a numeric feature; values that are not finite are left out.

    Up to 10 distinct values get a bin each. A constant gets three bins: below, equal, above.

    Raises
    ------
    NotEnoughData   there is no finite value.
    """
    column = np.sort(np.asarray(values, np.float64))
    column = column[np.isfinite(column)]
    if not len(column):
        raise NotEnoughData(
            "reference: the feature has no finite value; expected at least one. Leave it out of the profile."
        )
    distinct = np.unique(column)
    if len(distinct) == 1:
        fine = exported = np.array([np.nextafter(distinct[0], -np.inf), distinct[0]])
    elif len(distinct) <= FEW:
        fine = exported = distinct[:-1]
    else:
        fine, exported = (_quantile_edges(column, bins) for bins in (FINE, EXPORTED))
        if not len(fine):  # nearly all are the largest value: it keeps a bin of its own
            fine = distinct[-2:-1]
        if not len(exported):
            exported = fine[-1:]
    upto = np.append(column.searchsorted(fine, "right"), len(column))
    counts = np.diff(upto, prepend=0)
    return NumericProfile(tuple(fine.tolist()), tuple(exported.tolist()), tuple(counts.tolist()))


def _quantile_edges(column: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    """Return the distinct values at ranks k n / bins, without the largest value (its bin is the open one)."""
    ranks = -(-np.arange(1, bins) * len(column) // bins) - 1  # exact: every 20th part is a 100th part
    edges: npt.NDArray[np.float64] = np.unique(column[ranks])
    return edges[: edges.searchsorted(column[-1])]
