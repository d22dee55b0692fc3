"""What a data file or a scikit-learn estimator tells of a model: task, classes, features, and a reference profile."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from modelwatch.batch.profile import class_text, profile
from modelwatch.batch.reading import PARQUET, Source, open_source
from modelwatch.errors import ConfigError, MissingExtra, fault
from modelwatch.reference import CategoricalProfile, Reference

Say = Callable[[str], None]
Kind = Literal["numeric", "categorical"]

#: Names of columns, in lower case, by what they mean.
ROLES = {
    "prediction": ("prediction", "predicted", "predicted_label", "predicted_class", "y_pred"),
    "confidence": ("confidence", "probability", "proba"),
    "label": ("label", "true_label", "target", "y", "y_true", "class", "outcome", "ground_truth"),
    "segment": ("segment",),
}
IDENTIFIERS = ("id", "uuid", "guid", "index", "row", "")
OF_ONE_CLASS = re.compile(r"y_(score|prob).*|(.*_)?proba(_.*)?", re.IGNORECASE)
MODEL_FILES = (".joblib", ".pkl", ".pickle")
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ][\d:.+Z-]+)?")
COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+")
SMALLER_BY = 0.05  # the objective of accuracy is what was measured, less this


@dataclass(frozen=True)
class Found:
    """What is known of a model.

    classes : in order; empty for a regression.
    features : kinds by name.
    segment : the field whose values are the segments.
    accuracy : share of right answers on the data, 0 to 1; None where it was not measured.
    notes : sentences for whoever reads the outcome.
    """

    name: str
    task: Literal["classification", "regression"]
    classes: tuple[str, ...] = ()
    features: Mapping[str, Kind] = field(default_factory=dict)
    segment: str | None = None
    reference: Reference | None = None
    accuracy: float | None = None
    notes: tuple[str, ...] = ()


def name_of(path: Path) -> str:
    """Return the name of a file as the name of a model.

    Examples
    --------
    >>> name_of(Path("data/Churn model-2.csv.gz"))
    'churn_model_2'
    """
    stem = path.name.partition(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "_", stem).strip("_") or "model"


def file_of(name: str) -> str:
    """Return the file name of a model's profile: the model may be called what no file can, or what leaves the folder.

    Examples
    --------
    >>> file_of("churn"), file_of("../up"), file_of("a b/c")
    ('churn.json', 'up.json', 'a_b_c.json')
    """
    stem = re.sub(r"[^\w.-]+", "_", name).strip("._") or "model"
    return f"{stem}.json"


def of_data(path: Path, given: Mapping[str, str | None], *, name: str | None = None, say: Say | None = None) -> Found:
    """Return what a data file tells.

    Parameters
    ----------
    path : CSV or parquet.
    given : columns by role (prediction, confidence, label, segment), where they have other names than usual.
    name : of the model; by default that of the file.
    say : called with lines on the progress.

    Raises
    ------
    ConfigError     the file cannot be read, or no column says what the model answers.
    NotEnoughData   it has no rows.
    """
    source = open_source(path)
    roles = roles_of(source.columns, given, str(path))
    answered = roles["prediction"] or roles["label"]
    if answered is None:
        raise ConfigError(
            f"{path}: column of answers is missing; expected one named {', '.join(ROLES['prediction'][:2])},"
            f" {', '.join(ROLES['label'][:3])}. Name it with --prediction or --label; there are"
            f" {', '.join(map(repr, source.columns[:20]))}."
        )
    return _profiled(path, source, roles, answered, name or name_of(path), say)


def of_estimator(
    path: Path,
    data: Path | None = None,
    given: Mapping[str, str | None] | None = None,
    *,
    name: str | None = None,
    say: Say | None = None,
) -> Found:
    """Return what a scikit-learn estimator tells; with data, also the profile of what it answers on them.

    Loading it runs the code that is in the file.

    Raises
    ------
    ConfigError    the file holds no estimator, or the data are not what it was fitted on.
    MissingExtra   a package that the estimator needs is not installed.
    """
    estimator = load_estimator(path)
    if not hasattr(estimator, "predict"):
        raise ConfigError(fault(str(path), "object", type(estimator).__name__, "an estimator with predict()",
                                "Save the fitted estimator itself."))  # fmt: skip
    name = name or name_of(path)
    if data is not None:
        return _answered(estimator, path, data, given or {}, name, say)
    names = getattr(estimator, "feature_names_in_", None)
    count = int(getattr(estimator, "n_features_in_", 0))
    columns = tuple(map(str, names)) if names is not None else tuple(f"x{i}" for i in range(count))
    notes = ["there is no reference profile yet, so drift cannot be told: give data with --data"]
    if names is None and columns:
        notes.append("the estimator was fitted without names of features: rename x0, x1, …")
    if columns:
        notes.append("every feature is taken to be numeric: change those that are not")
    return Found(name, _task_of(estimator), _classes_of(estimator), dict.fromkeys(columns, "numeric"), notes=(*notes,))


def load_estimator(path: Path) -> Any:
    """Load a pickle or a joblib file. This runs the code that is in it.

    Raises
    ------
    ConfigError    the file cannot be read.
    MissingExtra   a package that it needs is not installed.
    """
    try:
        if path.suffix == ".joblib":
            import joblib  # type: ignore[import-untyped]

            return joblib.load(path)
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301 - the user's own model, named by the user
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{path}: needs the package {error.name}, which is not installed. Run `pip install {error.name}`."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name the file of a fitted estimator.") from None
    except Exception as error:  # noqa: BLE001 - whatever a foreign file holds
        raise ConfigError(
            f"{path}: holds no estimator that can be loaded here ({type(error).__name__}: {str(error)[:80]})."
            " Load it in the environment in which it was saved."
        ) from None


def roles_of(columns: Iterable[str], given: Mapping[str, str | None], where: str) -> dict[str, str | None]:
    """Return the column of each role: the one given, or one of a usual name.

    Raises
    ------
    ConfigError   a column that is given is not there.
    """
    columns = list(columns)
    by_name = {name.lower(): name for name in reversed(columns)}
    roles: dict[str, str | None] = {}
    for role, usual in ROLES.items():
        wanted = given.get(role)
        if wanted is not None and wanted not in columns:
            raise ConfigError(
                fault(where, f"column of --{role}", wanted, f"one of {', '.join(map(repr, columns[:20]))}",
                      "Name one that is there.")
            )  # fmt: skip
        roles[role] = wanted or next((by_name[name] for name in usual if name in by_name), None)
    return roles


def _is_identifier(name: str) -> bool:
    lower = name.lower()
    return lower in IDENTIFIERS or lower.endswith("_id") or lower.startswith("unnamed:")


def _profiled(
    path: Path, data: Source, roles: Mapping[str, str | None], answered: str, name: str, say: Say | None,
    rows: Any = None,
) -> Found:  # fmt: skip
    """Profile data, or `rows` in their place, and read task, classes and features from the profile."""
    identifiers = [column for column in data.columns if _is_identifier(column) and column not in roles.values()]
    outputs = [column for column in data.columns if OF_ONE_CLASS.fullmatch(column) and column not in roles.values()]
    spare = [*identifiers, *outputs, *filter(None, (roles["segment"],))]
    measured = roles["label"] is not None and roles["label"] != answered
    label = roles["label"] if measured else None
    reference, notes = profile(
        rows if rows is not None else str(path),
        ignore=spare, prediction=answered, confidence=roles["confidence"], label=label, say=say,
    )  # fmt: skip
    if not measured:
        reference = replace(reference, labelled=0, right=0, calibration=None)
    if roles["prediction"] is None:
        notes.append(f"no column of predictions: the shares of classes are those of {answered!r}, the true labels")
    elif roles["label"] is None:
        notes.append(
            "no column of true labels was found, so there is no objective for the accuracy: name it with --label"
        )
    notes += [f"{column}: left out: it looks like an identifier" for column in identifiers]
    notes += [
        f"{column}: left out: it looks like what the model says of one class; --confidence, where it is of the answer"
        for column in outputs
    ]
    if reference.prediction is None:
        raise ConfigError(
            f"{path}: {answered!r} can be neither classes nor values; expected the answers of the model."
            " Name another column with --prediction."
        )
    features: dict[str, Kind] = {
        column: "numeric" if column in reference.numeric else "categorical"
        for column in data.columns
        if column in reference.numeric or column in reference.categorical
    }
    for column in _all_like(DATE, reference):
        if features.pop(column, None) is not None:
            notes.append(f"{column}: left out: dates are always new, which is no drift")
    notes += [
        f"{column}: numbers with a decimal comma are taken for categories: write points in the data"
        for column in _all_like(COMMA_NUMBER, reference)
        if column in features
    ]
    accuracy = reference.right / reference.labelled if reference.labelled else None
    classes = _in_order(reference.prediction.counts) if isinstance(reference.prediction, CategoricalProfile) else ()
    task: Literal["classification", "regression"] = "classification" if classes else "regression"
    return Found(name, task, classes, features, roles["segment"], reference, accuracy, tuple(notes))


def _all_like(pattern: re.Pattern[str], reference: Reference) -> list[str]:
    """Return the categorical columns whose values all have a form."""
    return [
        column
        for column, known in reference.categorical.items()
        if known.counts and all(pattern.fullmatch(value) for value in known.counts if not value.startswith("__"))
    ]


def _answered(
    estimator: Any, path: Path, data: Path, given: Mapping[str, str | None], name: str, say: Say | None
) -> Found:
    """Let the estimator answer the rows of a data file, and profile both."""
    source = open_source(data)
    frame = _frame(data)
    roles = roles_of(source.columns, {**given, "prediction": None, "confidence": None}, str(data))
    names = getattr(estimator, "feature_names_in_", None)
    taken = list(map(str, names)) if names is not None else [c for c in frame if c not in roles.values()]
    missing = [column for column in taken if column not in frame]
    if missing:
        raise ConfigError(
            f"{data}: columns {', '.join(missing)} are missing; {path.name} was fitted on them. Add them."
        )
    asked = frame[taken] if names is not None else frame[taken].to_numpy()
    try:
        answers = estimator.predict(asked)
        sure = estimator.predict_proba(asked).max(axis=1) if hasattr(estimator, "predict_proba") else None
    except Exception as error:  # noqa: BLE001 - of the user's own estimator
        raise ConfigError(
            f"{data}: {path.name} cannot answer its rows ({type(error).__name__}: {str(error)[:120]})."
            " Give rows as it was fitted on."
        ) from None
    frame = frame.assign(prediction=answers) if sure is None else frame.assign(prediction=answers, confidence=sure)
    roles |= {"prediction": "prediction", "confidence": None if sure is None else "confidence"}
    shown = replace(source, columns=tuple(taken))
    kept = [*taken, *(column for column in roles.values() if column is not None and column not in taken)]
    found = _profiled(data, shown, roles, "prediction", name, say, frame[kept])
    note = "confidence and accuracy are those on these very rows: give rows that the model was not trained on"
    return replace(found, classes=_classes_of(estimator) or found.classes, notes=(*found.notes, note))


def _frame(path: Path) -> Any:
    import pandas as pd  # whoever has scikit-learn and names of features has it

    try:
        return pd.read_parquet(path) if path.name.endswith(PARQUET) else pd.read_csv(path, sep=None, engine="python")
    except Exception as error:  # noqa: BLE001 - whatever a file holds
        raise ConfigError(f"{path}: cannot be read ({str(error)[:120]}). Give a CSV or parquet file.") from None


def _task_of(estimator: Any) -> Literal["classification", "regression"]:
    return "classification" if len(getattr(estimator, "classes_", ())) else "regression"


def _classes_of(estimator: Any) -> tuple[str, ...]:
    texts = (class_text(value) for value in getattr(estimator, "classes_", ()))
    return tuple(text for text in texts if text is not None)


def _in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Return classes as a person would list them: numbers by size, others by name."""
    return tuple(sorted(classes, key=lambda name: (not _is_number(name), _is_number(name) and float(name), name)))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
