"""Writes the profile that the demo's drift is measured against, from the demo's own reviews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelwatch.batch.profile import profile
from modelwatch.demo import model
from modelwatch.demo.traffic import read_texts

TARGET = Path(model.__file__).with_name("reference.json")


def reference_text() -> str:
    """Return the profile of what the model sees, and answers, in the reviews of the demo, with their true labels."""
    columns: dict[str, list[Any]] = {}
    for review in read_texts():
        answer = model.predict(review.text)
        row = {**answer.features, "prediction": answer.label, "confidence": answer.confidence, "label": review.label}
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return profile(columns, categorical=["language"]).reference.to_json() + "\n"


if __name__ == "__main__":
    TARGET.write_text(reference_text(), encoding="utf-8")
