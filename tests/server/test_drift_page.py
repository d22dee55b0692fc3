"""The page on drift: every state with its reason, one state with the alerts, densities, hostile text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from modelwatch.server.density import bins_of, overlay, pair
from modelwatch.server.driftpage import SHOWN, drift_fragments, drift_page
from server.test_pages import HOSTILE, Reader, replaced, served, told
from server.watched import alert, alerts, drift, row, silent, unknown

Sample = Callable[..., dict[str, Any]]


@pytest.fixture
def status(sample: Sample) -> Sample:
    """Return the maker of a status whose one model has this drift."""

    def make(held: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
        found = sample(**changes)
        found["models"][0]["drift"] = held
        return found

    return make


@pytest.mark.parametrize(
    ("level", "word", "state"),
    [("severe", "Severe", "warn"), ("warning", "Moderate", "warn"), ("info", "Slight", "info")],
)
def test_a_feature_that_moved(status: Sample, level: str, word: str, state: str) -> None:
    """Its word and state on the band, in its row and on its card, with the sentence, the steps and the numbers."""
    parts = drift_fragments(status(drift(row("age", level), row("income"))))
    assert told(parts["verdict"]).startswith(f"{word} drift – age has moved The distribution of age has moved")
    assert f'class="verdict s-{state}"' in parts["verdict"]
    assert f'<tr class="s-{state} on">' in parts["features"]
    assert told(parts["detail"]).startswith(f"agenumber{word} The distribution of age has moved: 19% of its mass.")
    assert "Most of it: above 80 20% → 40%." in told(parts["detail"])
    assert "What to doReview recent inputs.Check the data source." in told(parts["detail"])
    assert "43,100" in told(parts["features"])


def test_since_when_and_other_distances_are_on_the_card(status: Sample) -> None:
    """The sentence of its beginning, the bracket on all bins, and what merged bins and other measures say."""
    moved = row("age", "severe")
    moved["explanation"]["since_words"] = "Since about 2026-11-24 09:15 UTC, to within 15 min."
    moved["views"] = {
        "bins": 100, "ks": [0.311, 0.318], "psi": 0.412, "total_variation": 0.33, "jensen_shannon": 0.05,
        "hellinger": 0.21, "wasserstein": 0.75, "merged": {"bins": 31, "psi": 0.401, "chi_square": 812.5},
    }  # fmt: skip
    text = told(drift_fragments(status(drift(moved)))["detail"])
    assert "19% of its mass. Since about 2026-11-24 09:15 UTC, to within 15 min." in text
    assert "All 100 binsKS of the raw values between 0.311 and 0.318, PSI 0.412, total variation 0.330" in text
    assert "Hellinger 0.210, Wasserstein (in sd of training) 0.750." in text
    assert "Merged into 31PSI 0.401, χ² 812.500" in text
    moved["views"] = {"bins": 3, "total_variation": 0.4, "psi": None, "merged": None}
    text = told(drift_fragments(status(drift(moved)))["detail"])
    assert "All 3 cellstotal variation 0.400." in text
    assert "Merged" not in text


def test_nothing_moved_says_over_what(status: Sample) -> None:
    """The all-clear has its window and how many comparisons it rests on."""
    text = told(drift_fragments(status(drift(row("age"), row("classes", answer=True, statistic="PSI"))))["verdict"])
    assert text == "No drift – nothing has moved 2 comparisons with the training data over the last 1 d."


def test_a_window_that_is_not_full_says_so(status: Sample) -> None:
    """Short running is on the page, beside the verdict and in the head of the table."""
    young = {"words": "the last 44 s: nothing was counted before, so that 24 h are not full yet"}
    parts = drift_fragments(status(drift(row("age"), windows={"long": young, "short": young})))
    assert "not full yet" in told(parts["verdict"])
    assert "the last 44 s: nothing was counted before" in told(parts["features"])


def test_cannot_tell_has_its_state_and_reason(status: Sample) -> None:
    """Nothing moved, one is unknown: violet, with which and why; what was compared is told, too."""
    parts = drift_fragments(status(drift(unknown("age"), row("income"))))
    text = told(parts["verdict"])
    assert text.startswith("Cannot tell – 1 of 2 comparisons have no answer age: no values in a day.")
    assert text.endswith("What was compared has not moved.")
    assert "Cannot tellageno values in a day" in told(parts["features"])
    assert "–TV" not in told(parts["features"])


def test_drift_beside_the_unknown_names_both(status: Sample) -> None:
    """A move wins, and what has no answer is counted."""
    text = told(drift_fragments(status(drift(row("age", "warning"), unknown("income"))))["verdict"])
    assert text.startswith("Moderate drift")
    assert "1 row has no answer." in text


@pytest.mark.parametrize(
    ("held", "word", "state", "said", "step"),
    [
        (None, "Not watched", "none", "the model is not in the configuration", "Name the features"),
        (
            drift(reason="there is no profile of the training data", has_reference=False),
            "Not watched", "none", "There is no profile of the training data.", "modelwatch profile",
        ),
        (
            drift(reason="the profile is that of version 1"),
            "Cannot tell", "unk", "The profile is that of version 1.", "modelwatch profile",
        ),
        (drift(), "Not watched", "none", "No feature is named", "Name the features"),
    ],
)  # fmt: skip
def test_nothing_to_compare_with(
    status: Sample, held: dict[str, Any] | None, word: str, state: str, said: str, step: str
) -> None:
    """No profile, that of another version, no features: each is told apart, with what to do."""
    parts = drift_fragments(status(held))
    assert told(parts["verdict"]).startswith(word)
    assert f'class="verdict s-{state}"' in parts["verdict"]
    assert said in told(parts["verdict"])
    assert step in told(parts["todo"])
    assert parts["features"] == ""


# ---- one state a signal


def test_a_move_has_the_state_of_its_alert(status: Sample) -> None:
    """Critical together with a bad accuracy: red, with since when; the word stays that of the score."""
    fires = alert("DataDriftDetected", "critical", "firing", labels={"feature_name": "age", "drift": "severe"})
    parts = drift_fragments(status(drift(row("age", "severe")), **alerts(fires)))
    assert 'class="verdict s-crit"' in parts["verdict"]
    assert "14:29 UTC, 3 min" in told(parts["features"])
    assert told(parts["features"]).count("Severe") == 1


@pytest.mark.parametrize(
    ("held", "note"),
    [
        (alert("DataDriftDetected", state="pending", labels={"feature_name": "age"}, why="for 3 min of 1 h"), "held for 3 min of 1 h"),
        (silent("DataDriftDetected", "version 2 is new", labels={"feature_name": "age"}), "No alert yet: version 2 is new"),
        (alert("DataDriftDetected", labels={"feature_name": "age"}), "Its alert does not fire."),
    ],
)  # fmt: skip
def test_a_move_without_an_alert_is_information(status: Sample, held: dict[str, Any], note: str) -> None:
    """Amber means that somebody is told; until then the score is shown, and why nobody is."""
    parts = drift_fragments(status(drift(row("age", "warning")), **alerts(held)))
    assert told(parts["verdict"]).startswith("Moderate drift")
    assert 'class="verdict s-info"' in parts["verdict"]
    assert note in told(parts["detail"])


def test_an_alert_outlives_its_cause_for_a_while(status: Sample) -> None:
    """The score is back, the alert not yet over: its state, and what will end it."""
    fires = alert(
        "DataDriftDetected", state="firing", labels={"feature_name": "age"}, why="firing for 9 min, not seen any more"
    )
    parts = drift_fragments(status(drift(row("age")), **alerts(fires)))
    assert "No drift now" in told(parts["features"])
    assert 'class="verdict s-warn"' in parts["verdict"]
    assert "firing for 9 min, not seen any more" in told(parts["detail"])


def test_answers_and_missing_values_have_their_cards(status: Sample) -> None:
    """The mix of classes by PSI, and a feature of which a tenth is missing."""
    lost = {**row("age", "warning"), "name": "age", "reason": "10% of 900 values are missing; 1% are usual"}
    held = drift(row("age"), row("classes", "warning", answer=True, statistic="PSI"), missing=[lost])
    parts = drift_fragments(status(held))
    assert "ModerateMix of classesanswers0.19PSI" in told(parts["answers"])
    assert "ageMissing10% of 900 values are missing; 1% are usual." in told(parts["missing"])


def test_values_that_are_missing_are_a_warning_of_their_own(status: Sample) -> None:
    """No feature has moved, one is half empty: the band says which."""
    lost = {**row("age", "warning"), "reason": "half of its values are missing"}
    text = told(drift_fragments(status(drift(row("age"), missing=[lost])))["verdict"])
    assert text.startswith("No drift – values of age are missing Half of its values are missing.")


# ---- the detail


def test_the_link_chooses_the_feature(status: Sample) -> None:
    """Its card is shown, its row is marked, the refresh stays with it; an unknown name shows the worst."""
    held = status(drift(row("age", "warning"), row("in come")))
    page = drift_page(held, base="/watch", model="sentiment_classifier", feature="in come")
    assert 'data-refresh="/watch/fragments/drift?model=sentiment_classifier&amp;feature=in%20come"' in page
    assert told(drift_fragments(held, feature="in come")["detail"]).startswith("in come")
    assert told(drift_fragments(held, feature="none")["detail"]).startswith("age")
    links = [h for tag, h in Reader(drift_fragments(held, feature="in come")["features"]).tags if tag == "a"]
    assert [link.get("aria-current") for link in links] == [None, "true"]
    assert links[1]["href"] == "/drift?feature=in%20come"


def test_categories_are_bars_with_both_shares(status: Sample) -> None:
    """Each category has its share in training, now, and the points between."""
    cells = [{"cell": "en", "reference": 0.9, "current": 0.7}, {"cell": "es", "reference": 0.0, "current": 0.2}]
    text = told(drift_fragments(status(drift(row("language", "warning", statistic="TV", cells=cells))))["detail"])
    assert "en90.0 %70.0 %−20.0" in text
    assert "es0.0 %20.0 %+20.0" in text


def test_bins_are_drawn_by_density() -> None:
    """A bin that is twice as wide with the same share is half as high; areas are shares."""
    cells = [{"cell": e, "reference": 0.25, "current": 0.25} for e in (1.0, 2.0, 4.0, None)]
    bins = bins_of(cells)
    assert [(b.low, b.high) for b in bins] == [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 6.0)]
    assert [b.name for b in bins] == ["up to 1", "1–2", "2–4", "above 4"]
    path = re.search(r'class="ref" d="([^"]*)"', overlay(bins, label="x"))
    assert path is not None
    heights = [130 - 2 - float(y) for y in re.findall(r"L?[\d.]+ ([\d.]+)L[\d.]+ \1", path[1])]
    assert heights == pytest.approx([124, 124, 62, 62], abs=0.01)


def test_cells_without_order_are_no_bins() -> None:
    """Edges that do not ascend, or are no numbers, draw nothing rather than something wrong."""
    assert bins_of([{"cell": 2.0}, {"cell": 1.0}, {"cell": None}]) == []
    assert bins_of([{"cell": "a"}, {"cell": "b"}, {"cell": None}]) == []
    assert bins_of([]) == []
    assert overlay([], label="x") == ""
    assert 'width="0%"' in pair(0.0, 0.0, 0.0)


def test_hundreds_of_features_are_bounded_and_counted(status: Sample) -> None:
    """The worst are shown, and how many are not."""
    parts = drift_fragments(status(drift(*(row(f"f{i}") for i in range(SHOWN + 7)))))
    assert "7 more are not shown" in told(parts["features"])
    assert parts["features"].count("<tr class") == SHOWN


# ---- hostile text, missing numbers, the document


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_never_becomes_markup(status: Sample, hostile: str) -> None:
    """Features, categories, reasons and explanations are text; the tags are those of a harmless page."""
    cells = [{"cell": "a", "reference": 0.5, "current": 0.5}, {"cell": "a", "reference": 0.5, "current": 0.5}]
    held = drift(row("a", "warning", cells=cells), unknown("a", "a"), row("a", answer=True), missing=[row("a")])
    fixed = {"outcome", "level", "statistic"}

    def made(value: Any, text: str) -> Any:
        if isinstance(value, dict):
            return {k: v if k in fixed else made(v, text) for k, v in value.items()}
        return [made(v, text) for v in value] if isinstance(value, list) else replaced(value, text)

    plain, page = (Reader(drift_page(status(made(held, text)), feature=text)) for text in ("a", hostile))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert not any(name.startswith("on") or name == "style" for _, h in page.tags for name in h)


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), -1.0, 10**400, "text"])
def test_any_number_may_be_missing(status: Sample, bad: Any) -> None:
    """A score, a count, a share or an edge is absurd: the page is whole, and says neither NaN nor None."""
    for key in ("score", "n", "m", "smallest", "excess"):
        text = told(drift_page(status(drift(row("age", "warning", **{key: bad})))))
        assert "nan" not in text.lower().replace("explanation", "")
        assert "None" not in text
    for key in ("cell", "reference", "current"):
        cells = [
            {"cell": 1.0, "reference": 0.5, "current": 0.5, key: bad},
            {"cell": None, "reference": 0.5, "current": 0.5},
        ]
        page = Reader(drift_page(status(drift(row("age", cells=cells)))))
        assert not any("nan" in v.lower() for _, held in page.tags for k, v in held.items() if k != "href")


def test_page_and_fragments_are_the_same_text_in_their_boxes(status: Sample) -> None:
    """The first refresh changes nothing, and every part has a box."""
    held = status(drift(row("age", "warning"), missing=[row("age")]))
    page, parts = drift_page(held), drift_fragments(held)
    assert all(html in page for html in parts.values())
    assert {h["data-part"] for _, h in Reader(page).tags if "data-part" in h} == set(parts)


def test_the_application_serves_it(status: Sample) -> None:
    """The feature of the address reaches page and fragments."""
    held = status(drift(row("age", "warning"), row("income")))
    client = served(held)
    assert (
        "income is" in told(client.get("/drift", feature="income").text)
        or "<h2>income</h2>" in client.get("/drift", feature="income").text
    )
    assert client.get("/fragments/drift", feature="income").json() == drift_fragments(held, feature="income")
    assert client.get("/drift", model="x").status_code == 404
