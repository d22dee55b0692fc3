"""What is counted: edges, tables and the rows that exist from the start."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch import names
from modelwatch.errors import DamagedData
from modelwatch.reference import Reference, profile_numeric
from modelwatch.schema import LATENCY_EDGES, MOST_LATENCY_EDGES, ModelSchema, latency_edges, numeric_edges
from modelwatch.tally import Tally

SCHEMA = ModelSchema(
    latency=(0.1, 0.5), threshold=0.65, classes=("a", "b"),
    numeric={"x": ((0.0, 1.0, 2.0), (1.0,)), "y": ((5.0,), (5.0,)), "z": ((), ())}, categorical={"c": ("red", "blue"), "d": ()}, cap=50,
)  # fmt: skip


def test_latency_edges() -> None:
    """The edges of the brief, and five of each objective."""
    assert latency_edges() == LATENCY_EDGES
    assert latency_edges([0.5]) == (0.01, 0.05, 0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
    assert latency_edges([0.3]) == (0.01, 0.05, 0.1, 0.15, 0.21, 0.3, 0.45, 0.5, 0.6, 1.0, 2.0, 5.0, 10.0)


@given(st.lists(st.floats(1e-6, 1e4), max_size=3))
def test_an_objective_is_always_an_edge(thresholds: list[float]) -> None:
    """Whatever its digits: the share of slow requests is exact only there. At most 20, in order."""
    edges = latency_edges(thresholds)
    assert set(thresholds) <= set(edges)
    assert len(edges) <= MOST_LATENCY_EDGES
    assert all(a < b for a, b in pairwise(edges))


def test_tables_are_those_of_the_task() -> None:
    """A classifier has classes, a regression values on edges; without numeric features there is no table of them."""
    classifier, regression = set(SCHEMA.fingerprints), set(ModelSchema(classes=None).fingerprints)
    assert names.PREDICTIONS.name in classifier
    assert names.PREDICTION_VALUE.name not in classifier
    assert names.PREDICTION_VALUE.name in regression
    assert names.PREDICTIONS.name not in regression
    assert names.FEATURE_VALUE.name in classifier
    assert names.FEATURE_VALUE.name not in regression


def test_widths_and_rows_from_the_start() -> None:
    """Known series exist at 0; the widest feature gives the columns of all."""
    tally = SCHEMA.empty()
    assert tally.is_empty()
    tables = tally.tables
    assert {name: table.fingerprint for name, table in tables.items()} == SCHEMA.fingerprints
    assert tables[names.DURATION.name].counts.shape[1] == 3
    assert tables[names.CONFIDENCE.name].counts.shape[1] == 51 + 1 + 1  # 0.65 is an edge of its own
    assert tables[names.FEATURE_VALUE.name].counts.shape[1] == 4
    assert list(tables[names.PREDICTIONS.name].rows) == [("a",), ("b",)]
    assert list(tables[names.LOW_CONFIDENCE.name].rows) == [("0.65",)]
    assert list(tables[names.FEATURE_VALUE.name].rows) == [("x",), ("y",), ("z",)]
    assert list(tables[names.FEATURE_CATEGORY.name].rows) == [("c", "red"), ("c", "blue")]
    reasons = {(f, reason) for f in "xyzcd" for reason in ("missing", "nan", "type", "inf")}
    assert set(tables[names.FEATURE_INVALID.name].rows) == reasons
    for name in (names.EVENTS, names.CONFIDENCE, names.ABANDONED, names.CALLER_FOLDS):
        assert list(tables[name.name].rows) == [()]


FLOATS = st.lists(st.floats(-1e6, 1e6).map(lambda v: v + 0.0), unique=True, max_size=5).map(sorted).map(tuple)
SCHEMAS: st.SearchStrategy[ModelSchema] = st.builds(
    ModelSchema,
    latency=FLOATS.filter(len),
    threshold=st.floats(0, 1),
    classes=st.none() | st.lists(st.text(), max_size=3).map(tuple),
    value_edges=FLOATS.filter(len),
    numeric=st.dictionaries(st.text(max_size=4), FLOATS.map(lambda edges: (edges, edges[::2])), max_size=3),
    categorical=st.dictionaries(st.text(max_size=4), st.lists(st.text(), max_size=3).map(tuple), max_size=3),
    cap=st.integers(1, 5000),
)


@given(SCHEMAS)
def test_json_comes_back_whole(schema: ModelSchema) -> None:
    """A stored schema is equal, and gives the same tables."""
    again = ModelSchema.from_json(schema.to_json())
    assert again == schema
    assert again.fingerprints == schema.fingerprints
    assert again.empty().fingerprints() == schema.empty().fingerprints()


@given(SCHEMAS, SCHEMAS)
def test_tallies_add_when_what_is_counted_is_equal(one: ModelSchema, two: ModelSchema) -> None:
    """Fingerprints are equal where the edges are, and only there."""
    same = one.latency == two.latency
    assert (one.fingerprints[names.DURATION.name] == two.fingerprints[names.DURATION.name]) == same
    assert (one.fingerprints[names.CONFIDENCE.name] == two.fingerprints[names.CONFIDENCE.name]) == (
        one.confidence == two.confidence
    )
    kept = [[(name, edges) for name, (edges, _) in s.numeric.items()] for s in (one, two)]
    feature = [s.fingerprints.get(names.FEATURE_VALUE.name) for s in (one, two)]
    assert (feature[0] == feature[1]) == (kept[0] == kept[1])


def test_equal_edges_have_one_fingerprint() -> None:
    """Whole numbers from a configuration and floats from JSON, or -0.0 and 0.0, are the same edges."""
    whole = ModelSchema(latency=(1, 2), numeric={"x": ((0, 1), (1,))})
    floats = ModelSchema(latency=(1.0, 2.0), numeric={"x": ((-0.0, 1.0), (1.0,))})
    assert whole == floats
    assert whole.fingerprints == floats.fingerprints


def test_what_is_shown_does_not_change_what_is_counted() -> None:
    """Other exported edges, caps, classes and known categories leave the counts comparable."""
    other = dataclasses.replace(
        SCHEMA, numeric={**SCHEMA.numeric, "x": ((0.0, 1.0, 2.0), (2.0,))}, classes=("z",), categorical={}, cap=7
    )
    assert other.fingerprints == SCHEMA.fingerprints


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"numeric": {}}', '{"numeric": {}, "categorical": {}, "unheard_of": 1}', '{"numeric": {"x": 1}, "categorical": {}}']
    + [SCHEMA.to_json()[:cut] for cut in range(0, len(SCHEMA.to_json()), 7)],
)  # fmt: skip
def test_damaged_schemas_are_refused(text: str) -> None:
    """Torn or foreign text is refused with what follows from it, whatever is wrong with it."""
    with pytest.raises(DamagedData, match=r"^schema: .* cannot be read .* Its histograms are not shown\.$"):
        ModelSchema.from_json(text)


def test_features_without_a_profile_have_no_edges() -> None:
    """Then only their invalid values are counted."""
    profile = profile_numeric(range(1000))
    reference = Reference({"x": profile})
    assert numeric_edges(reference, "x") == (profile.edges, profile.exported)
    assert numeric_edges(reference, "y") == numeric_edges(None, "x") == ((), ())


def test_stored_form_is_plain_json() -> None:
    """Other languages can read it: the edges are lists of numbers under the names of the fields."""
    stored: dict[str, Any] = json.loads(SCHEMA.to_json())
    assert set(stored) == {field.name for field in dataclasses.fields(ModelSchema)}
    assert stored["numeric"]["x"] == [[0.0, 1.0, 2.0], [1.0]]


def test_rows_are_the_tallys_own() -> None:
    """Two empty tallies of one schema share nothing."""
    one, two = SCHEMA.empty(), SCHEMA.empty()
    one.tables[names.EVENTS.name].count(())
    assert isinstance(two, Tally)
    assert two.is_empty()
