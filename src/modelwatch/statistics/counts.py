"""Two histograms side by side: checked, brought onto the same cells, as shares."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from modelwatch.errors import MissingExtra, SchemaMismatch, fault

Floats: TypeAlias = npt.NDArray[np.float64]
#: Counts (or shares, which are counts of an unknown total) per bin, in the order of the bins.
Counts: TypeAlias = "Sequence[float] | npt.NDArray[np.integer | np.floating]"
#: Counts per bin, or per category.
Cells: TypeAlias = "Counts | Mapping[str, float]"


class Pair(NamedTuple):
    """The counts of a reference and of a current window on the same cells.

    keys : number of the bin, or name of the category.
    """

    keys: tuple[Hashable, ...]
    reference: Floats
    current: Floats

    @property
    def totals(self) -> tuple[float, float]:
        """How many values each side holds: (m, n)."""
        return float(self.reference.sum()), float(self.current.sum())

    @property
    def shares(self) -> tuple[Floats, Floats]:
        """Shares of the cells: (q, s); only where both sides hold something."""
        m, n = self.totals
        return self.reference / m, self.current / n


def paired(where: str, reference: Cells, current: Cells, *, ordered: bool = False) -> Pair | None:
    """Return both sides on the same cells; None when either of them holds nothing.

    Of two mappings the cells are the categories of either, those of the reference first.

    Parameters
    ----------
    where : what asks, for the message.
    ordered : the order of the cells means something, so that categories make no sense.

    Raises
    ------
    SchemaMismatch   different numbers of bins, bins against categories, or categories where an order is needed.
    ValueError   a count below 0, or one that is no finite number.
    """
    if isinstance(reference, Mapping) and isinstance(current, Mapping):
        if ordered:
            what = "counts of categories, which have no order"
            raise SchemaMismatch(f"{where}: given {what}; expected counts of bins. Use total_variation for categories.")
        keys = tuple(dict.fromkeys([*reference, *current]))
        pair = Pair(
            keys,
            _checked(where, [reference.get(key, 0) for key in keys]),
            _checked(where, [current.get(key, 0) for key in keys]),
        )
    elif isinstance(reference, Mapping) or isinstance(current, Mapping):
        raise SchemaMismatch(f"{where}: given bins and categories; expected two of a kind. Count both in the same way.")
    else:
        one, other = _checked(where, reference), _checked(where, current)
        if len(one) != len(other):
            given = f"{len(one)} and {len(other)}"
            raise SchemaMismatch(
                f"{where}: numbers of bins are {given}; expected the same. Count both on the same edges."
            )
        pair = Pair(tuple(range(len(one))), one, other)
    return pair if all(pair.totals) else None


def _checked(where: str, counts: Counts) -> Floats:
    values = np.asarray(counts, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        bad = values.shape if values.ndim != 1 else float(values[~(np.isfinite(values) & (values >= 0))][0])
        raise ValueError(fault(where, "a count", bad, "finite numbers from 0 on, one a bin", "Give counts of values."))
    return values


def special(where: str) -> Any:
    """Return `scipy.special`, loaded when it is first needed.

    Raises
    ------
    MissingExtra   SciPy is not installed.
    """
    return _scipy(where, "scipy.special")


def stats(where: str) -> Any:
    """Return `scipy.stats`, which takes longer to load than `scipy.special`.

    Raises
    ------
    MissingExtra   SciPy is not installed.
    """
    return _scipy(where, "scipy.stats")


def _scipy(where: str, module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise MissingExtra(
            f"{where}: a p-value needs SciPy, which is not installed. Run `pip install 'modelwatch[server]'`."
        ) from None
