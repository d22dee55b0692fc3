"""Bytes as others may write them: values of every kind, documents with a part replaced, files with bytes changed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from modelwatch.errors import ModelwatchError

TEXTS = st.text(max_size=12) | st.sampled_from(["", "0", "nan", "Infinity", "-1", "1e400", "\x00", "=1+1", "a\nb", "é"])
NUMBERS = st.integers(-3, 3) | st.floats() | st.sampled_from([10**18, 2**63, -(2**63) - 1, 10**400, math.inf, 1e308])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)
_GONE = object()


def _places(tree: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every part of a document is."""
    yield before
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in parts:
        yield from _places(value, (*before, key))


def _put(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value in one place, or without it."""
    if not place:
        return None if value is _GONE else value
    tree = copy.deepcopy(tree)
    within = tree
    for key in place[:-1]:
        within = within[key]
    if value is _GONE:
        del within[place[-1]]
    else:
        within[place[-1]] = value
    return tree


def changed(tree: Any) -> st.SearchStrategy[Any]:
    """Return documents that differ from a sound one in a single place: another value there, or nothing."""
    places = list(_places(tree))
    return st.builds(lambda place, value: _put(tree, place, value), st.sampled_from(places), VALUES | st.just(_GONE))


def torn(data: bytes) -> st.SearchStrategy[bytes]:
    """Return bytes that differ from sound ones: some changed, the end cut off, something put behind."""
    change = st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255))

    def apply(changes: list[tuple[int, int]], end: int, more: bytes) -> bytes:
        made = bytearray(data)
        for at, byte in changes:
            made[at] = byte
        return bytes(made[:end]) + more

    ends = st.just(len(data)) | st.integers(0, len(data))
    return st.builds(apply, st.lists(change, max_size=4), ends, st.just(b"") | st.binary(max_size=8))


def taken(read: Callable[[], Any]) -> Any:
    """Return what is read; None when it is refused, by an error of ours whose lines can be shown.

    Anything else that is raised fails the test.
    """
    try:
        return read()
    except ModelwatchError as error:
        assert str(error).strip()
        assert all(line.isprintable() for line in str(error).split("\n"))
        return None
