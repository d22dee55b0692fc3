"""The training-time profile of a model: per feature the edges and counts that production is compared with.

JSON only, no raw rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch.errors import ConfigError, DamagedData, NewerFormat, NotEnoughData

SCHEMA = 2  # 1 had edges and counts only; such profiles are still read
FINE, EXPORTED = 100, 20  # bins kept and bins exported, the last one open
FEW = 10  # up to this many distinct values, every value is a bin of its own
CALIBRATION_BINS = 50  # equal, on [0, 1]
_NEWER = "{where}: schema is {schema!r}; expected at most {known}. Upgrade modelwatch to read it."
_AGAIN = "Profile the training data again."


@dataclass(frozen=True)
class NumericProfile:
    """Bins `(lower, upper]` at the reference's quantiles; the first and the last are open.

    What a profile of schema 1 does not have is empty or None.

    edges : finite upper bounds, strictly increasing, at most 99.
    exported : the at most 19 of them that `/metrics` shows.
    counts : reference values per bin, length len(edges) + 1.
    means : mean of the reference inside each bin; where a bin is empty, the centre of its edges.
    mean, deviation, low, high : of the finite values; the deviation has ddof 0.
    invalid : values in no bin, by reason; those of reason `inf` are in the outer bins, too.
    """

    edges: tuple[float, ...]
    exported: tuple[float, ...]
    counts: tuple[int, ...]
    means: tuple[float, ...] = ()
    mean: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    invalid: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many values are in the bins."""
        return sum(self.counts)

    @property
    def shown_counts(self) -> tuple[int, ...]:
        """Counts per exported bin."""
        ends = [self.edges.index(edge) + 1 for edge in self.exported]
        return tuple(sum(self.counts[i:j]) for i, j in pairwise([0, *ends, len(self.counts)]))


@dataclass(frozen=True)
class CategoricalProfile:
    """Counts of each category in the reference, most frequent first.

    invalid : values that are no category, by reason.
    """

    counts: Mapping[str, int]
    invalid: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many values have a category."""
        return sum(self.counts.values())


Profile = NumericProfile | CategoricalProfile


def invalid_before(profile: Profile | None) -> float:
    """Return the share of a profile's values that were missing or no values; 0 without a profile."""
    if profile is None:
        return 0.0
    invalid = sum(n for reason, n in profile.invalid.items() if reason != "inf")
    return invalid / (invalid + profile.size) if invalid else 0.0


@dataclass(frozen=True)
class Calibration:
    """How often labelled reference predictions were right, by confidence, in 50 equal bins `(lower, upper]` on [0, 1].

    counts, right : predictions with a label, and those of them that were right, per bin.
    confidence : sum of the confidences per bin.
    """

    counts: tuple[int, ...]
    right: tuple[int, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """The profile of one model; equal profiles have equal `sha256`.

    rows : of the training data; 0 when not known.
    prediction : of classes or, for a regression, of values.
    labelled, right : predictions that came with a label, and those of them that were right.
    """

    numeric: Mapping[str, NumericProfile] = field(default_factory=dict)
    categorical: Mapping[str, CategoricalProfile] = field(default_factory=dict)
    rows: int = 0
    prediction: Profile | None = None
    confidence: NumericProfile | None = None
    calibration: Calibration | None = None
    labelled: int = 0
    right: int = 0

    @cached_property
    def sha256(self) -> str:
        """Hash of the content."""
        return _digest(self._content())

    def _content(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "rows": self.rows,
            "numeric": {name: asdict(profile) for name, profile in self.numeric.items()},
            "categorical": {name: _plain(profile) for name, profile in self.categorical.items()},
            "prediction": None if self.prediction is None else _plain(self.prediction),
            "confidence": None if self.confidence is None else _plain(self.confidence),
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "labelled": self.labelled,
            "right": self.right,
        }

    def to_json(self) -> str:
        """Return the profile as JSON, with its schema version and hash."""
        return json.dumps(self._content() | {"sha256": self.sha256}, indent=1)

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
                raise NewerFormat(_NEWER.format(where=where, schema=schema, known=SCHEMA))
            if digest != _digest({"schema": schema, **content}):
                raise DamagedData(f"{where}: the hash does not match its content. {_AGAIN}")
            return _reference(_from_schema_1(content) if schema == 1 else content)
        except (NewerFormat, DamagedData):
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it: it is damaged
            reason = f"field {error} is missing" if isinstance(error, KeyError) else error
            raise DamagedData(f"{where}: not a reference profile ({reason}). {_AGAIN}") from None

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read a profile from a file; the error names the file and what to do."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(
                f"reference: {str(path)!r} cannot be read ({reason}). "
                "Write one with `modelwatch profile DATA -o FILE`, or remove the field."
            ) from None
        return cls.from_json(text, str(path))


