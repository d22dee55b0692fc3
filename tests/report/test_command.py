"""`modelwatch report`: files in, files out, exit codes for pipelines, and one line on what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from modelwatch.batch.profile import profile
from modelwatch.cli import app
from modelwatch.errors import ConfigError
from report import reported


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a log and its training data, in which the command runs."""
    reported.write(tmp_path, 2000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["report", *arguments])


def state(path: Path) -> dict[str, Any]:
    """Return a report that was written as JSON."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_writes_every_form_at_once(folder: Path) -> None:
    """One run writes HTML, JSON and Markdown, and says where and what it found."""
    found = run("week.parquet", "--reference", "training.parquet", "-o", "r.html", "-o", "r.json", "-o", "r.md")
    assert found.exit_code == 0, found.output
    assert "r.html, r.json, r.md: " in found.output
    assert (folder / "r.html").read_text("utf-8").startswith("<!doctype html>")
    assert (folder / "r.md").read_text("utf-8").startswith("# week")
    told = state(folder / "r.json")
    assert set(told["features"]) == {"price", "weight", "age_days", "country", "channel"}
    assert told["reference"]["name"] == "training.parquet"
    assert not told["model"]["configured"]
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_prints_markdown_without_an_output() -> None:
    """Without -o the report is printed."""
    found = run("week.parquet")
    assert found.exit_code == 0
    assert found.output.startswith("# week")
    assert "## Quality" in found.output


def test_exit_codes_tell_a_pipeline() -> None:
    """--fail-on gives 1 where something is so bad, 0 where it is not, and 0 without it."""
    bad = ("week.parquet", "--reference", "training.parquet")
    assert run(*bad).exit_code == 0
    assert run(*bad, "--fail-on", "warning").exit_code == 1
    assert run(*bad, "--fail-on", "critical").exit_code == 0
    good = ("training.parquet", "--reference", "training.parquet")
    assert run(*good, "--fail-on", "info").exit_code == 0


def test_a_profile_is_a_reference_too(folder: Path) -> None:
    """A reference.json gives the same decisions as the data that it is of; KS is then a bracket."""
    (folder / "reference.json").write_text(profile(str(folder / "training.parquet")).reference.to_json())
    assert run("week.parquet", "--reference", "training.parquet", "-o", "data.json").exit_code == 0
    assert run("week.parquet", "--reference", "reference.json", "-o", "profile.json").exit_code == 0
    data, told = state(folder / "data.json"), state(folder / "profile.json")
    assert data["reference"]["sha256"] == told["reference"]["sha256"]
    for name, one in data["features"].items():
        other = told["features"][name]
        assert (one["outcome"], one["score"], one["psi"]) == (other["outcome"], other["score"], other["psi"])
    exact, bracket = data["features"]["price"]["ks"], told["features"]["price"]["ks"]
    assert exact["exact"]
    assert not bracket["exact"]
    assert bracket["low"] <= exact["statistic"] <= bracket["high"]


def test_a_configuration_is_used_where_there_is_one(folder: Path) -> None:
    """modelwatch.yaml gives model, objectives and segment; --no-config and --ignore leave out what they name."""
    (folder / "modelwatch.yaml").write_text(reported.CONFIG)
    assert run("week.parquet", "-o", "r.json").exit_code == 0
    told = state(folder / "r.json")
    assert told["model"] == {"name": "returns", "version": "3", "task": "classification", "configured": True}
    assert [one["slo"] for one in told["slos"]] == ["latency", "error_rate", "accuracy"]
    assert {one["name"] for one in told["quality"]["view"]["segments"]} == {"de", "fr", "it", "pl"}
    assert run("week.parquet", "--no-config", "--ignore", "price", "-o", "r.json").exit_code == 0
    told = state(folder / "r.json")
    assert told["slos"] == []
    assert "price" not in told["features"]


def test_columns_can_be_named_and_labels_joined(folder: Path) -> None:
    """Columns of other names are taken for what the options say, and labels of a second table count."""
    import pyarrow as pa
    from pyarrow import parquet

    log = reported.rows(2000)
    ids = [f"r{i}" for i in range(2000)]
    renamed = {"when": log["timestamp"], "answer": log["prediction"], "sure": log["confidence"], "id": ids,
               "price": log["price"], "land": log["country"]}  # fmt: skip
    parquet.write_table(pa.table(renamed), folder / "other.parquet")
    truth = ["keep" if i % 3 else "return" for i in range(1000)]
    parquet.write_table(pa.table({"id": ids[:1000], "truth": truth}), folder / "truth.parquet")
    named = ("--timestamp", "when", "--prediction", "answer", "--confidence", "sure", "--request-id", "id")
    found = run("other.parquet", *named, "--segment", "land", "--labels", "truth.parquet", "--label", "truth",
                "-o", "r.json")  # fmt: skip
    assert found.exit_code == 0, found.output
    told = state(folder / "r.json")
    assert set(told["features"]) == {"price", "land"}
    right = sum(truth[i] == log["prediction"][i] for i in range(1000))
    assert told["quality"]["view"]["accuracy"]["right"] == right
    assert told["quality"]["states"]["matched"] == 1000
    assert sum(one["n"] for one in told["quality"]["view"]["segments"]) == 1000


def test_files_of_every_kind_say_the_same(folder: Path) -> None:
    """A CSV of the log, its DuckDB query and its parquet have the same numbers of everything."""
    from pyarrow import csv, parquet

    csv.write_csv(parquet.read_table(folder / "week.parquet"), folder / "week.csv")
    with_reference = ("--reference", "training.parquet", "-o", "r.json")
    told = []
    for log in (("week.parquet",), ("week.csv",), ("week.parquet", "--engine", "duckdb")):
        assert run(*log, *with_reference).exit_code == 0
        found = state(folder / "r.json")
        told.append({name: (one["n"], one["score"], one["ks"]) for name, one in found["features"].items()})
    assert told[0] == told[2]
    assert told[0].keys() == told[1].keys()
    assert told[0]["price"] == told[1]["price"]


def test_a_reference_of_several_files_is_one(folder: Path) -> None:
    """A glob, a folder or JSON lines of training data give the profile of all their rows."""
    from pyarrow import parquet

    table = parquet.read_table(folder / "training.parquet")
    (folder / "parts").mkdir()
    parquet.write_table(table.slice(0, 700), folder / "parts" / "a.parquet")
    parquet.write_table(table.slice(700), folder / "parts" / "b.parquet")
    lines = (json.dumps(row) for row in table.to_pylist() if row["weight"] == row["weight"])
    (folder / "training.jsonl").write_text("\n".join(lines))
    told = []
    for reference in ("training.parquet", "parts/*.parquet", "parts", "training.jsonl"):
        found = run("week.parquet", "--reference", reference, "-o", "r.json")
        assert found.exit_code == 0, found.output
        told.append(state(folder / "r.json"))
    numbers = [{name: (one["score"], one["psi"], one["m"]) for name, one in each["features"].items()} for each in told]
    assert numbers[:3] == [numbers[0]] * 3
    assert {one["reference"]["rows"] for one in told} == {2000}
    assert [one["features"]["price"]["ks"] for one in told] == [told[0]["features"]["price"]["ks"]] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.parquet",), "none.parquet: no file is there; expected a log. "),
        (("week.parquet", "-o", "r.pdf"), "--output: file is 'r.pdf'; expected a name that ends in "),
        (("week.parquet", "-o", "no/r.html"), "--output: file is 'no/r.html'; expected a file in a folder"),
        (("week.parquet", "--fail-on", "bad"), "--fail-on: severity is 'bad'; expected one of info, warning, critical"),
        (("week.parquet", "--prediction", "p", "--label", "q"), "week.parquet: columns p, q are not there; "),
        (("week.parquet", "--span", "week"), "span: span is 'week'; expected minute, hour, day"),
        (("week.parquet", "--reference", "none.json"), "reference: 'none.json' cannot be read"),
        (("torn.parquet",), "torn.parquet: cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """Bad input is an error of one line, before anything is written."""
    (folder / "torn.parquet").write_bytes((folder / "week.parquet").read_bytes()[:500])
    found = run(*arguments)
    assert isinstance(found.exception, ConfigError)
    assert str(found.exception).startswith(message) or message in str(found.exception)
    assert "\n" not in str(found.exception)
    assert not (folder / "r.pdf").exists()
