"""Reports: the same state in three renderings, numbers equal to SciPy's and scikit-learn's, safe and small."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from modelwatch.batch import analyze
from modelwatch.errors import ConfigError
from modelwatch.report import Report, report, report_of
from report import reported

HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'; DROP TABLE x; --", "{{ 7*7 }}", "</style><b>",
    "\u202egnp.exe", "|a|b|", "[x](javascript:alert(1))",
]  # fmt: skip


@pytest.fixture(scope="module")
def week() -> Report:
    """The report on a week in which a feature goes wrong, by a configuration."""
    training = reported.rows(8000, 2, broken=False)
    return report(reported.rows(8000), training, model=reported.model())


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema of the JSON."""
    found: dict[str, Any] = json.loads(files("modelwatch.report").joinpath("schema.json").read_text("utf-8"))
    return found


class Page(HTMLParser):
    """Collects what a document would do: its tags, the addresses it names, its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one tag."""
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "srcset", "poster", "xlink:href"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "id":
                self.ids.add(value or "")


def hostile() -> dict[str, Any]:
    """Return a log whose every name and text is hostile."""
    random = np.random.default_rng(3)
    n = 3000
    names = random.choice(HOSTILE, n).tolist()
    return {
        "timestamp": reported.MONDAY + np.sort(random.random(n)) * 86_400 * 3,
        "prediction": random.choice(HOSTILE[:4], n).tolist(),
        "label": random.choice(HOSTILE[:4], n).tolist(),
        "segment": names,
        "error": random.choice(HOSTILE, n).tolist(),
        **{name: random.random(n).tolist() for name in HOSTILE[:6]},
        HOSTILE[6]: names,
    }


# -- one state ---------------------------------------------------------------------------------------------------------


def test_the_state_is_what_the_schema_says(week: Report, schema: dict[str, Any]) -> None:
    """A full report, one without anything, one of a regression, and a hostile one fit the schema, which knows all."""
    n = 200
    values = {"prediction": np.linspace(0, 1, n), "label": np.linspace(0, 1.1, n), "x": np.arange(n, dtype=float)}
    bare = report({"x": [1.0]})
    for found in (week, bare, report(values, {"x": np.arange(50.0)}), report(hostile(), hostile())):
        jsonschema.validate(json.loads(found.to_json()), schema)
        assert json.loads(found.to_json()) == found.to_dict()


def test_the_analysis_has_the_same_report() -> None:
    """`analyze` gives the report on its counts; without raw values KS is a bracket that holds the exact one."""
    log, training = reported.rows(3000), reported.rows(3000, 2, broken=False)
    found = analyze(log, training, model=reported.model(), span="hour")
    assert found.to_dict() == report_of(found).to_dict()
    assert found.to_html().startswith("<!doctype html>")
    assert found.to_markdown().startswith("# ")
    told = found.to_dict()["features"]["price"]["ks"]
    exact = stats.ks_2samp(training["price"], log["price"]).statistic
    assert not told["exact"]
    assert told["low"] <= exact <= told["high"]


def test_numbers_are_those_of_scipy(week: Report) -> None:
    """KS, its p-value and chi-square of a report equal SciPy's on the raw values."""
    log, training = reported.rows(8000), reported.rows(8000, 2, broken=False)
    for name in ("price", "age_days"):
        told = week.state["features"][name]["ks"]
        found = stats.ks_2samp(training[name], log[name], method="asymp")
        assert told["exact"]
        assert told["statistic"] == pytest.approx(found.statistic, abs=1e-12)
        assert told["p_value"] == pytest.approx(found.pvalue, rel=1e-9)
    known = ["de", "fr", "pl", "it"]
    table = [[int((side["country"] == name).sum()) for name in known] for side in (training, log)]
    told = week.state["features"]["country"]["chi_square"]
    found = stats.chi2_contingency(table)
    assert (told["statistic"], told["p_value"]) == (pytest.approx(found.statistic), pytest.approx(found.pvalue))


