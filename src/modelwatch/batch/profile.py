"""`modelwatch profile`: the reference profile of training data, from files of any size or from a DataFrame."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelwatch.batch.columns import Kind, Part, as_list
from modelwatch.batch.reading import Source, open_source
from modelwatch.batch.scan import CATEGORIES, Scan, sample_size
from modelwatch.batch.show import describe
from modelwatch.errors import ConfigError, NotEnoughData
from modelwatch.labels import is_missing, label_text
from modelwatch.reference import CALIBRATION_BINS, Calibration, NumericProfile, Profile, Reference
from modelwatch.schema import CONFIDENCE_EDGES, FINE_CONFIDENCE_EDGES

SMALL = 5_000  # rows; below, changes of a tenth are hardly told from chance
FEW_CLASSES = 50  # whole numbers of up to so many values are classes
LABELS = ("label", "true_label")
RESERVED = ("endpoint", "error", "segment", "duration", "request_id", "timestamp")  # of a log of requests: no features
EVERY_S = 1.0
Say = Callable[[str], None]


class Profiled(NamedTuple):
    """A profile, and what to know about the data it is of: one sentence each."""

    reference: Reference
    notes: list[str]


@dataclass(frozen=True)
class Roles:
    """Which columns are what.

    prediction, confidence, label : None where there is no such column.
    kinds : of the columns whose kind is given.
    """

    prediction: str | None
    confidence: str | None
    label: str | None
    features: tuple[str, ...]
    kinds: Mapping[str, Kind]


def profile(
    data: Any,
    *,
    numeric: Collection[str] = (),
    categorical: Collection[str] = (),
    ignore: Collection[str] = (),
    prediction: str | None = None,
    confidence: str | None = None,
    label: str | None = None,
    say: Say | None = None,
) -> Profiled:
    """Return the reference profile of training data.

    Counts, shares and moments are exact; memory does not grow with the rows, since the data are read twice.

    Parameters
    ----------
    data : path of a CSV or parquet file, pandas DataFrame, Arrow table, or dict of arrays.
    numeric, categorical : columns whose kind is given; that of the others is inferred.
    ignore : columns that are no features.
    prediction, confidence, label : names of these columns; without, those of these very names (or `true_label`).
    say : called about once a second with a line on the progress.

    Raises
    ------
    ConfigError   the data cannot be read, or have no column of a given name.
    NotEnoughData   there are no rows, or nothing that can be profiled.
    MissingExtra   files need pyarrow.

    Examples
    --------
    >>> reference, notes = profile({"length": [3, 4, 4, 8], "language": ["en", "en", "de", None]})
    >>> reference.numeric["length"].mean, reference.categorical["language"].counts
    (4.75, {'en': 2, 'de': 1})
    """
    source = open_source(data)
    roles = _roles(source, numeric, categorical, ignore, {"prediction": prediction, "confidence": confidence,
                                                          "label": label})  # fmt: skip
    names = [*roles.features, *filter(None, (roles.prediction, roles.confidence))]
    scans = {name: Scan(name, sample_size(len(names)), roles.kinds.get(name)) for name in names}
    classes = Scan(roles.prediction or "", 1, "categorical")
    outcomes, rows = _Outcomes(roles), 0
    for part in _progress(source, 1, say):
        rows += len(next(iter(part.values())))
        for name, scan in scans.items():
            scan.add(part[name])
        if roles.prediction is not None:
            classes.add(part[roles.prediction])
        outcomes.add(part)
    if not rows:
        raise NotEnoughData(f"{source.name}: has no rows; expected the training data. Give a file with values.")
    if roles.prediction is not None and roles.prediction not in roles.kinds and _are_classes(classes):
        scans[roles.prediction] = classes
    notes, profiles = _second_pass(source, scans, roles, say)
    if rows < SMALL:
        few = f"only {rows} row{'s' * (rows > 1)}"
        notes.append(f"{few}: small drifts cannot be told from chance; give {SMALL} or more")
    return Profiled(_assembled(profiles, roles, rows, outcomes), notes)


def _roles(
    source: Source,
    numeric: Collection[str],
    categorical: Collection[str],
    ignore: Collection[str],
    given: Mapping[str, str | None],
) -> Roles:
    for name in (*numeric, *categorical, *ignore, *filter(None, given.values())):
        if name not in source.columns:
            shown = ", ".join(source.columns[:20])
            raise ConfigError(f"{source.name}: column is {name!r}; expected one of {shown}. Name one that is there.")
    for name in numeric:
        if name in categorical:
            raise ConfigError(f"{source.name}: {name!r} is given as numeric and as categorical; expected one. Choose.")
    chosen = {role: name or (role if role in source.columns else None) for role, name in given.items()}
    if chosen["label"] is None:
        chosen["label"] = next((name for name in LABELS if name in source.columns), None)
    chosen = {role: None if name in ignore else name for role, name in chosen.items()}
    spare = {*ignore, *filter(None, chosen.values()), *(set(RESERVED) - {*numeric, *categorical})}
    kinds: dict[str, Kind] = {**dict.fromkeys(numeric, "numeric"), **dict.fromkeys(categorical, "categorical")}
    if chosen["confidence"] is not None:
        kinds[chosen["confidence"]] = "numeric"
    features = tuple(name for name in source.columns if name not in spare)
    return Roles(chosen["prediction"], chosen["confidence"], chosen["label"], features, kinds)


def _are_classes(found: Scan) -> bool:
    """Tell classes from values: texts, or few whole numbers."""
    try:
        whole = all(float(text).is_integer() for text in found.categories)
    except ValueError:  # texts
        return True
    return whole and len(found.categories) <= FEW_CLASSES


def _progress(source: Source, turn: int, say: Say | None) -> Iterator[Mapping[str, Part]]:
    """Yield the parts; tell of them about once a second."""
    rows, last = 0, time.monotonic()
    for part in source.parts():
        yield part
        rows += len(next(iter(part.values())))
        if say is not None and time.monotonic() - last >= EVERY_S:
            share = f" of {source.rows} ({100 * rows // source.rows} %)" if source.rows else ""
            say(f"{source.name}: pass {turn} of 2, {rows} rows{share}")
            last = time.monotonic()


def _second_pass(
    source: Source, scans: Mapping[str, Scan], roles: Roles, say: Say | None
) -> tuple[list[str], dict[str, Profile]]:
    """Return (what to know about the columns, the profiles of those that have one)."""
    notes, kept = [], {}
    for name, scan in scans.items():
        reason = _left_out(scan)
        if reason:
            notes.append(f"{name}: left out: {reason}")
            continue
        kept[name] = scan
        if scan.kind == "numeric":
            is_confidence = name == roles.confidence
            scan.fix_edges(*((FINE_CONFIDENCE_EDGES, CONFIDENCE_EDGES) if is_confidence else ()))
    if not kept:
        why = f" ({'; '.join(notes)[:300]})" if notes else ""
        raise NotEnoughData(
            f"{source.name}: no column can be profiled{why}; expected numbers or categories. Give the training data."
        )
    numeric = [scan for scan in kept.values() if scan.kind == "numeric"]
    if numeric:
        for part in _progress(source, 2, say):
            for scan in numeric:
                scan.count(part[scan.name])
    profiles = {name: scan.profile() for name, scan in kept.items()}
    notes += [note for name, scan in kept.items() if (note := _oddity(scan, profiles[name]))]
    return notes, profiles


def _left_out(scan: Scan) -> str:
    if scan.kind == "other":
        return f"its values are of type {scan.type}, which is neither numbers nor categories"
    if scan.kind is None or not scan.has_values:
        wrong = {reason: n for reason, n in scan.invalid.items() if reason != "missing"}
        return f"it has no value that is {'a number' if scan.kind == 'numeric' else 'there'}{_counted(wrong)}"
    if scan.is_huge and not scan.chosen:
        return f"it has more than {CATEGORIES} categories, as identifiers have; name it categorical to keep it"
    return ""


def _oddity(scan: Scan, found: Profile) -> str:
    """Return what is odd about a column that is profiled; empty for most."""
    wrong = scan.invalid.get("type", 0)
    words = []
    if wrong:
        kind = "no number" if scan.kind == "numeric" else "no category"
        words.append(f"{wrong} of {wrong + found.size} values are {kind}")
    if isinstance(found, NumericProfile) and found.low is not None and found.low == found.high:
        words.append(f"all values are {found.low:g}")
    elif not isinstance(found, NumericProfile) and len(found.counts) == 1:
        words.append("all values are the same category")
    if scan.is_huge:
        words.append(f"the rarest of more than {CATEGORIES} categories are one")
    return f"{scan.name}: {'; '.join(words)}" if words else ""


def _counted(reasons: Mapping[str, int]) -> str:
    return "".join(f", {n} of reason {reason}" for reason, n in sorted(reasons.items()))


# -- labels ------------------------------------------------------------------------------------------------------------


class _Outcomes:
    """Right and wrong predictions, by confidence, where there are labels."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self.labelled = self.right = 0
        self.counts = np.zeros(CALIBRATION_BINS, np.int64)
        self.hits = np.zeros(CALIBRATION_BINS, np.int64)
        self.sums = np.zeros(CALIBRATION_BINS)

    def add(self, part: Mapping[str, Part]) -> None:
        """Compare the labels of a part with its predictions."""
        roles = self._roles
        if roles.label is None or roles.prediction is None:
            return
        labels, predictions = as_list(part[roles.label]), as_list(part[roles.prediction])
        confidences = as_list(part[roles.confidence]) if roles.confidence else [None] * len(labels)
        for label, prediction, confidence in zip(labels, predictions, confidences, strict=True):
            one, other = class_text(label), class_text(prediction)
            if one is None or other is None:
                continue
            right = one == other
            self.labelled += 1
            self.right += right
            share = _share(confidence)
            if share is not None:
                at = max(math.ceil(round(share * CALIBRATION_BINS, 9)) - 1, 0)
                self.counts[at] += 1
                self.hits[at] += right
                self.sums[at] += share

    @property
    def calibration(self) -> Calibration | None:
        """The calibration, where labelled predictions came with a confidence."""
        if not self.counts.any():
            return None
        return Calibration(tuple(self.counts.tolist()), tuple(self.hits.tolist()), tuple(self.sums.tolist()))


