"""Samples out and labels in, as files: the JSON of Label Studio, and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, NamedTuple

from modelwatch.errors import ModelwatchError
from modelwatch.groundtruth.store import Sample

Format = Literal["label-studio", "csv"]
COLUMNS = (
    "request_id", "model", "version", "endpoint", "predicted_at", "prediction", "confidence", "segment", "input",
    "true_label", "reviewer", "note",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a cell that begins so


class Incoming(NamedTuple):
    """A label as a file has it.

    at : Unix seconds, None when the file does not say; line : of the file, or of the list of tasks.
    """

    request_id: str
    value: str | float
    reviewer: str | None
    at: float | None
    note: str | None
    line: int


class Read(NamedTuple):
    """What a file has: labels, and a sentence for each entry that is none."""

    labels: list[Incoming]
    problems: list[str]


# -- out ---------------------------------------------------------------------------------------------------------------


def export(samples: Sequence[Sample], form: Format) -> str:
    """Return samples as text: tasks for Label Studio, with the answers of the model as predictions; or CSV."""
    if form == "csv":
        return _to_csv(samples)
    return json.dumps([_task(sample) for sample in samples], ensure_ascii=False, indent=1) + "\n"


def _task(sample: Sample) -> dict[str, Any]:
    answer = sample.prediction
    value = {"choices": [answer]} if isinstance(answer, str) else {"number": answer}
    result = {"from_name": "label", "to_name": "text", "type": next(iter(value)), "value": value}
    return {
        "data": {
            "request_id": sample.request_id,
            "text": sample.input if sample.input is not None else "",
            "model": sample.model_name,
            "version": sample.model_version,
            "predicted_at": _iso(sample.predicted_at),
            "segment": sample.segment,
            "features": dict(sample.features or {}),
        },
        "predictions": [{"model_version": sample.model_version, "score": sample.confidence, "result": [result]}],
    }


def _to_csv(samples: Iterable[Sample]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for s in samples:
        row = (
            s.request_id, s.model_name, s.model_version, s.endpoint, _iso(s.predicted_at), s.prediction, s.confidence,
            s.segment, s.input, "", "", "",
        )  # fmt: skip
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- in ----------------------------------------------------------------------------------------------------------------


def read(path: Path) -> Read:
    """Read labels from a file: annotations of Label Studio (JSON or JSON-MIN), or CSV with request_id and true_label.

    An annotation that was cancelled is no label. Entries that cannot be read are told, the others are taken.

    Raises
    ------
    ModelwatchError   the file cannot be read at all.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelwatchError(f"import: {str(path)!r} cannot be read ({reason}). Give a UTF-8 file.") from None
    if path.suffix.lower() == ".csv":
        return _collect(_from_csv(text, str(path)))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelwatchError(
            f"import: {str(path)!r} is no JSON ({error}). Export it from Label Studio as JSON, or name it .csv."
        ) from None
    if not isinstance(content, list):
        raise ModelwatchError(
            f"import: {str(path)!r} is no list of tasks. Export it from Label Studio as JSON or JSON-MIN."
        )
    return _collect(_from_tasks(content))


def _collect(found: Iterable[Incoming | str]) -> Read:
    labels, problems = [], []
    for each in found:
        if isinstance(each, str):
            problems.append(each)
        else:
            labels.append(each)
    return Read(labels, problems)


def _from_csv(text: str, where: str) -> Iterator[Incoming | str]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in _rows(reader, where):
        label = _plain(row["true_label"])
        if not label:  # not reviewed yet
            continue
        request_id = _plain(row["request_id"])
        if not request_id:
            yield f"line {reader.line_num}: there is no request_id"
            continue
        yield Incoming(
            request_id, label, _plain(row.get("reviewer")), _seconds(row.get("at")), _plain(row.get("note")),
            reader.line_num,
        )  # fmt: skip


def _rows(reader: csv.DictReader[str], where: str) -> Iterator[dict[str, str]]:
    try:
        missing = [name for name in ("request_id", "true_label") if name not in (reader.fieldnames or ())]
        if missing:
            raise ModelwatchError(
                f"import: columns of {where!r} are {reader.fieldnames!r}; expected request_id and true_label."
                f" Add {', '.join(missing)}."
            )
        yield from reader
    except csv.Error as error:
        raise ModelwatchError(
            f"import: {where!r} cannot be read after line {reader.line_num} ({error}). Leave out what is no label."
        ) from None


def _plain(cell: str | None) -> str | None:
    text = (cell or "").strip()
    if text.startswith("'") and text[1:].startswith(FORMULA):
        text = text[1:]
    return text or None


def _from_tasks(tasks: Sequence[Any]) -> Iterator[Incoming | str]:
    for number, task in enumerate(tasks, 1):
        if not isinstance(task, dict):
            yield f"task {number}: it is no object"
        elif "annotations" in task:
            yield from _from_annotations(number, task)
        elif isinstance(task.get("data"), dict):  # a task that nobody has annotated
            continue
        else:
            yield from _from_flat(number, task)


def _from_annotations(number: int, task: Mapping[str, Any]) -> Iterator[Incoming | str]:
    data = task.get("data")
    request_id = data.get("request_id") if isinstance(data, dict) else None
    if not isinstance(request_id, str):
        yield f"task {number}: data has no request_id"
        return
    annotations = task["annotations"]
    for annotation in annotations if isinstance(annotations, list) else ():
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        value = _value(annotation.get("result"))
        if value is None:
            yield f"task {number}: an annotation has no choice and no number"
            continue
        at = _seconds(annotation.get("updated_at") or annotation.get("created_at"))
        yield Incoming(request_id, value, _who(annotation.get("completed_by")), at, None, number)


def _from_flat(number: int, task: Mapping[str, Any]) -> Iterator[Incoming | str]:
    """Read a task of JSON-MIN: the fields of data, and the choice under the name of the control."""
    request_id, label = task.get("request_id"), task.get("label", task.get("choice", task.get("true_label")))
    if not isinstance(request_id, str):
        yield f"task {number}: it has no request_id"
    elif isinstance(label, bool) or not isinstance(label, str | int | float):
        yield f"task {number}: its label is no text and no number"
    else:
        at = _seconds(task.get("updated_at") or task.get("created_at"))
        yield Incoming(request_id, label, _who(task.get("annotator")), at, None, number)


def _value(result: Any) -> str | float | None:
    for part in result if isinstance(result, list) else ():
        value = part.get("value") if isinstance(part, dict) else None
        if not isinstance(value, dict):
            continue
        choices, number = value.get("choices"), value.get("number", value.get("rating"))
        if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], str):
            return choices[0]
        if isinstance(number, int | float) and not isinstance(number, bool):
            try:
                return float(number)
            except OverflowError:
                return None
    return None


def _who(given: Any) -> str | None:
    """Return who has annotated: an e-mail address, or the number that Label Studio gives people."""
    if isinstance(given, dict):
        given = given.get("email") or given.get("id")
    return None if given is None else str(given)[:128]


def _seconds(given: Any) -> float | None:
    """Return the Unix seconds of an ISO time; None where it is none."""
    if not isinstance(given, str) or not given:
        return None
    try:
        moment = datetime.fromisoformat(given.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
