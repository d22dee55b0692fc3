"""The model of the demo.

VADER, a rule-based sentiment model whose lexicon comes with its package, and the features it is watched by.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from modelwatch.errors import MissingExtra

if TYPE_CHECKING:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

THRESHOLD = 0.05  # of the compound score: from here on positive, and mirrored negative (the package's own README)
_WORDS = {
    "en": frozenset(["the", "and", "is", "it", "to", "was", "for", "this", "not", "of", "my", "but", "with", "very"]),
    "de": frozenset(["der", "die", "das", "und", "ist", "nicht", "ich", "war", "mit", "ein", "eine", "sehr", "auch"]),
    "es": frozenset(["el", "la", "que", "y", "es", "no", "muy", "con", "una", "por", "los", "para", "pero", "lo"]),
}


@dataclass(frozen=True)
class Answer:
    """What the model says of a text."""

    label: str
    confidence: float
    features: dict[str, Any]


@lru_cache(maxsize=1)
def _analyzer() -> SentimentIntensityAnalyzer:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        raise MissingExtra("demo: vaderSentiment is not installed. Run `pip install 'modelwatch[demo]'`.") from None
    return SentimentIntensityAnalyzer()


def language_of(text: str) -> str:
    """Guess the language from its commonest words: en, de, es or other."""
    words = text.lower().split()
    hits = {language: sum(word in common for word in words) for language, common in _WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] else "other"


def predict(text: str) -> Answer:
    """Return the sentiment of a text.

    The confidence of positive and negative grows with the distance of the compound score from the threshold, that
    of neutral with
    its nearness to 0; both go from 0.5 to 1.
    """
    score = float(_analyzer().polarity_scores(text)["compound"])
    if abs(score) < THRESHOLD:
        label, confidence = "neutral", 1 - abs(score) / (2 * THRESHOLD)
    else:
        label = "positive" if score > 0 else "negative"
        confidence = 0.5 + (abs(score) - THRESHOLD) / (2 * (1 - THRESHOLD))
    features = {
        "text_length": len(text),
        "exclamations": text.count("!"),
        "sentiment_score": score,
        "language": language_of(text),
    }
    return Answer(label, confidence, features)
