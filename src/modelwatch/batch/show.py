"""A reference profile in words, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelwatch.reference import CategoricalProfile, NumericProfile, Profile, Reference

MOST = 5  # categories shown


def describe(reference: Reference) -> list[str]:
    """Return the lines of `modelwatch profile --show`.

    Examples
    --------
    >>> from modelwatch.reference import profile_numeric
    >>> print(describe(Reference({"length": profile_numeric([1, 2, 2, 3])}, rows=4))[1])
    length  numeric  4 values  3 bins  1 … 3  mean 2, sd 0.707107
    """
    rows = f"{reference.rows} rows" if reference.rows else "an older profile, which does not know its rows"
    lines = [f"{rows}, {len(reference.numeric)} numeric and {len(reference.categorical)} categorical features"]
    features: Mapping[str, Profile] = {**reference.numeric, **reference.categorical}
    answers = {"(prediction)": reference.prediction, "(confidence)": reference.confidence}
    shown = {**features, **{name: found for name, found in answers.items() if found is not None}}
    table = [[name, *_cells(found)] for name, found in shown.items()]
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in table), strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    if reference.labelled:
        share = reference.right / reference.labelled
        lines.append(f"accuracy {share:.1%} ({reference.right} of {reference.labelled} labelled rows)")
    if reference.calibration is not None:
        counts, right = np.array(reference.calibration.counts), np.array(reference.calibration.right)
        error = float(np.abs(right - reference.calibration.confidence).sum()) / counts.sum()
        lines.append(f"calibration error {error:.3f} over {int((counts > 0).sum())} bins that have labels")
    lines.append(f"sha256 {reference.sha256}")
    return lines


def _cells(found: Profile) -> list[str]:
    invalid = sum(n for reason, n in found.invalid.items() if reason != "inf")
    share = f"  {invalid / (invalid + found.size):.1%} invalid" if invalid else ""
    if isinstance(found, CategoricalProfile):
        first = [f"{_text(name)} {n / found.size:.0%}" for name, n in list(found.counts.items())[:MOST]]
        more = [f"and {len(found.counts) - MOST} more"] if len(found.counts) > MOST else []
        words = ", ".join([*first, *more])
        return ["categorical", f"{found.size} values", f"{len(found.counts)} categories", words + share]
    return ["numeric", f"{found.size} values", f"{len(found.counts)} bins", _numeric(found) + share]


def _numeric(found: NumericProfile) -> str:
    words = [f"{found.low:.6g} … {found.high:.6g}"] if found.low is not None else []
    if found.mean is not None and found.deviation is not None:
        words.append(f"mean {found.mean:.6g}, sd {found.deviation:.6g}")
    if not words and found.edges:
        words.append(f"edges {found.edges[0]:.6g} … {found.edges[-1]:.6g}")
    return "  ".join(words)


def _text(value: Any) -> str:
    return repr(value) if not str(value).isprintable() or value != str(value).strip() or not value else str(value)
