"""`modelwatch init`: what data and estimators tell, and a configuration that works as it is written."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from modelwatch.cli import app
from modelwatch.config import load_config, parse_config
from modelwatch.errors import ConfigError, MissingExtra
from modelwatch.onboarding.inference import Found, load_estimator, name_of, of_data, of_estimator, roles_of
from modelwatch.onboarding.writing import code_to_paste, config_text
from modelwatch.reference import Reference
from support import shared_data

ROWS = 400


def people(rows: int = ROWS) -> pd.DataFrame:
    """Return training data with a number, a category, an identifier and a label."""
    rng = np.random.default_rng(3)
    age = rng.normal(40, 10, rows).round(1)
    return pd.DataFrame(
        {
            "customer_id": range(rows),
            "age": age,
            "language": rng.choice(["en", "de"], rows),
            "target": np.where(age + rng.normal(0, 5, rows) > 40, "yes", "no"),
        }
    )


def run(*arguments: str | Path) -> tuple[int, str]:
    """Run `modelwatch init`; return its exit code and what it printed."""
    done = CliRunner().invoke(app, ["init", *map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.output


def test_data_become_a_configuration_that_loads(tmp_path: Path) -> None:
    """Kinds, classes and the profile are inferred; the identifier is left out; the file loads with its reference."""
    people().to_csv(tmp_path / "churn.csv", index=False)
    code, said = run(tmp_path / "churn.csv", "-o", tmp_path / "modelwatch.yaml", "--service", "shop")
    assert code == 0, said
    config = load_config(tmp_path / "modelwatch.yaml")
    model = config.model("churn")
    assert (config.service.name, model.task, model.classes) == ("shop", "classification", ("no", "yes"))
    assert dict(model.features) == {"age": "numeric", "language": "categorical"}
    assert model.reference is not None
    assert Reference.load(model.reference).rows == ROWS
    assert "customer_id: left out" in said
    assert "monitor = modelwatch.Monitor.from_config(" in said


def test_numbers_as_answers_are_a_regression(tmp_path: Path) -> None:
    """A label of many numbers makes a regression, which has no classes and no confidence."""
    people().assign(target=lambda d: d.age * 1.5).to_parquet(tmp_path / "price.parquet")
    found = of_data(tmp_path / "price.parquet", {})
    assert (found.task, found.classes) == ("regression", ())
    text = config_text(found, "shop", None)
    assert parse_config(text).model().task == "regression"
    assert "confidence" not in code_to_paste(found, "modelwatch.yaml")


def test_predictions_beside_labels_give_the_objective(tmp_path: Path) -> None:
    """The objective of accuracy is what the data show less five points, rounded down, and says so."""
    frame = people().assign(prediction=lambda d: np.where(d.age > 40, "yes", "no"))
    frame.to_csv(tmp_path / "d.csv", index=False)
    found = of_data(tmp_path / "d.csv", {})
    measured = float((frame.prediction == frame.target).mean())
    assert found.accuracy == pytest.approx(measured, abs=1e-12)
    slos = parse_config(config_text(found, "shop", None)).model().slos
    assert slos.accuracy is not None
    assert measured - 0.06 <= slos.accuracy.objective <= measured - 0.05


def test_labels_alone_are_no_accuracy(tmp_path: Path) -> None:
    """Where the label stands for the missing prediction nothing was right or wrong, and nobody claims 100 %."""
    people().to_csv(tmp_path / "d.csv", index=False)
    found = of_data(tmp_path / "d.csv", {})
    assert found.accuracy is None
    assert found.reference is not None
    assert (found.reference.labelled, found.reference.calibration) == (0, None)
    assert any("no column of predictions" in note for note in found.notes)


def test_the_code_to_paste_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed, put into a FastAPI service with values at its gaps, counts the answer with all that belongs to it."""
    from fastapi import FastAPI

    monkeypatch.chdir(tmp_path)
    found = Found("churn", "classification", ("no", "yes"), {"age": "numeric"}, segment="region")
    (tmp_path / "modelwatch.yaml").write_text(config_text(found, "shop", None))
    head, _, inside = code_to_paste(found, "modelwatch.yaml").partition("# in the endpoint")
    names: dict[str, Any] = {"app": FastAPI(), "answer": "yes", "score": 0.9}
    exec(head, names)  # noqa: S102 - it is what is tested
    lines = inside.partition("\n")[2].replace("…", "3")
    names["app"].get("/predict")(lambda: exec(lines, names))  # noqa: S102
    assert asyncio.run(_asked(names["app"])) == 200
    assert names["monitor"].flush(5)
    page = names["monitor"].metrics().decode()
    names["monitor"].close()
    for metric in ('predicted_class="yes"} 1', 'segment="3"} 1'):
        assert metric in page


async def _asked(app: Any) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as client:
        return (await client.get("/predict")).status_code


def _fitted(frame: pd.DataFrame) -> object:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500).fit(frame[["age"]], frame.target)


def test_an_estimator_tells_features_and_classes(tmp_path: Path) -> None:
    """Without data: its classes and names of features; with data also the profile of what it answers."""
    import joblib  # type: ignore[import-untyped]

    joblib.dump(_fitted(people()), tmp_path / "churn.joblib")
    alone = of_estimator(tmp_path / "churn.joblib")
    assert (alone.classes, dict(alone.features), alone.reference) == (("no", "yes"), {"age": "numeric"}, None)
    people().to_csv(tmp_path / "held_out.csv", index=False)
    found = of_estimator(tmp_path / "churn.joblib", tmp_path / "held_out.csv")
    assert dict(found.features) == {"age": "numeric"}
    assert found.reference is not None
    assert found.reference.confidence is not None
    assert found.accuracy is not None
    assert 0.6 < found.accuracy < 1


