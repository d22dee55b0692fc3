"""The commands that write samples to files and take labels from them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from modelwatch.config import load_config
from modelwatch.errors import ConfigError, ModelwatchError, UnknownLabel
from modelwatch.groundtruth.exchange import export, read
from modelwatch.groundtruth.queue import waiting
from modelwatch.groundtruth.store import Store
from modelwatch.record.monitor import Monitor
from modelwatch.record.review import Said

CHUNK = 5000


def _store_of(config: Path) -> str:
    url = load_config(config, secrets=False).store
    if url is None:
        raise ConfigError(f"{config}: store is None; expected one for labels. Write store: sqlite:///modelwatch.db.")
    return url


def export_labels(config: Path, model: str | None, output: Path, limit: int) -> tuple[int, int]:
    """Write samples that wait for a label; return (how many, how many more wait).

    Raises
    ------
    ConfigError        the configuration has no store, or no such model.
    StoreUnavailable   the store cannot be read.
    ModelwatchError    the file has no known ending, or cannot be written.
    """
    form = {".csv": "csv", ".json": "label-studio"}.get(output.suffix.lower())
    if form is None:
        raise ModelwatchError(f"--output: ending is {output.suffix!r}; expected .json or .csv. Name the file so.")
    name = load_config(config, secrets=False).model(model).name
    store = Store(_store_of(config))
    try:
        samples = waiting(store, name, limit)
        left = store.counts(name).waiting - len(samples)
    finally:
        store.close()
    try:
        output.write_text(export(samples, "csv" if form == "csv" else "label-studio"), encoding="utf-8")
    except OSError as error:
        raise ModelwatchError(
            f"--output: {str(output)!r} cannot be written ({error.strerror}). Name another file."
        ) from None
    return len(samples), max(0, left)


def import_labels(config: Path, model: str | None, file: Path) -> tuple[Counter[str], list[str]]:
    """Take the labels of a file; return (how many of each state, a sentence for each entry that could not be taken).

    They are counted on this host, as those that come over HTTP are on theirs.

    Raises
    ------
    ConfigError        the configuration has no store, or no such model.
    StoreUnavailable   the store cannot be written; what was taken before is stored.
    ModelwatchError    the file cannot be read.
    """
    found = read(file)
    problems = list(found.problems)
    _store_of(config)
    states: Counter[str] = Counter()
    monitor = Monitor.from_config(config, model)
    try:
        review = monitor.review
        assert review is not None, "the configuration has a store"
        for start in range(0, len(found.labels), CHUNK):
            some = found.labels[start : start + CHUNK]
            said = [Said(one.request_id, one.value, one.reviewer, one.at, one.note) for one in some]
            for one, answer in zip(some, review.label_many(said, trusted=True), strict=True):
                if isinstance(answer, UnknownLabel):
                    problems.append(f"entry {one.line}: {answer}")
                else:
                    states[answer] += 1
    finally:
        monitor.close()
    return states, problems