def test_quality_is_that_of_scikit_learn(week: Report) -> None:
    """Accuracy, precision, recall, F1 and the matrix equal scikit-learn's on the labelled rows."""
    log = reported.rows(8000)
    every = np.array([label is not None for label in log["label"]])
    truth, predicted = log["label"][every].astype(str), log["prediction"][every].astype(str)
    view = week.state["quality"]["view"]
    assert view["n"] == every.sum()
    assert view["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    classes = ["keep", "return"]
    found = metrics.precision_recall_fscore_support(truth, predicted, labels=classes)
    for i, one in enumerate(view["confusion"]["quality"]["classes"]):
        assert [one["precision"], one["recall"], one["f1"], one["support"]] == pytest.approx([col[i] for col in found])
    assert view["confusion"]["counts"] == metrics.confusion_matrix(truth, predicted, labels=classes).tolist()
    by_country = {one["name"]: one for one in view["segments"]}
    mine = log["country"][every] == "it"
    assert by_country["it"]["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(truth[mine], predicted[mine]))


def test_regression_is_that_of_scikit_learn() -> None:
    """MAE, RMSE and R² equal scikit-learn's; the bias is truth less prediction."""
    random = np.random.default_rng(5)
    truth = random.normal(100, 20, 500)
    predicted = truth * 0.9 + random.normal(0, 5, 500)
    found = report({"prediction": predicted, "label": truth}).state["quality"]["view"]["regression"]
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert found["rmse"] == pytest.approx(metrics.mean_squared_error(truth, predicted) ** 0.5)
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, predicted))
    assert found["bias"] == pytest.approx((truth - predicted).mean())


def test_what_went_wrong_is_found(week: Report) -> None:
    """Prices in cents, lost weights, a new channel, bad accuracy and errors are found, each with its severity."""
    found = {(one["what"], one["name"]): one["severity"] for one in week.state["findings"]}
    assert found["accuracy", ""] == "warning"
    assert found["missing", "weight"] == "warning"
    assert found["drift", "price"] == "info"
    assert found["unlike", "channel"] == "info"
    assert found["unlike", "price"] == "info"
    assert ("drift", "age_days") not in found
    assert week.state["verdict"]["state"] == "warning"
    assert week.fails_on("warning")
    assert not week.fails_on("critical")
    slos = {one["slo"]: one for one in week.state["slos"]}
    assert slos["accuracy"]["state"] == "broken"
    assert len(slos["error_rate"]["by_day"]) == 7
    assert sum(slos["error_rate"]["by_day"][5:]) > 3 * sum(slos["error_rate"]["by_day"][:4])
    drift = week.state["history"]["drift"]["price"]
    third = len(drift) // 3
    assert max(drift[:third]) < min(drift[-third:])


def test_requests_are_counted(week: Report) -> None:
    """Rate, errors and latency are those of the rows."""
    log = reported.rows(8000)
    asked = week.state["requests"]
    failed = sum(one is not None for one in log["error"])
    assert asked["count"] == 8000
    assert (asked["failed"], asked["errors"]) == (failed, {"TimeoutError": failed})
    assert asked["per_second"] == pytest.approx(8000 / reported.WEEK_S, rel=0.02)
    assert asked["latency"]["slow_share"] == pytest.approx((log["duration"] > 0.25).mean(), abs=1e-9)
    assert asked["latency"]["p95_s"] == pytest.approx(np.quantile(log["duration"], 0.95), rel=0.15)


def test_severe_drift_is_critical() -> None:
    """Drift beyond the critical threshold fails a pipeline that asks for critical; none does where nothing moved."""
    random = np.random.default_rng(7)
    training = {"x": random.normal(0, 1, 5000)}
    moved = report({"x": random.normal(1, 1, 5000)}, training)
    assert moved.state["features"]["x"]["level"] == "severe"
    assert moved.fails_on("critical")
    still = report({"x": random.normal(0, 1, 5000)}, training)
    assert still.state["verdict"]["state"] == "ok"
    assert not still.fails_on("info")


# -- renderings --------------------------------------------------------------------------------------------------------


