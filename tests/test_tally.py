"""Tallies add: in any order, in any parts, to the last count; what does not fit is refused."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch import names
from modelwatch.errors import DamagedData, NewerFormat, SchemaMismatch
from modelwatch.kernel import Kernel
from modelwatch.schema import ModelSchema
from modelwatch.tally import TableSchema, Tally

SCHEMA = ModelSchema(
    latency=(0.1, 0.5), classes=("a", "b"), numeric={"x": ((0.0, 1.0), (0.0, 1.0)), "y": ((5.0,), (5.0,))}, categorical={"c": ("red",)}
)  # fmt: skip
FLOATS = st.floats(-10, 10, allow_nan=False).map(lambda value: round(value, 3))
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["/p", "/q", None]),
        st.one_of(st.none(), st.floats(0, 3), st.just(float("nan"))),
        st.sampled_from([None, None, "ValueError", "CancelledError"]),
        st.sampled_from([None, "books"]),
        st.sampled_from([None, "a", "b", "new", 3]),
        st.one_of(st.none(), st.floats(0, 1)),
        st.one_of(
            st.none(),
            st.fixed_dictionaries({"x": st.one_of(FLOATS, st.none()), "c": st.sampled_from(["red", "blue", None])}),
        ),
    ),
    max_size=40,
)


def fold(events: list[tuple[Any, ...]], schema: ModelSchema = SCHEMA) -> Tally:
    """Count events."""
    kernel = Kernel(schema)
    if events:
        kernel.fold(events)
    return kernel.tally


def same(left: Tally, right: Tally) -> bool:
    """Compare: counts and nanoseconds exactly, float sums to 1e-12."""
    one, two = left.as_dict(), right.as_dict()
    if one.keys() != two.keys():
        return False
    for name, rows in one.items():
        if rows.keys() != two[name].keys():
            return False
        for labels, (counts, total) in rows.items():
            other_counts, other_total = two[name][labels]
            exact = isinstance(total, int)
            if counts != other_counts or (
                total != other_total if exact else abs(total - other_total) > 1e-12 * max(1, abs(total))
            ):
                return False
    return True


def summed(*tallies: Tally) -> Tally:
    """Add tallies."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


@given(EVENTS, EVENTS, EVENTS)
def test_adding_is_associative_and_commutative(one: Any, two: Any, three: Any) -> None:
    """The order and the grouping of tallies do not matter; an empty one changes nothing."""
    a, b, c = fold(one), fold(two), fold(three)
    assert same(summed(a, b), summed(b, a))
    assert same(summed(summed(a, b), c), summed(a, summed(b, c)))
    assert same(summed(a, SCHEMA.empty()), a)
    assert summed(a, b).minus(b).as_dict()[names.EVENTS.name] == a.as_dict()[names.EVENTS.name] if one else True


@given(EVENTS, st.integers(0, 40))
def test_parts_add_up_to_the_whole(events: Any, at: int) -> None:
    """Folding everything at once is adding the folds of any two parts."""
    assert same(fold(events), summed(fold(events[:at]), fold(events[at:])))


@given(EVENTS)
def test_stored_bytes_come_back(events: Any) -> None:
    """What is dumped and loaded is the same, and adds to the same schema."""
    tally = fold(events)
    again = Tally.load(tally.dump())
    assert again.as_dict() == tally.as_dict()
    assert same(summed(SCHEMA.empty(), again), tally)
    assert Tally.load(again.dump()).as_dict() == again.as_dict()


def test_large_counts_come_back() -> None:
    """Counts beyond 16 and 32 bits, and negative ones, keep their value."""
    for n in (1, 2**16 - 1, 2**16, 2**32, 2**62, -5):
        tally = Tally([TableSchema("n")])
        tally.tables["n"].count((), n)
        assert Tally.load(tally.dump()).tables["n"].value(()) == n


def test_other_edges_are_refused_and_nothing_is_added() -> None:
    """Adding a tally of other edges raises, and changes no table; `add_matching` adds the rest and says what was left."""
    mine, other = (
        fold([("/p", 0.2, None, None, "a", 0.5, None)]),
        fold([("/p", 0.2, None, None, "a", 0.5, None)], ModelSchema(latency=(0.1, 0.9))),
    )
    before = mine.as_dict()
    with pytest.raises(SchemaMismatch, match=names.DURATION.name):
        mine.add(other)
    assert mine.as_dict() == before
    left_out = mine.add_matching(other)
    assert left_out == [names.DURATION.name]
    assert mine.tables[names.REQUESTS.name].value(("/p",)) == 2
    assert mine.tables[names.DURATION.name].total() == 1
    with pytest.raises(SchemaMismatch):
        mine.tables[names.DURATION.name].add(other.tables[names.DURATION.name])


def test_rows_are_matched_by_labels_not_order() -> None:
    """Tables whose rows came in another order add by their labels."""
    one = fold([("/p", 0.2, None, None, "a", None, None), ("/q", 0.3, None, None, "b", None, None)])
    two = fold([("/q", 0.3, None, None, "b", None, None), ("/p", 0.2, None, None, "a", None, None)])
    total = summed(one, two)
    assert total.tables[names.REQUESTS.name].value(("/p",)) == 2
    assert total.tables[names.DURATION.name].as_dict()["/q",] == ([0, 2, 0], 600_000_000)


def test_every_truncation_is_damaged() -> None:
    """Whatever is cut off, the rest is refused, not misread."""
    data = fold([("/p", 0.2, None, "books", "a", 0.5, {"x": 1.0, "c": "red"})] * 10).dump()
    for length in range(len(data)):
        with pytest.raises(DamagedData):
            Tally.load(data[:length])
    with pytest.raises(DamagedData):
        Tally.load(data + b"x")


def test_flipped_bits_are_damaged_or_harmless() -> None:
    """1,000 flips of random bits: refused, or read as what was written."""
    tally = fold([("/p", 0.2, None, "books", "a", 0.5, {"x": 1.0, "c": "red"})] * 10)
    data, chance, refused = tally.dump(), random.Random(1), 0
    for _ in range(1000):
        bad = bytearray(data)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        try:
            assert Tally.load(bytes(bad)).as_dict() == tally.as_dict()
        except (DamagedData, NewerFormat):
            refused += 1
    assert refused > 900


def test_newer_layouts_bombs_and_pickles_are_refused() -> None:
    """A newer layout says so; what inflates to far too much, or is no tally at all, is damaged."""
    newer = b"[99,[]]"
    with pytest.raises(NewerFormat, match="Upgrade"):
        Tally.load(zlib.compress(len(newer).to_bytes(4, "little") + newer))
    with pytest.raises(DamagedData):
        Tally.load(zlib.compress(bytes(300 * 2**20), 1))
    for garbage in (b"", b"\x80\x04N.", zlib.compress(b""), zlib.compress(b"\xff" * 100)):
        with pytest.raises(DamagedData):
            Tally.load(garbage)


def test_schema_comes_back_from_json() -> None:
    """A schema stored as JSON has the same tables and fingerprints."""
    for schema in (SCHEMA, ModelSchema(classes=None, value_edges=(1.0, 2.0)), ModelSchema()):
        again = ModelSchema.from_json(schema.to_json())
        assert again == schema
        assert again.fingerprints == schema.fingerprints
    with pytest.raises(DamagedData):
        ModelSchema.from_json("{}")