def class_text(value: Any) -> str | None:
    """Return the class that a label or a prediction names; 1 and 1.0 are one, and what is missing is None."""
    if is_missing(value):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    text, refused = label_text(value)
    return None if refused else text


def _share(value: Any) -> float | None:
    try:
        share = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return share if 0 <= share <= 1 else None


def _assembled(profiles: Mapping[str, Profile], roles: Roles, rows: int, outcomes: _Outcomes) -> Reference:
    features = {name: profiles[name] for name in roles.features if name in profiles}
    prediction = profiles.get(roles.prediction or "")
    confidence = profiles.get(roles.confidence or "")
    is_value = isinstance(prediction, NumericProfile)
    return Reference(
        {name: found for name, found in features.items() if isinstance(found, NumericProfile)},
        {name: found for name, found in features.items() if not isinstance(found, NumericProfile)},
        rows,
        prediction,
        confidence if isinstance(confidence, NumericProfile) else None,
        None if is_value else outcomes.calibration,
        0 if is_value else outcomes.labelled,
        0 if is_value else outcomes.right,
    )


# -- the command -------------------------------------------------------------------------------------------------------


def write_profile(reference: Reference, path: Path) -> None:
    """Write a profile so that a reader sees the old file or the new one.

    Raises
    ------
    ConfigError   the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(reference.to_json(), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # of a path that leads through a file
            draft.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written ({error.strerror}). Name a file in a folder of yours.") from None


def profile_command(
    data: Path, output: Path | None, *, show: bool = False, say: Say | None = None, **columns: Any
) -> Iterator[str]:
    """Do what `modelwatch profile` does; yield the lines that it prints.

    Parameters
    ----------
    data : training data, or with `show` a profile.
    output : the profile to write; None with `show` only.
    columns : as `profile` takes them.
    """
    if output is None and not show:
        raise ConfigError("profile: output is not given; expected a file. Add -o reference.json, or --show.")
    if data.suffix == ".json" and output is None:
        yield from describe(Reference.load(data))
        return
    reference, notes = profile(str(data), say=say, **columns)
    yield from notes
    if output is not None:
        write_profile(reference, output)
    if show:
        yield from describe(reference)
    if output is not None:
        features = len(reference.numeric) + len(reference.categorical)
        yield f"{output}: {features} features of {reference.rows} rows, sha256 {reference.sha256[:12]}"
