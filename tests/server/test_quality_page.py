"""The page on quality: what labels tell, what they do not, the same state everywhere, and hostile text as text."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelwatch.config import load_config
from modelwatch.groundtruth.store import Sample as Kept
from modelwatch.groundtruth.store import Store
from modelwatch.server import dots
from modelwatch.server.accuracy import accuracy
from modelwatch.server.labelled import calibration, confusion, facts, sampling
from modelwatch.server.pages import health_fragments
from modelwatch.server.quality import SHOWN_SEGMENTS, lasts, quality_fragments, quality_page, segments, windows
from modelwatch.sources.quality import QualitySource
from server.test_pages import HOSTILE, SPACE, Client, Reader, served, told

Sample = Callable[..., dict[str, Any]]
CARDS = ("accuracy", "segments", "confusion", "calibration", "labels")


@pytest.fixture
def status(sample: Sample) -> Sample:
    """Return the maker of a status whose one model has this quality."""

    def make(quality: dict[str, Any] | None, state: str = "healthy") -> dict[str, Any]:
        found = sample(state)
        found["models"][0]["quality"] = quality
        return found

    return make


def view(quality: dict[str, Any]) -> dict[str, Any]:
    """Return the view over the most labels."""
    found: dict[str, Any] = quality["views"]["last"][-1]
    return found


# ---- one state, with its evidence


def test_below_its_objective_with_both_numbers(status: Sample, sample_quality: Sample) -> None:
    """The whole interval is below: a warning with counts, interval, objective and the segments that are below, too."""
    text = told(quality_fragments(status(sample_quality()))["verdict"])
    assert text.startswith("Below objective – accuracy is below its objective")
    assert "819 of 1,000 labelled answers were right: 81.9 % (95 % interval 79.4–84.2 %)." in text
    assert "Objective 85 %: the whole interval is below it." in text
    assert "2 segments below: books and electronics." in text


@pytest.mark.parametrize(
    ("objective", "boost", "state", "clause"),
    [
        (0.85, 0.0, "warn", "accuracy is below its objective"),
        (0.83, 0.0, "ok", "no sign that accuracy is below its objective"),
        (0.75, 0.0, "ok", "accuracy is at or above its objective"),
        (None, 0.0, "none", f"accuracy is 81.9{SPACE}%"),
    ],
)
def test_only_a_whole_interval_decides(
    sample_quality: Sample, objective: float | None, boost: float, state: str, clause: str
) -> None:
    """An interval around the objective is no warning; without an objective nothing is judged."""
    found = accuracy({"quality": sample_quality(objective=objective, boost=boost)})
    assert (found.state, found.clause) == (state, clause)


@pytest.mark.parametrize("state", ["warn", "ok", "unk", "none"])
def test_one_state_on_tab_page_and_first_page(status: Sample, sample_quality: Sample, state: str) -> None:
    """The card of the first page, the tab of every page, the verdict and the card of the page have one state."""
    quality = {
        "warn": sample_quality(),
        "ok": sample_quality(objective=0.75),
        "unk": sample_quality(12),
        "none": sample_quality(objective=None),
    }[state]
    now = status(quality)
    word = accuracy(now["models"][0]).word
    health, page = health_fragments(now), quality_fragments(now)
    for part in (health["right"], page["accuracy"]):
        assert f'class="chip s-{state}"' in part
        assert word in told(part)
    assert f'class="verdict s-{state}"' in page["verdict"]
    for parts in (health, page):
        assert f"Quality: {word}" in told(parts["tabs"])
    assert told(health["verdict"]).startswith("Healthy")  # a view alerts nobody


def test_the_first_page_says_that_it_is_a_view(status: Sample, sample_quality: Sample) -> None:
    """Number, interval, labels, objective, the worst segment, and a link to the page."""
    card = health_fragments(status(sample_quality()), base="/watch", model="sentiment_classifier")["right"]
    text = told(card)
    assert "81.9%last 1,000 labels" in text
    assert "95 % interval 79.4–84.2 %. Objective 85 %: the whole interval is below it." in text
    assert "Worst segmentbooks 66.0 %" in text
    assert 'href="/watch/quality?model=sentiment_classifier"' in card


# ---- what is missing


@pytest.mark.parametrize(
    ("make", "clause", "todo"),
    [
        (lambda _: None, "no labels are kept", "Add store: sqlite:///modelwatch.db to modelwatch.yaml"),
        (
            lambda _: {"state": "unavailable", "reason": "store: 'x' is locked. Try again."},
            "the store of labels cannot be read",
            "store: 'x' is locked. Try again. Predictions are served and counted as before",
        ),
        (lambda q: q(0), "no labels yet", "214 samples wait for a label: review them, or send labels with POST"),
        (
            lambda q: q(0, waiting=0, oldest_waiting_s=None),
            "no labels yet",
            "No sample waits: they are kept as predictions come",
        ),
        (lambda q: q(12), "12 of 30 labels", "18 more are needed"),
        (lambda q: q(29), "29 of 30 labels", "1 more is needed"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(
    status: Sample, sample_quality: Sample, make: Callable[..., Any], clause: str, todo: str
) -> None:
    """No store, none that answers, no labels, too few: violet, words, a way out, and no number anywhere."""
    now = status(make(sample_quality))
    page = quality_fragments(now)
    verdict = told(page["verdict"])
    assert verdict.startswith(f"Cannot tell – {clause}")
    assert todo in verdict
    card = told(health_fragments(now)["right"])
    assert "Cannot tell" in card
    assert "What is missing" in card
    shown = told(page["accuracy"] + page["segments"] + page["confusion"] + page["calibration"])
    assert not re.search(r"\d\.\d %", shown)
    assert "Too sure" not in shown


def test_without_a_store_the_page_is_a_recipe(status: Sample) -> None:
    """Three steps instead of empty cards; with a store that does not answer, what to look at."""
    page = quality_fragments(status(None))
    assert "request.predicted(label, confidence=score, input=text)" in told(page["todo"])
    assert all(page[name] == "" for name in CARDS)
    away = quality_fragments(status({"state": "unavailable", "reason": "x"}))
    assert "Nothing has to be restarted" in told(away["todo"])
    assert "Start the service" in told(quality_fragments({"models": []})["todo"])


def test_a_segment_with_few_labels_has_no_number(sample_quality: Sample) -> None:
    """12 of 30 labels: hatched, last, and never judged."""
    quality = sample_quality()
    row = segments(quality, view(quality), regression=False).rows[-1]
    assert (row.name, row.state, row.value, row.interval) == ("music", "unk", "", "12 of 30 labels")
    assert "url(#mw-hatch)" in row.picture
    assert "<circle" not in row.picture


# ---- views by arrival and by time


def test_the_last_labels_and_the_windows(sample_quality: Sample) -> None:
    """Each view has its number, its interval and how many of its labels have come."""
    quality = sample_quality()
    assert [(row.name, row.value, row.interval) for row in lasts(quality, regression=False)] == [
        ("Last 1,000 labels", f"81.9{SPACE}%", f"79.4–84.2{SPACE}%"),
        ("Last 100 labels", f"76.0{SPACE}%", f"66.8–83.3{SPACE}%"),
    ]
    found = {row.name: row for row in windows(quality, regression=False)}
    assert found["Last hour"].interval == "12 of 30 labels"
    assert found["1 to 2 days old"].about == f"300 labels, 100{SPACE}% have come"
    assert found["Last 24 hours"].state == "warn"
    assert found["1 to 2 days old"].state == "none"  # its interval reaches the objective


def test_few_labels_are_not_told_twice(sample_quality: Sample) -> None:
    """With 60 labels the last 100 and the last 1,000 are the same: all 60."""
    assert [row.name for row in lasts(sample_quality(60), regression=False)] == ["All 60 labels"]


def test_what_is_too_young_is_dotted_and_not_judged(sample_quality: Sample) -> None:
    """A window most of whose labels are still to come is drawn, said, and follows nothing."""
    quality = sample_quality(delay_s=40_000.0)
    young = [row for row in windows(quality, regression=False) if row.value]
    assert [row.about for row in young][:2] == ["299 labels, too young", "300 labels, too young"]
    assert all("young" in row.picture and row.state == "none" for row in young)
    assert all(view["state"] == "too_young" for view in quality["views"]["windows"][1:])
    quality["views"]["windows"][1]["maturity"] = 0.414
    assert windows(quality, regression=False)[1].about == f"299 labels, too young: 41{SPACE}%"
    card = quality_fragments({"models": [{"name": "m", "quality": quality}]})["accuracy"]
    assert "Dotted: too young; the share tells how many of its labels have come." in told(card)


def test_segments_are_worst_first_by_their_shrunk_accuracy(sample_quality: Sample) -> None:
    """Ranked by what is left after shrinking; marked only where the whole interval is below; the rest is counted."""
    quality = sample_quality()
    found = segments(quality, view(quality), regression=False)
    assert [(row.name, row.state) for row in found.rows] == [
        ("books", "warn"),
        ("electronics", "warn"),
        ("toys", "none"),
        ("home", "none"),
        ("music", "unk"),
    ]
    assert (found.state, found.word) == ("warn", "2 segments below")
    worst = copy.deepcopy(view(quality))
    for i, segment in enumerate(worst["segments"]):
        segment["shrunk"] = [0.9, 0.1, 0.5, 0.7, 0.6][i]
    names = [segment["name"] for segment in worst["segments"] if segment["accuracy"]]
    assert segments(quality, worst, regression=False).rows[0].name == names[1]
    worst["segments"] = [dict(worst["segments"][0], name=f"s{i}") for i in range(25)]
    many = segments(quality, worst, regression=False)
    assert len(many.rows) == SHOWN_SEGMENTS
    assert "15 more segments are not shown." in many.note


def test_weighted_samples_say_so(status: Sample, sample_quality: Sample) -> None:
    """Where samples were not kept alike the verdict and the matrix say that they are weighted."""
    page = quality_fragments(status(sample_quality(inclusion=(0.1, 0.5))))
    assert "Not all were kept alike, so they are weighted" in told(page["verdict"])
    assert "Recall and precision are weighted" in told(page["confusion"])
    assert "weighted" not in told(quality_fragments(status(sample_quality()))["verdict"])


# ---- which mistakes, how sure


def test_the_matrix_has_counts_shares_recall_and_precision(sample_quality: Sample) -> None:
    """Rows are the truth: the cells add up to the labels, recall is right / true, precision right / said."""
    held = view(sample_quality())
    matrix = confusion(held)
    assert matrix is not None
    counts = held["confusion"]["counts"]
    assert [[cell.labels for cell in line.cells] for line in matrix.lines] == [[str(n) for n in row] for row in counts]
    for i, line in enumerate(matrix.lines):
        assert line.labels == str(sum(counts[i]))
        assert line.recall == f"{100 * counts[i][i] / sum(counts[i]):.1f}{SPACE}%"
        assert matrix.precision[i] == f"{100 * counts[i][i] / sum(row[i] for row in counts):.1f}{SPACE}%"
        assert [cell.right for cell in line.cells] == [i == j for j in range(3)]
    assert "Most frequent mistake: truly positive, said neutral (60)." in matrix.note


def test_many_classes_show_the_most_frequent(sample_quality: Sample) -> None:
    """Ten classes at most, and how many are not shown."""
    held = copy.deepcopy(view(sample_quality()))
    size = 14
    held["confusion"]["classes"] = [f"c{i}" for i in range(size)]
    held["confusion"]["counts"] = [[(i + 1) * (i == j) for j in range(size)] for i in range(size)]
    held["confusion"]["quality"]["classes"] = [{"recall": 1.0, "precision": None}] * size
    matrix = confusion(held)
    assert matrix is not None
    assert list(matrix.names) == [f"c{i}" for i in range(4, 14)]
    assert "4 rarer classes are not shown." in matrix.note
    assert "Most frequent mistake" not in matrix.note


def test_calibration_is_judged_against_chance(sample_quality: Sample) -> None:
    """ECE stands beside what chance alone gives; only well above it the model is called too sure."""
    held = view(sample_quality(boost=-0.3))
    picture, said = calibration(held)
    assert picture is not None
    error = held["calibration"]["error"]
    assert said[0] == (
        f"Too sure of itself: confidence and truth differ by {100 * error['ece']:.1f} points on average (ECE), "
        f"by chance alone {100 * error['noise']:.1f} points."
    )
    assert said[1] == f"Brier score {held['calibration']['brier']:.3f}, from 1,000 labels."
    assert picture.count("<circle") == len(held["calibration"]["curve"])
    held = copy.deepcopy(held)
    held["calibration"]["error"] = {"ece": 0.02, "noise": 0.03, "miscalibrated": False}
    assert calibration(held)[1][0].startswith("As sure as it is right")
    held["calibration"]["error"] = {"ece": 0.05, "noise": 0.03, "miscalibrated": False}
    assert calibration(held)[1][0].startswith("No clear difference")
    held |= {"calibration": None, "calibration_missing": {"words": "3 of 30 labels with a confidence"}}
    assert calibration(held)[1][0].startswith("3 of 30 labels with a confidence. Pass confidence=")


def test_a_regression_has_errors_instead(sample: Sample, sample_quality: Sample) -> None:
    """MAE with its interval, RMSE, R² and bias; no matrix and no calibration; segments by their error."""
    now = sample("regression")
    now["models"][0]["quality"] = quality = sample_quality(task="regression", objective=None)
    page = quality_fragments(now)
    found = view(quality)["regression"]
    text = told(page["accuracy"])
    assert f"{found['mae']:.4g}" in text
    assert f"{found['mae_low']:.4g}–{found['mae_high']:.4g}, 95 % interval" in text
    assert f"R²{found['r2']:.3f}" in text
    assert "the answers are too high" in text
    assert (page["confusion"], page["calibration"]) == ("", "")
    rows = segments(quality, view(quality), regression=True).rows
    errors = [float(row.value) for row in rows if row.value]
    assert errors == sorted(errors, reverse=True)
    assert told(page["verdict"]).startswith("No objective – mean absolute error")


# ---- where the labels come from


def test_delay_coverage_and_queue(sample_quality: Sample) -> None:
    """How samples are chosen, how many have a label, by when half and nine in ten have come, what waits."""
    found = {fact.term: fact for fact in facts(sample_quality(), "/review")}
    assert found["Sampling"].value == f"10{SPACE}% of the predictions, all alike"
    assert found["Labelled"].value == f"1,200 (84.9{SPACE}% coverage)"
    assert (found["Waiting"].value, found["Waiting"].href) == ("214 in the review queue", "/review")
    assert found["Oldest waiting"].value == f"3{SPACE}h{SPACE}5{SPACE}min"
    assert found["Label delay"].value == f"half within 1{SPACE}h, 90{SPACE}% within 3{SPACE}h"
    few = {fact.term: fact for fact in facts(sample_quality(12, waiting=0, oldest_waiting_s=None), "/review")}
    assert few["Label delay"].state == "unk"
    assert (few["Waiting"].value, few["Waiting"].href) == ("none", "")
    assert few["Oldest waiting"].value == "–"
    quality = sample_quality(delay_s=5.0)
    at_once = {fact.term: fact.value for fact in facts(quality, "")}
    assert at_once["Label delay"] == f"90{SPACE}% within 1{SPACE}min"
    quality["views"]["unusable"] = 3
    assert "3 labels are left out" in facts(quality, "")[-1].value


def test_how_samples_are_chosen() -> None:
    """Every strategy of the configuration has its words."""
    held = {"rate": 0.05, "strategy": "stratified", "strata": "segment", "weekly_budget": 1400}
    assert sampling(held) == f"5{SPACE}% of the predictions, evenly by segment, at most 1,400 a week"
    assert "unsure ones more often" in sampling({"rate": 0.05, "strategy": "uncertainty"})
    assert sampling({}) == "–"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[QualitySource]:
    """Return the source of a configuration with a store in which two of three samples have a label."""
    (tmp_path / "modelwatch.yaml").write_text(
        'service: {name: s}\nmodels:\n  m: {version: "1", task: classification, classes: [a, b], segment: shop,\n'
        "    ground_truth: {sampling_rate: 0.2, strategy: stratified, strata: segment, weekly_budget: 700}}\n"
        "store: sqlite:///truth.db\n"
    )
    found = QualitySource.from_config(load_config(tmp_path / "modelwatch.yaml"), every_s=0.0)
    assert found is not None
    with_labels: Store = found.store
    at = with_labels.clock() - 60
    with_labels.add_samples([Kept(f"{i:032x}", "m", "1", "/", at, "a") for i in range(3)])
    for i in range(2):
        with_labels.label(f"{i:032x}", "a")
    yield found
    found.close()


def test_the_source_tells_what_the_page_needs(source: QualitySource) -> None:
    """From a real store and a real configuration to the words of the page."""
    quality = source.read("m")
    assert quality is not None
    assert quality["segment"] == "shop"
    found = {fact.term: fact.value for fact in facts(quality, "/review")}
    assert found["Sampling"] == f"20{SPACE}% of the predictions, evenly by segment, at most 700 a week"
    assert found["Labelled"] == f"2 (66.7{SPACE}% coverage)"
    assert accuracy({"quality": quality}).clause == "2 of 30 labels"


# ---- the whole page


def test_page_and_fragments_are_the_same_text(status: Sample, sample_quality: Sample) -> None:
    """What the refresh brings is what a reload would show, in every state; and tags nest."""
    for quality in (sample_quality(), sample_quality(12), sample_quality(0), None, {"state": "unavailable"}):
        html = quality_page(status(quality))
        for name, part in quality_fragments(status(quality)).items():
            assert part in html, name
        assert Reader(html).open == []


def test_the_routes(status: Sample, sample_quality: Sample) -> None:
    """The page, its fragments, and the way to a model that is not there."""
    client: Client = served(status(sample_quality()))
    assert "Confusion matrix" in told(client.get("/quality").text)
    assert client.get("/fragments/quality").json()["verdict"]
    assert client.get("/quality", model="no").status_code == 404
    assert client.get("/fragments/quality", model="no").json()["error"]["code"] == "not_found"


def hostile(held: Any, evil: str) -> Any:
    """Return the same with every text replaced; keys stay."""
    if isinstance(held, dict):
        return {k: hostile(v, evil) if k not in {"state", "method", "task", "kind"} else v for k, v in held.items()}
    if isinstance(held, list):
        return [hostile(v, evil) for v in held]
    return evil if isinstance(held, str) else held


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_text_is_text(status: Sample, sample_quality: Sample, evil: str) -> None:
    """Segments, classes, reasons, names of views: none of them becomes a tag or an attribute."""
    calm = {tag for tag, _ in Reader(quality_page(status(sample_quality()))).tags}
    for quality in (sample_quality(), sample_quality(12), {"state": "unavailable", "reason": evil}):
        tags = Reader(quality_page(status(hostile(quality, evil)))).tags
        assert {tag for tag, _ in tags} <= calm | {"ol", "li", "pre"}
        assert not [k for _, held in tags for k in held if k.startswith("on") or k == "style"]


@pytest.mark.parametrize("odd", [None, float("nan"), float("inf"), -1.0, 10**400, "text", [], True])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_any_number_may_be_odd(status: Sample, sample_quality: Sample, odd: Any, task: str) -> None:
    """Whatever stands where a number is expected, the page is drawn and never shows NaN, inf or None."""

    def strange(held: Any) -> Any:
        if isinstance(held, dict):
            return {k: strange(v) for k, v in held.items()}
        if isinstance(held, list):
            return [strange(v) for v in held]
        return odd if isinstance(held, (int, float)) and not isinstance(held, bool) else held

    quality = sample_quality(200, task=task)
    quality |= {"views": strange(quality["views"]), "waiting": odd, "labelled": odd, "oldest_waiting_s": odd}
    now = status(quality | {"objective": odd, "window": odd}, "regression" if task == "regression" else "healthy")
    shown = quality_page(now) + "".join(health_fragments(now).values())
    assert not re.search(r"\b(nan|inf|None|True)\b", shown)


def test_two_classes_have_f1_and_roc_auc_without_labels(status: Sample, sample_quality: Sample) -> None:
    """Each with its interval and what labels show; what is odd or missing is left out."""
    figure = {"value": 0.8125, "low": 0.79, "high": 0.83}
    binary = {"n": 4000, "f1": figure, "roc_auc": figure, "measured": {"f1": {"value": 0.8}, "roc_auc": None}}
    for held, expected in (
        (binary, True),
        ({**binary, "f1": 3, "roc_auc": None}, False),
        ("odd", False),
        (None, False),
    ):
        now = status(sample_quality() | {"binary": held})
        now["models"][0]["estimate"] = {"value": 0.9, "low": 0.88, "high": 0.92, "n": 5000, "words": "it is a view"}
        text = told(quality_fragments(now)["accuracy"])
        assert ("F14,000 samples, last day; labels show 0.8000.8120.790–0.830" in text) is expected
        assert ("ROC AUC4,000 samples, last day; no labels yet0.8120.790–0.830" in text) is expected


# ---- dots


def test_rows_of_one_scale_draw_where_the_numbers_are() -> None:
    """Interval, dot and limit are at their share of the axis; what lies outside is kept at its end."""
    ends = dots.scale([0.6, 0.8])
    assert ends == (0.5, 1.0)
    row = dots.row(dots.Mark(0.75, 0.6, 0.9), ends, limit=0.8)
    assert 'class="iv" x1="20%" x2="80%"' in row
    assert 'class="dot" cx="50%"' in row
    assert 'class="limit" x1="60%" x2="60%"' in row
    assert 'x1="0%" x2="80%"' in dots.row(dots.Mark(0.75, 0.1, 0.9), ends)
    assert "<circle" not in dots.row(dots.Mark(float("nan"), 0.1, 0.9), ends)
    assert dots.amounts([]) == (0.0, 1.0)
