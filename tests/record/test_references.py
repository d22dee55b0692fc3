"""The profiles of the models on the page that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from modelwatch import Monitor
from modelwatch.record import scrape
from modelwatch.reference import CategoricalProfile, NumericSums, Reference, profile_numeric
from modelwatch.referenceseries import reference_page
from modelwatch.schema import CONFIDENCE_EDGES, FINE_CONFIDENCE_EDGES, ModelSchema

HOSTILE = 'a"b\\n{x}\n%d'


def reference_of(seed: int) -> Reference:
    """Return a profile with a feature of each kind, a hostile name, classes and confidences."""
    chance = np.random.default_rng(seed)
    confidence = NumericSums(np.array(FINE_CONFIDENCE_EDGES))
    confidence.add(chance.uniform(0.4, 1, 1000))
    return Reference(
        {"length": profile_numeric(chance.normal(100, 20, 1000)), HOSTILE: profile_numeric([1.0, 2.0, 2.0, 4.0])},
        {"language": CategoricalProfile({"en": 700, HOSTILE: 300}, {"missing": 250})},
        1000,
        CategoricalProfile({"no": 600, "yes": 400}),
        confidence.profile(CONFIDENCE_EDGES),
    )


def schema_for(reference: Reference) -> ModelSchema:
    """Return a schema that counts on the bins of a profile."""
    numeric = {name: (profile.edges, profile.exported) for name, profile in reference.numeric.items()}
    categorical = {name: tuple(profile.counts) for name, profile in reference.categorical.items()}
    return ModelSchema(classes=("no", "yes"), numeric=numeric, categorical=categorical)


@pytest.fixture
def monitors(tmp_path: Path) -> Iterator[list[Monitor]]:
    """Two models of one process, each with a profile."""
    found = []
    for seed, name in enumerate(("first", HOSTILE)):
        reference = reference_of(seed)
        found.append(Monitor(name, "1", schema_for(reference), live=tmp_path / "live.db", reference=reference))
    found[0].record("/p", 0.1, "yes", 0.9, {"length": 100, HOSTILE: 2, "language": "en"})
    assert found[0].flush(10)
    yield found
    for monitor in found:
        monitor.close()


def samples(page: bytes, *, openmetrics: bool) -> list[Sample]:
    """Return the samples of a page; a family that stands on it twice is a failure."""
    families = list((parse_openmetrics if openmetrics else parse_text)(page.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return [sample for family in families for sample in family.samples]


def series(found: list[Sample], name: str, **labels: str) -> dict[str, float]:
    """Return {last label that is not given: value} of the series of a name."""
    chosen = [s for s in found if s.name == name and labels.items() <= s.labels.items()]
    return {s.labels.get("upper", s.labels.get("le", s.labels.get("category", ""))): s.value for s in chosen}


@pytest.mark.parametrize("openmetrics", [False, True])
def test_reference_is_on_the_page_on_the_bins_that_are_counted(monitors: list[Monitor], openmetrics: bool) -> None:
    """Of both models, under names that are hostile too: each edge of a profile is, as text, one of the histogram."""
    found = samples(monitors[0].metrics(openmetrics=openmetrics), openmetrics=openmetrics)
    for seed, model in enumerate(("first", HOSTILE)):
        reference = reference_of(seed)
        for feature, profile in reference.numeric.items():
            of = {"model_name": model, "model_version": "1", "feature_name": feature}
            cdf, counted = (
                series(found, "ml_feature_reference_cdf", **of),
                series(found, "ml_feature_value_bucket", **of),
            )
            assert list(cdf) == list(counted)
            assert list(cdf.values()) == pytest.approx(np.cumsum(profile.shown_counts) / profile.size)
            assert series(found, "ml_feature_reference_samples", **of) == {"": profile.size}
        assert series(found, "ml_feature_category_reference_share", model_name=model) == {"en": 0.7, HOSTILE: 0.3}
        invalid = {"model_name": model, "feature_name": "language"}
        assert series(found, "ml_feature_reference_invalid_ratio", **invalid) == {"": 0.2}
        cdf = series(found, "ml_prediction_confidence_reference_cdf", model_name=model)
        assert set(cdf) <= set(series(found, "ml_prediction_confidence_bucket", model_name=model))
        assert cdf["+Inf"] == 1


def test_reference_is_made_into_text_once(monitors: list[Monitor], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second scrape uses the bytes of the first; a model that comes later is on the page."""
    made = []

    def counting(profiles: Iterable[tuple[tuple[str, str], Reference]], *, openmetrics: bool = False) -> bytes:
        made.append(openmetrics)
        return reference_page(profiles, openmetrics=openmetrics)

    monkeypatch.setattr(scrape, "reference_page", counting)
    first, _, again = monitors[0].metrics(), monitors[0].metrics(openmetrics=True), monitors[0].metrics()
    assert len(made) == 2
    reference = reference_of(9)
    late = Monitor("late", "1", schema_for(reference), live=monitors[0].worker.path, reference=reference)
    assert b'ml_feature_reference_samples{model_name="late"' in late.metrics()
    assert len(made) == 3
    late.close()
    key = b"ml_feature_reference_cdf"
    assert [line for line in first.splitlines() if key in line] == [line for line in again.splitlines() if key in line]


def test_what_is_counted_on_other_bins_is_not_shown(tmp_path: Path) -> None:
    """A profile whose features, confidence and answers cannot be compared with the counts says nothing of them."""
    reference = reference_of(0)
    schema = ModelSchema(classes=None, numeric={"length": ((1.0, 2.0), (1.0, 2.0))}, threshold=0.7)
    confidence = profile_numeric([0.12, 0.2, 0.33])
    other = Reference(reference.numeric, reference.categorical, 9, reference.prediction, confidence)
    monitor = Monitor("m", "1", schema, live=tmp_path / "live.db", reference=other)
    page = monitor.metrics()
    monitor.close()
    assert b"_reference_" not in page
