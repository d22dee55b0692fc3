"""Tallies add: in any order, in any parts, to the last count; what does not fit is refused."""

from __future__ import annotations

import json
import random
import tracemalloc
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


def raw(*heads: Any, layout: Any = 1, numbers: bytes = b"") -> bytes:
    """Return stored bytes with such a head."""
    top = json.dumps([layout, list(heads)]).encode()
    return zlib.compress(len(top).to_bytes(4, "little") + top + numbers)


GOOD_HEAD = ["t", "f", 0, 1, "none", [["a"]]]


@pytest.mark.parametrize(
    "data",
    [
        raw(GOOD_HEAD), raw(GOOD_HEAD, numbers=b"\1"), raw(GOOD_HEAD, numbers=b"\1\0\0"), raw(["t", "f", 0, 1, "ns", [["a"]]], numbers=b"\1\0"),
        raw(["t", "f", 3, 1, "none", [["a"]]], numbers=b"\1\0"), raw(["t", "f", 0, 1, "half", [["a"]]], numbers=b"\1\0"),
        raw(["t", "f", 0, 1, "none", [["a"], ["a"]]], numbers=b"\1\0\1\0"), raw([7, "f", 0, 1, "none", [["a"]]], numbers=b"\1\0"),
        raw(["t", None, 0, 1, "none", [["a"]]], numbers=b"\1\0"), raw(["t", "f", 0, 1, "none", [[1]]], numbers=b"\1\0"),
        raw(["t", "f", 0, 1, "none", [[["a"]]]], numbers=b"\1\0"), raw(["t", "f", 0, 1, "none", [7]], numbers=b"\1\0"),
        raw(["t", "f", 0, -1, "none", [["a"]]], numbers=b"\1\0"), raw(["t", "f", 0, 2**62, "none", [["a"]]], numbers=b"\1\0"),
        raw(["t", "f", 0, "1", "none", [["a"]]], numbers=b"\1\0"), raw(["t", "f", 0, 1, "none"], numbers=b"\1\0"), raw("table"), raw(None), raw(7),
        raw(layout="1"), raw(layout=None), raw(layout=[]), zlib.compress(b"\4\0\0\0null"), zlib.compress(b"\xff\xff\xff\x7f[1,[]]"),
        zlib.compress(b"\0\xc3\0\0" + b"[" * 50_000), zlib.compress(b"\x50\xc3\0\0[" + b"9" * 50_000 + b",[]]"),
    ],
)  # fmt: skip
def test_heads_of_another_form_are_damaged(data: bytes) -> None:
    """Whoever wrote it: wrong types, counts that are too few or left over, rows that stand twice."""
    with pytest.raises(DamagedData, match=r"^tally: \d+ bytes cannot be read .* They are left out of the counts\.$"):
        Tally.load(data)


def test_the_form_of_stored_bytes() -> None:
    """What this version writes is this, byte for byte before it is deflated; a change of it needs another layout."""
    tally = Tally([TableSchema("t", ("l",), 2, "ns"), TableSchema("empty")])
    table = tally.tables["t"]
    row = table.row(("zero",))
    row = table.row(("é",))
    table.counts[row] += (3, 70_000)
    table.sums[row] += 5
    top = json.dumps([1, [["t", table.fingerprint, 1, 2, "ns", [["é"]]]]], separators=(",", ":")).encode()
    numbers = (3).to_bytes(4, "little") + (70_000).to_bytes(4, "little") + (5).to_bytes(8, "little")
    assert zlib.decompress(tally.dump()) == len(top).to_bytes(4, "little") + top + numbers
    assert table.fingerprint == "72e4c4de6e27"
    assert Tally.load(raw(GOOD_HEAD, numbers=b"\1\0")).as_dict() == {"t": {("a",): ([1], 0)}}


def test_heads_that_are_seldom_the_same_are_not_kept() -> None:
    """Two hundred stored minutes, each of a thousand other labels, leave less than 2 MB behind when they are read."""
    schema = TableSchema("n", ("l",))
    stored = []
    for minute in range(200):
        tally = Tally([schema])
        for i in range(1000):
            tally.tables["n"].count((f"label-{minute}-{i}",))
        stored.append(tally.dump())
    tracemalloc.start()
    for data in stored:
        assert Tally.load(data).tables["n"].total() == 1000
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2e6


@given(EVENTS, EVENTS)
def test_what_was_added_can_be_taken_away(one: Any, two: Any) -> None:
    """A window is its end minus its beginning: counts and nanoseconds to the last one."""
    before, both = fold(one), summed(fold(one), fold(two))
    delta = both.minus(before)
    assert same(delta, fold(two))
    assert same(both, summed(fold(one), fold(two)))
    assert all(not table.counts.any() for table in before.minus(before).tables.values())


def test_matching_leaves_other_edges_out() -> None:
    """Tables that are named with another fingerprint go; those that are not named stay."""
    tally = fold([("/p", 0.2, None, None, "a", 0.5, None)])
    other = ModelSchema(latency=(0.1, 0.9)).fingerprints
    kept = tally.matching(other)
    assert tally.tables.keys() - kept.tables.keys() == {names.DURATION.name}
    assert tally.matching({}).tables.keys() == tally.tables.keys()
    assert kept.tables[names.REQUESTS.name] is tally.tables[names.REQUESTS.name]


def test_copies_share_nothing() -> None:
    """Counting, growing, clearing or restoring one leaves the other as it was."""
    tally = fold([("/p", 0.2, None, None, "a", 0.5, {"x": 1.0, "c": "red"})] * 3)
    before = tally.as_dict()
    copy = tally.copy()
    for i in range(20):
        copy.tables[names.REQUESTS.name].count((f"/{i}",))
    copy.add(tally)
    assert tally.as_dict() == before
    copy.clear()
    assert copy.is_empty()
    assert len(copy.tables[names.REQUESTS.name].rows) == 21
    assert not tally.is_empty()
    for name, table in copy.tables.items():
        table.restore(tally.tables[name])
    assert copy.as_dict() == before


def test_a_tally_adds_to_nothing() -> None:
    """The empty tally takes every table over, as its own."""
    tally = fold([("/p", 0.2, None, None, "a", 0.5, {"x": 1.0})])
    total = Tally()
    assert total.is_empty()
    total.add(tally)
    assert total.as_dict() == tally.as_dict()
    total.add(tally)
    assert tally.tables[names.REQUESTS.name].total() == 1
    assert total.tables[names.REQUESTS.name].total() == 2