def test_an_estimator_asked_of_other_columns(tmp_path: Path) -> None:
    """Data that lack a column of the estimator are refused by its name."""
    import joblib

    joblib.dump(_fitted(people()), tmp_path / "churn.joblib")
    people().drop(columns="age").to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ConfigError, match=r"columns age are missing.*Add them"):
        of_estimator(tmp_path / "churn.joblib", tmp_path / "d.csv")


def test_files_that_hold_no_estimator(tmp_path: Path) -> None:
    """A missing file, garbage, another object and an absent package are told apart, in one line each."""
    (tmp_path / "bad.pkl").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="holds no estimator"):
        load_estimator(tmp_path / "bad.pkl")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_estimator(tmp_path / "none.pkl")
    (tmp_path / "absent.pkl").write_bytes(b"cno_such_package\nThing\n.")
    with pytest.raises(MissingExtra, match="pip install no_such_package"):
        load_estimator(tmp_path / "absent.pkl")
    import pickle

    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(ConfigError, match=r"object is 'list'.*predict"):
        of_estimator(tmp_path / "list.pkl")


def test_nothing_that_answers(tmp_path: Path) -> None:
    """Data without a label or prediction are refused with the columns there are; a wrong --label likewise."""
    people().drop(columns="target").to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ConfigError, match=r"column of answers is missing.*'age'"):
        of_data(tmp_path / "d.csv", {})
    with pytest.raises(ConfigError, match="column of --label is 'agee'"):
        roles_of(["age"], {"label": "agee"}, "d.csv")


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """A second `init` leaves the file alone, unless it is told to overwrite it."""
    file = tmp_path / "modelwatch.yaml"
    assert run("-o", file)[0] == 0
    file.write_text(file.read_text() + "# mine\n")
    with pytest.raises(ConfigError, match="is there already"):
        run("-o", file)
    assert "# mine" in file.read_text()
    assert run("-o", file, "--force")[0] == 0
    assert "# mine" not in file.read_text()


def test_every_comment_is_valid_when_it_is_written_out() -> None:
    """Each line that is commented out can be taken in as it stands."""
    found = Found("churn", "classification", ("a", "b"), {"x": "numeric"})
    text = config_text(found, "shop", None)
    lines = text.partition("service:")[2].splitlines()
    commented = [line for line in lines if re.match(r"\s*# ", line)]
    assert len(commented) > 10
    written = "service:" + "\n".join(re.sub(r"^(\s*)# ", r"\1", line) for line in lines)
    environ = {"PAGERDUTY_ROUTING_KEY": "k" * 32, "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/a"}
    config = parse_config(written, environ=environ)
    assert set(config.alerting.receivers) == {"oncall", "team"}
    assert config.model().slos.cost is not None


@pytest.mark.parametrize("name", ["no", "1", "a: b", "x # y", "[a]", "größe", "'", '"', "", "{{ x }}", "-", "~"])
def test_names_come_back_as_they_were(name: str) -> None:
    """Whatever a class or a feature is called, YAML reads it back the same."""
    found = Found("m", "classification", (name or "empty", "other"), {name or "empty": "numeric"})
    model = parse_config(config_text(found, "shop", None)).model()
    assert model.classes[0] == (name or "empty")
    assert list(model.features) == [name or "empty"]


def test_the_car_loans(tmp_path: Path) -> None:
    """The public data set of car loans: identifier left out, eight features, two classes, a profile of 50 000 rows."""
    found = of_data(shared_data("nannyml_car_loan_reference.parquet"), {"confidence": "y_pred_proba"})
    assert found.classes == ("0", "1")
    assert found.reference is not None
    assert found.reference.rows == 50_000
    assert len(found.features) == 8
    assert "id" not in found.features
    assert parse_config(config_text(found, "loans", None)).model().features == found.features
    assert name_of(tmp_path / "Car Loan-2.parquet") == "car_loan_2"


def test_dates_are_no_features_and_decimal_commas_are_told(tmp_path: Path) -> None:
    """A date is new every day, which is no drift; numbers that only look like text are said to."""
    rows = "".join(f"2024-01-{i % 28 + 1:02d};{i},5;{'en' if i % 2 else 'de'};{i % 2}\n" for i in range(200))
    (tmp_path / "a.csv").write_text(f"signed;amount;language;label\n{rows}")
    found = of_data(tmp_path / "a.csv", {})
    assert dict(found.features) == {"amount": "categorical", "language": "categorical"}
    assert any(note.startswith("signed: left out") for note in found.notes)
    assert any(note.startswith("amount: numbers with a decimal comma") for note in found.notes)


def test_what_the_model_says_of_one_class_is_no_feature(tmp_path: Path) -> None:
    """The probability of class 1 is neither a feature nor, where 0 is answered, the confidence."""
    rows = "".join(f"{i};{i % 2};{0.9 if i % 2 else 0.1}\n" for i in range(200))
    (tmp_path / "a.csv").write_text(f"age;y_pred;y_pred_proba\n{rows}")
    found = of_data(tmp_path / "a.csv", {})
    assert list(found.features) == ["age"]
    assert any("y_pred_proba: left out" in note for note in found.notes)
    assert any("name it with --label" in note for note in found.notes)