def test_hostile_names_stay_text() -> None:
    """Whatever the names in the data, the document has no script, no foreign tag, no handler and no address."""
    found = report(hostile(), hostile())
    text = found.to_html()
    page = Page(text)
    assert page.handlers == []
    assert not {"script", "img", "iframe", "object", "form"} & set(page.tags)
    assert page.tags.count("style") == 1
    assert all(address.startswith(("#", "data:image/svg+xml")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= page.ids
    assert "alert(1)" in text
    assert "\u202e" not in text
    markdown = found.to_markdown()
    assert "<script>" not in markdown.replace("\\<", "")
    assert "](javascript" not in markdown


def test_the_document_needs_nothing_else(week: Report) -> None:
    """It names no address, forbids all requests itself, and has a card of each part."""
    text = week.to_html()
    assert "default-src 'none'" in text
    assert all(a.startswith(("#", "data:image/svg+xml")) for a in Page(text).addresses)
    assert "url(http" not in text
    assert "@import" not in text
    for card in ("What was found", "Over time", "Drift of each feature", "Accuracy by country", "Confusion matrix",
                 "Calibration", "Data quality", "Error budgets"):  # fmt: skip
        assert card in text


def test_renderings_say_the_same(week: Report) -> None:
    """The verdict and the score of each feature are in Markdown and HTML as in the JSON."""
    html, markdown = week.to_html(), week.to_markdown()
    assert week.state["verdict"]["words"] in html
    assert week.state["verdict"]["words"] in markdown
    for name, one in week.state["features"].items():
        assert f"{one['score']:.2f}" in html
        assert name.replace("_", "\\_") in markdown
        assert f"{one['score']:.3f}" in markdown


def test_its_size_does_not_depend_on_the_rows() -> None:
    """A hundred times the rows make no larger document; JSON grows by digits only."""
    small, large = (
        report(reported.rows(n), reported.rows(n, 2, broken=False), model=reported.model(), span="hour")
        for n in (1000, 100_000)
    )
    assert len(large.to_html()) < 1.25 * len(small.to_html())
    assert len(large.to_html()) < 300_000
    assert len(large.to_json()) < 1.25 * len(small.to_json())


def test_a_wide_log_stays_small() -> None:
    """A thousand features make a document below a megabyte, whose tables say how many are not shown."""
    random = np.random.default_rng(11)
    log = {f"f{i}": random.random(300) for i in range(1000)}
    found = report(log, {name: random.random(300) for name in log})
    text = found.to_html()
    assert len(text) < 1_000_000
    assert "more are not shown" in text
    assert len(found.state["features"]) == 1000


# -- what is odd -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "state"),
    [
        ({"x": [1.0]}, "cannot_tell"),
        ({"x": np.zeros(0)}, "cannot_tell"),
        ({"x": [None, None, None]}, "cannot_tell"),
        ({"prediction": ["a"] * 40, "label": ["a"] * 40}, "ok"),
        ({"timestamp": [None] * 3, "x": [1.0, 2.0, 3.0]}, "cannot_tell"),
    ],
)
def test_odd_logs_are_reported(log: dict[str, Any], state: str) -> None:
    """Empty logs, single rows, columns of nulls and rows without times give a report that says what it cannot tell."""
    found = report(log)
    assert found.state["verdict"]["state"] == state
    assert "<main" in found.to_html()
    assert found.to_markdown()


@pytest.mark.parametrize("value", [0.0, 1.0, -3e12])
def test_a_feature_that_never_changed_is_drawn(value: float) -> None:
    """A reference of one value has bins without a width; they are drawn apart, with finite places."""
    found = report({"x": [value, value + 1] * 500}, {"x": [value] * 1000})
    assert found.state["features"]["x"]["outcome"] == "firing"
    text = found.to_html()
    assert "Most moved" in text
    assert not re.search(r"\b(nan|inf)\b", text)


def test_a_reference_that_does_not_fit_cannot_tell() -> None:
    """A feature that the reference does not have is no health."""
    found = report({"x": [1.0] * 50, "y": [2.0] * 50}, {"x": [1.0] * 50})
    assert "y" not in found.state["features"]
    found = report({"x": [1.0] * 50}, {"z": [1.0] * 50})
    assert found.state["verdict"]["state"] == "cannot_tell"


def test_missing_columns_are_named_at_once() -> None:
    """All columns that are named and not there stand in one message."""
    with pytest.raises(ConfigError, match="columns a, b are not there"):
        report({"x": [1.0]}, columns={"prediction": "a", "confidence": "b"})
