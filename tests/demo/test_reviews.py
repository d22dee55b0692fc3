"""The demo's review corpus has the shape, the balance and the mess that the demo relies on."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from importlib.resources import files

import pytest

CLASSES = {"negative", "neutral", "positive"}
CATEGORIES = {"electronics", "clothing", "books", "kitchen", "toys"}
KINDS = {"language", "long", "sarcasm"}
CORPUS = "reviews.csv"
OTHER = "reviews_other.csv"
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")


def read(name: str) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of one file of the demo; a row that is too short or too long fails."""
    content = (files("modelwatch") / "demo" / name).read_bytes().decode("utf-8")
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    rows = list(reader)
    assert all(None not in row and None not in row.values() for row in rows)
    return list(reader.fieldnames or ()), rows


def normalised(text: str) -> str:
    """The words of a text in lower case, so that case and punctuation do not hide a duplicate."""
    return " ".join(re.findall(r"\w+", text.lower())) or text


def test_header_and_size() -> None:
    """The corpus has the three columns of the demo and at least 600 rows."""
    header, rows = read(CORPUS)
    assert header == ["text", "label", "category"]
    assert len(rows) >= 600


def test_incident_texts_carry_their_kind() -> None:
    """The incident texts have a fourth column, and each kind has enough rows to show."""
    header, rows = read(OTHER)
    kinds = Counter(row["kind"] for row in rows)
    assert header == ["text", "label", "category", "kind"]
    assert set(kinds) == KINDS
    assert min(kinds.values()) >= 10
    assert all(len(row["text"].split()) >= 150 for row in rows if row["kind"] == "long")


@pytest.mark.parametrize("name", [CORPUS, OTHER])
@pytest.mark.parametrize(("column", "expected"), [("label", CLASSES), ("category", CATEGORIES)])
def test_every_value_is_well_represented(name: str, column: str, expected: set[str]) -> None:
    """Exactly the stated classes and categories occur, each in at least 8 % of the rows."""
    _, rows = read(name)
    counts = Counter(row[column] for row in rows)
    assert set(counts) == expected
    assert min(counts.values()) >= 0.08 * len(rows)


def test_every_category_has_every_class() -> None:
    """No segment lacks a class, so per-segment accuracy is defined for each."""
    _, rows = read(CORPUS)
    assert len({(row["category"], row["label"]) for row in rows}) == len(CATEGORIES) * len(CLASSES)


def test_no_text_twice_and_none_empty() -> None:
    """Across both files every text is non-empty, trimmed and unique but for case and punctuation."""
    texts = [row["text"] for name in (CORPUS, OTHER) for row in read(name)[1]]
    repeated = [text for text, n in Counter(map(normalised, texts)).items() if n > 1]
    assert all(text and text == text.strip() for text in texts)
    assert repeated == []


def test_texts_are_messy() -> None:
    """Emoji, line breaks, ALL CAPS, HTML entities, one word and 100 words all occur."""
    texts = [row["text"] for row in read(CORPUS)[1]]
    lengths = [len(text.split()) for text in texts]
    assert any(EMOJI.search(text) for text in texts)
    assert any("\n" in text for text in texts)
    assert any(text.isupper() and len(text.split()) >= 4 for text in texts)
    assert any(re.search(r"&#?\w+;", text) for text in texts)
    assert min(lengths) == 1
    assert max(lengths) >= 100