def _digest(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(profile: Profile) -> dict[str, Any]:
    if isinstance(profile, NumericProfile):
        return asdict(profile)
    return {"counts": dict(profile.counts), "invalid": dict(profile.invalid)}


def _from_schema_1(content: Mapping[str, Any]) -> dict[str, Any]:
    categorical = {name: {"counts": counts, "invalid": {}} for name, counts in content["categorical"].items()}
    empty: dict[str, Any] = dict.fromkeys(("prediction", "confidence", "calibration"))
    return {"numeric": content["numeric"], "categorical": categorical, "rows": 0, "labelled": 0, "right": 0, **empty}


def _reference(content: Mapping[str, Any]) -> Reference:
    prediction, confidence, calibration = content["prediction"], content["confidence"], content["calibration"]
    if prediction is not None:
        prediction = _numeric(prediction) if "edges" in prediction else _categorical(prediction)
    labelled, right = int(content["labelled"]), int(content["right"])
    if not 0 <= right <= labelled:
        raise ValueError("more labels are right than there are")
    return Reference(
        {name: _numeric(given) for name, given in content["numeric"].items()},
        {name: _categorical(given) for name, given in content["categorical"].items()},
        int(content["rows"]),
        prediction,
        None if confidence is None else _numeric(confidence),
        None if calibration is None else _calibration(calibration),
        labelled,
        right,
    )


def _whole(counts: Mapping[str, Any]) -> dict[str, int]:
    found = {str(name): int(n) for name, n in counts.items()}
    if min(found.values(), default=0) < 0:
        raise ValueError("counts are below 0")
    return found


def _categorical(given: Mapping[str, Any]) -> CategoricalProfile:
    return CategoricalProfile(_whole(given["counts"]), _whole(given["invalid"]))


def _calibration(given: Mapping[str, Any]) -> Calibration:
    counts, right = (tuple(map(int, given[name])) for name in ("counts", "right"))
    confidence = tuple(map(float, given["confidence"]))
    if {len(counts), len(right), len(confidence)} != {CALIBRATION_BINS}:
        raise ValueError(f"calibration has not {CALIBRATION_BINS} bins")
    if not all(0 <= k <= n for k, n in zip(right, counts, strict=True)) or not all(map(np.isfinite, confidence)):
        raise ValueError("calibration has bins with more right than there are")
    return Calibration(counts, right, confidence)


def _numeric(given: Mapping[str, Any]) -> NumericProfile:
    edges, exported = (tuple(map(float, given[name])) for name in ("edges", "exported"))
    moments = {name: given.get(name) for name in ("mean", "deviation", "low", "high")}
    known = {name: float(value) for name, value in moments.items() if value is not None}
    means = tuple(map(float, given.get("means", ())))
    counts = tuple(map(int, given["counts"]))
    profile = NumericProfile(edges, exported, counts, means, **known, invalid=_whole(given.get("invalid", {})))
    if not all(map(np.isfinite, (*edges, *means, *known.values()))):
        raise ValueError("a number is not finite")
    if any(b <= a for e in (edges, exported) for a, b in pairwise(e)):
        raise ValueError("edges are not increasing")
    if min(profile.counts, default=0) < 0:
        raise ValueError("counts are below 0")
    if len(edges) >= FINE or len(profile.counts) != len(edges) + 1 or not set(profile.exported) <= set(edges):
        raise ValueError("edges, exported and counts do not fit each other")
    if means and len(means) != len(profile.counts):
        raise ValueError("means and counts do not fit each other")
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
    kept, exported = quantile_edges(column)
    sums = NumericSums(np.array(kept))
    sums.add(column)
    return sums.profile(exported)


def quantile_edges(column: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (edges kept, edges exported) of a sorted column of finite values.

    Raises
    ------
    NotEnoughData   the column is empty.
    """
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
    return tuple(fine.tolist()), tuple(exported.tolist())


def _quantile_edges(column: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    """Return the distinct values at ranks k n / bins, without the largest value (its bin is the open one)."""
    ranks = -(-np.arange(1, bins) * len(column) // bins) - 1  # exact: every 20th part is a 100th part
    edges: npt.NDArray[np.float64] = np.unique(column[ranks])
    return edges[: edges.searchsorted(column[-1])]


class NumericSums:
    """Counts, sums and moments of a column on fixed edges, a part at a time, in any order.

    The means and the deviation of parts are combined as by Chan, Golub and LeVeque (1983).
    """

    def __init__(self, edges: npt.NDArray[np.float64]) -> None:
        self.edges = edges
        self.counts = np.zeros(len(edges) + 1, np.int64)
        self.sums = np.zeros(len(edges) + 1)
        self.invalid: dict[str, int] = {}
        self.n, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Count values; infinities are in the outer bins and in no sum, NaN must have been taken out."""
        at = self.edges.searchsorted(values, "left")
        self.counts += np.bincount(at, minlength=len(self.counts))
        finite = np.isfinite(values)
        if not finite.all():
            values, at = values[finite], at[finite]
        if not len(values):
            return
        with np.errstate(over="ignore", invalid="ignore"):  # a sum too large to be written is left out below
            self.sums += np.bincount(at, values, len(self.counts))
            n, mean = len(values), float(values.mean())
            apart = mean - self.mean
            self.squares += float(((values - mean) ** 2).sum()) + apart * apart * (self.n * n / (self.n + n))
            self.mean += apart * (n / (self.n + n))
        self.n += n
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def profile(self, exported: tuple[float, ...]) -> NumericProfile:
        """Return the profile; a moment that is no finite number is None."""
        n, squares = self.n, self.squares if self.low < self.high else 0.0
        means = self._means()
        return NumericProfile(
            tuple(self.edges.tolist()),
            exported,
            tuple(self.counts.tolist()),
            tuple(means.tolist()) if np.isfinite(means).all() else (),
            _known(self.mean) if n else None,
            _known(math.sqrt(max(squares, 0.0) / n)) if n and squares == squares else None,
            _known(self.low),
            _known(self.high),
            self.invalid,
        )

    def _means(self) -> npt.NDArray[np.float64]:
        """Return the mean of each bin; of an empty one the centre of its edges, of an outer one its edge."""
        if not len(self.edges):
            return self.sums / np.maximum(self.counts, 1)
        bounds = np.concatenate((self.edges[:1], self.edges, self.edges[-1:]))
        centres = bounds[:-1] / 2 + bounds[1:] / 2
        return np.where(self.counts > 0, self.sums / np.maximum(self.counts, 1), centres)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
