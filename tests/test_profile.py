"""`modelwatch profile`: training data of any form become one profile; what is odd about them is said."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from modelwatch.batch import scan
from modelwatch.batch.profile import Profiled, profile
from modelwatch.batch.scan import Sample
from modelwatch.batch.show import describe
from modelwatch.cli import app
from modelwatch.config import load_config
from modelwatch.errors import ConfigError, DamagedData, MissingExtra, ModelwatchError, NotEnoughData
from modelwatch.record.monitor import schema_of
from modelwatch.reference import NumericProfile, Reference, profile_numeric
from modelwatch.schema import CONFIDENCE_EDGES, FINE_CONFIDENCE_EDGES

RNG = np.random.default_rng(31)
N = 6_000
FRAME = pd.DataFrame(
    {
        "length": RNG.gamma(2, 50, N).round(),
        "score": np.where(RNG.random(N) < 0.05, np.nan, RNG.normal(size=N)),
        "language": RNG.choice(["en", "de", "fr"], N, p=[0.7, 0.2, 0.1]),
        "prediction": RNG.choice(["positive", "negative"], N),
        "confidence": RNG.random(N).round(3),
        "label": RNG.choice(["positive", "negative"], N),
    }
)


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Draw the same in every order of the tests."""
    RNG.bit_generator.state = np.random.default_rng(32).bit_generator.state


def written(folder: Path, name: str, frame: pd.DataFrame = FRAME) -> Path:
    """Write a frame as a file of the kind that its name says."""
    path = folder / name
    if name.endswith((".parquet", ".pq")):
        frame.to_parquet(path, row_group_size=1000)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    return path


def counts_of(reference: Reference) -> Any:
    """Return what is exactly equal whatever the form: not the sums of floats, nor why a value is missing."""
    return (
        reference.rows, reference.labelled, reference.right,
        {name: (p.edges, p.exported, p.counts, p.low, p.high) for name, p in reference.numeric.items()},
        {name: dict(p.counts) for name, p in reference.categorical.items()},
        reference.prediction.counts if reference.prediction else None,
        reference.confidence.counts if reference.confidence else None,
        (reference.calibration.counts, reference.calibration.right) if reference.calibration else None,
    )  # fmt: skip


def test_a_profile_has_everything() -> None:
    """Bins as of the whole column, moments, invalid values, categories, predictions, confidences, calibration."""
    reference, notes = profile(FRAME)
    assert notes == []
    assert reference.rows == N
    assert list(reference.numeric) == ["length", "score"]
    expected = profile_numeric(FRAME["length"].to_numpy())
    found = reference.numeric["length"]
    assert (found.edges, found.exported, found.counts) == (expected.edges, expected.exported, expected.counts)
    assert found.mean == pytest.approx(FRAME["length"].mean(), rel=1e-12)
    assert found.deviation == pytest.approx(FRAME["length"].std(ddof=0), rel=1e-12)
    assert reference.numeric["score"].invalid == {"nan": int(FRAME["score"].isna().sum())}
    assert reference.categorical["language"].counts == FRAME["language"].value_counts().to_dict()
    assert list(reference.categorical["language"].counts) == ["en", "de", "fr"]
    assert reference.prediction is not None and reference.confidence is not None
    assert reference.prediction.counts == FRAME["prediction"].value_counts().to_dict()
    assert (reference.confidence.edges, reference.confidence.exported) == (FINE_CONFIDENCE_EDGES, CONFIDENCE_EDGES)
    assert reference.labelled == N
    assert reference.right == (FRAME["prediction"] == FRAME["label"]).sum()


def test_calibration_is_by_fifty_bins() -> None:
    """Counts, right ones and sums of confidences in bins (lower, upper] of a fiftieth."""
    calibration = profile(FRAME).reference.calibration
    assert calibration is not None
    at = np.maximum(np.searchsorted(np.arange(1, 50) / 50, FRAME["confidence"], "left"), 0)
    right = FRAME["prediction"] == FRAME["label"]
    assert calibration.counts == tuple(np.bincount(at, minlength=50))
    assert calibration.right == tuple(np.bincount(at, right, 50).astype(int))
    assert calibration.confidence == pytest.approx(np.bincount(at, FRAME["confidence"], 50))


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.csv.gz", "d.parquet", "d.PQ"])
def test_files_have_the_profile_of_the_frame(tmp_path: Path, name: str) -> None:
    """CSV, packed or not, and parquet count as the DataFrame does."""
    path = written(tmp_path, name.lower()).rename(tmp_path / name)
    assert counts_of(profile(path).reference) == counts_of(profile(FRAME).reference)
    assert counts_of(profile(str(path)).reference) == counts_of(profile(FRAME).reference)


@pytest.mark.parametrize(
    "form", [pa.Table.from_pandas, dict, lambda frame: {name: frame[name].tolist() for name in frame}]
)
def test_every_form_in_python(form: Callable[[pd.DataFrame], Any]) -> None:
    """An Arrow table, a dict of columns, a dict of lists."""
    assert counts_of(profile(form(FRAME)).reference) == counts_of(profile(FRAME).reference)


def test_the_same_data_give_the_same_hash(tmp_path: Path) -> None:
    """Twice the same file: the same bytes."""
    path = written(tmp_path, "d.csv")
    assert profile(path).reference.to_json() == profile(path).reference.to_json()


def test_no_raw_rows(tmp_path: Path) -> None:
    """Of identifiers, free texts and numbers nothing but quantiles and frequent categories is written."""
    frame = FRAME.assign(email=[f"person{i}@example.org" for i in range(N)])
    reference, notes = profile(frame)
    assert "example.org" not in reference.to_json()
    assert len(reference.to_json()) < 20_000
    assert notes == [
        "email: left out: it has more than 1000 categories, as identifiers have; name it categorical to keep it"
    ]


# -- more rows than the sample holds -----------------------------------------------------------------------------------


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep few values for the edges, and read small parts."""
    monkeypatch.setattr(scan, "IN_ALL", 4_000)
    monkeypatch.setattr(scan, "LEAST", 2_000)
    monkeypatch.setattr("modelwatch.batch.reading.ROWS", 1_000)


@pytest.mark.usefixtures("small_sample")
def test_counts_are_exact_where_edges_are_sampled() -> None:
    """40 000 values and a sample of 2 000: every value is counted once, in bins of nearly equal shares."""
    values = RNG.normal(size=40_000)
    found = profile({"x": values, "y": values[::-1]}).reference.numeric["x"]
    assert found.counts == tuple(np.bincount(np.searchsorted(found.edges, values), minlength=100))
    assert found.size == 40_000
    assert (found.low, found.high) == (values.min(), values.max())
    assert found.deviation == pytest.approx(values.std(), rel=1e-12)
    assert max(found.shown_counts) < 2 * 2_000
    assert min(found.shown_counts) > 2_000 / 2


@pytest.mark.usefixtures("small_sample")
def test_the_sample_is_uniform() -> None:
    """Early, middle and late values are in it alike, whatever the parts."""
    sample = Sample(2_000)
    for begin in range(0, 100_000, 700):
        sample.add(np.arange(begin, min(begin + 700, 100_000), dtype=float))
    kept = sample.sorted()
    assert len(kept) == len(np.unique(kept)) == 2_000
    thirds = np.bincount((kept // 33_334).astype(int))
    assert thirds.min() > 550
    whole = Sample(2_000)
    whole.add(np.arange(1500.0))
    assert whole.sorted().tolist() == list(range(1500))


@given(st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=30)
def test_the_sample_never_grows(parts: list[int]) -> None:
    """At most as many as it holds, and all where there are no more."""
    sample = Sample(100)
    for size in parts:
        sample.add(np.ones(size))
        assert sample._kept <= 200 + 400
    assert len(sample.sorted()) == min(sum(parts), 100)


def test_memory_is_flat(tmp_path: Path) -> None:
    """Eight times the rows take no more memory."""
    script = (
        "import resource, sys; from modelwatch.batch import scan; from modelwatch.batch.profile import profile;"
        "scan.IN_ALL = 200_000; profile(sys.argv[1]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks, part = [], pa.table({f"x{i}": RNG.random(100_000) for i in range(8)})
    for parts in (1, 8):
        path = tmp_path / f"{parts}.parquet"
        with parquet.ParquetWriter(path, part.schema) as writer:
            for _ in range(parts):
                writer.write_table(part)
        run = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True)
        peaks.append(int(run.stdout))
    assert peaks[1] - peaks[0] < 25_000  # KiB; the values alone would be 44 000 more, their copies as many again


# -- what is odd -------------------------------------------------------------------------------------------------------


def of_csv(text: str, folder: Path, **options: Any) -> Profiled:
    """Profile a CSV file of this text."""
    path = folder / "d.csv"
    path.write_text(text, encoding="utf-8")
    return profile(path, **options)


def test_oddities_are_notes(tmp_path: Path) -> None:
    """Constant, empty, mixed, and types that are neither: a sentence each, and the rest is profiled."""
    n = 6_000
    frame = pd.DataFrame(
        {
            "constant": [7] * n,
            "same": ["a"] * n,
            "empty": [None] * n,
            "nan": [np.nan] * n,
            "mixed": [*[1.5] * (n - 60), *["?"] * 60],
            "when": pd.date_range("2026-01-01", periods=n, freq="min"),
            "list": [[1]] * n,
            "flag": [True, False] * (n // 2),
        }
    )
    reference, notes = profile(frame)
    assert set(reference.numeric) == {"constant", "mixed"}
    assert set(reference.categorical) == {"same", "flag"}
    assert reference.categorical["flag"].counts == {"False": 3000, "True": 3000}
    assert reference.numeric["constant"].counts == (0, n, 0)
    assert reference.numeric["mixed"].invalid == {"type": 60}
    assert sorted(notes) == [
        "constant: all values are 7",
        "empty: left out: it has no value that is there",
        "list: left out: its values are of type list, which is neither numbers nor categories",
        "mixed: 60 of 6000 values are no number; all values are 1.5",
        "nan: left out: it has no value that is a number, 6000 of reason nan",
        "same: all values are the same category",
        "when: left out: its values are of type Timestamp, which is neither numbers nor categories",
    ]


def test_types_of_arrow(tmp_path: Path) -> None:
    """Decimals, small and unsigned numbers, dictionaries, views and truth values; dates, structs and bytes are left out."""
    half = N // 2
    table = pa.table(
        {
            "decimal": pa.array([Decimal("1.25"), None] * half),
            "half": pa.array(np.resize(np.arange(9, dtype=np.float16), N)),
            "unsigned": pa.array([2**64 - 1, 5] * half, pa.uint64()),
            "dictionary": pa.array(["a", None] * half).dictionary_encode(),
            "large": pa.array(["x", "y"] * half, pa.large_string()),
            "view": pa.array(["v", "w"] * half).cast(pa.string_view()),
            "flag": pa.array([True, None] * half),
            "date": pa.array([date(2026, 1, 1)] * N),
            "struct": pa.array([{"a": 1}] * N),
            "bytes": pa.array([b"x"] * N),
            "nulls": pa.nulls(N),
        }
    )
    path = tmp_path / "d.parquet"
    parquet.write_table(table, path)
    for source in (table, path):
        reference, notes = profile(source)
        assert set(reference.numeric) == {"decimal", "half", "unsigned"}
        assert set(reference.categorical) == {"dictionary", "large", "view", "flag"}
        assert reference.numeric["decimal"].invalid == reference.categorical["flag"].invalid == {"missing": half}
        assert reference.numeric["unsigned"].high == float(2**64 - 1)
        assert reference.categorical["dictionary"].counts == {"a": half}
        left_out = {note.partition(":")[0] for note in notes if ": left out: " in note}
        assert left_out == {"date", "struct", "bytes", "nulls"}


def test_text_of_csv_is_parsed(tmp_path: Path) -> None:
    """Blanks, exponents, infinities, gaps; a column that is mostly numbers is one of numbers."""
    cells = [" 1 ", "+2", "3e0", "4.", ".5", "inf", "-Infinity", "nan", "", "NA", "None", *["6"] * 200, "x", "1_0"]
    reference, notes = of_csv("a,b\n" + "".join(f'"{cell}",y\n' for cell in cells), tmp_path)
    found = reference.numeric["a"]
    assert found.invalid == {"missing": 3, "nan": 1, "inf": 2, "type": 2}
    assert found.size == 207
    assert (found.low, found.high) == (0.5, 6.0)
    assert reference.categorical["b"].counts == {"y": len(cells)}
    assert "a: 2 of 209 values are no number" in notes


def test_categories_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names beyond those that are remembered are one, and every value is counted."""
    monkeypatch.setattr(scan, "TRACKED", 50)
    monkeypatch.setattr(scan, "CATEGORIES", 10)
    monkeypatch.setattr("modelwatch.batch.reading.ROWS", 40)
    given = [f"n{i // 3}" for i in range(600)]
    found = profile({"x": given}, categorical=["x"]).reference.categorical["x"]
    assert found.size == 600
    assert len(found.counts) == 10
    assert found.counts["__other__"] == 600 - 9 * 3


def test_values_that_have_no_hash_are_no_categories() -> None:
    """One list among texts costs only itself."""
    found = profile({"x": [*["a"] * 99, [1]]}).reference.categorical["x"]
    assert (found.counts, found.invalid) == ({"a": 99}, {"type": 1})


class Broken(dict[str, Any]):
    """Data whose own code fails."""

    def items(self) -> Any:
        """Fail."""
        raise RuntimeError("no")


def test_foreign_data_are_refused() -> None:
    """No form of columns, and data that raise when they are read."""
    with pytest.raises(ModelwatchError, match="^profile: type of the batch is 'int'; expected a DataFrame"):
        profile(3)
    with pytest.raises(ConfigError, match="the data raise RuntimeError when read"):
        profile(Broken(x=[1]))


def test_kinds_can_be_given(tmp_path: Path) -> None:
    """Codes as categories, texts as numbers, columns ignored; identifiers kept to a thousand."""
    text = "code,ident,spare\n" + "".join(f"{i % 3},id{i // 2},9\n" for i in range(6_000))
    reference, notes = of_csv(text, tmp_path, categorical=["code", "ident"], ignore=["spare"])
    assert reference.categorical["code"].counts == {"0": 2000, "1": 2000, "2": 2000}
    assert len(reference.categorical["ident"].counts) == 1000
    assert reference.categorical["ident"].counts["__other__"] == 6_000 - 999 * 2
    assert not reference.numeric
    assert "ident: the rarest of more than 1000 categories are one" in notes
    with pytest.raises(
        NotEnoughData, match="no column can be profiled .*ident: left out: it has no value that is a number"
    ):
        of_csv(text, tmp_path, numeric=["ident"], ignore=["code", "spare"])


def test_roles_can_be_named(tmp_path: Path) -> None:
    """Predictions, confidences and labels under other names; columns of a log of requests are no features."""
    frame = FRAME.rename(columns={"prediction": "said", "confidence": "sure", "label": "truth"}).assign(
        endpoint="/p", duration=0.1
    )
    plain = profile(FRAME).reference
    named = profile(frame, prediction="said", confidence="sure", label="truth").reference
    assert counts_of(named) == counts_of(plain)
    assert profile(FRAME.rename(columns={"label": "true_label"})).reference.right == plain.right
    assert "endpoint" not in named.categorical


@pytest.mark.parametrize(
    ("prediction", "is_value"),
    [([0, 1] * 3000, False), ([0.0, 1.0] * 3000, False), (np.arange(6000), True), (np.arange(6000) / 7, True), (["a", "b"] * 3000, False)],
)  # fmt: skip
def test_predictions_are_classes_or_values(prediction: Any, is_value: bool) -> None:
    """Texts and few whole numbers are classes; other numbers are values, of which nothing is right or wrong."""
    reference = profile({"x": np.arange(6000), "prediction": prediction, "label": prediction}).reference
    assert hasattr(reference.prediction, "edges") == is_value
    assert reference.right == reference.labelled == (0 if is_value else 6000)


def test_one_and_one_point_zero_are_one_class() -> None:
    """Labels with gaps come as floats and still match; gaps count in nothing."""
    given: dict[str, Any] = {
        "prediction": [0, 1, 1, 0] * 2000,
        "label": [0.0, 1.0, 0.0, None] * 2000,
        "x": [1.0] * 8000,
    }
    reference = profile(given).reference
    assert (reference.labelled, reference.right) == (6000, 4000)
    assert reference.calibration is None


def test_few_rows_are_noted() -> None:
    """Below 5 000 rows it says what that means."""
    assert profile({"x": [1.0, 2.0]}).notes == [
        "only 2 rows: small drifts cannot be told from chance; give 5000 or more"
    ]


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ({}, NotEnoughData, "data: has no columns; expected a column a feature"),
        ({"x": []}, NotEnoughData, "data: has no rows; expected the training data"),
        ({"x": [1], "y": [1, 2]}, ConfigError, r"lengths of the columns are \[1, 2\]; expected one"),
        ({"x": [None, None]}, NotEnoughData, r"no column can be profiled \(x: left out: it has no value that is there\)"),
        (Path("d.xlsx"), ConfigError, r"d\.xlsx: its name ends in '\.xlsx'; expected \.csv, .*\. Convert or rename it\."),
        (Path("absent.csv"), ConfigError, r"absent\.csv: cannot be read \(no file is there"),
        (Path("absent.parquet"), ConfigError, r"absent\.parquet: cannot be read \("),
    ],
)  # fmt: skip
def test_data_that_cannot_be_profiled_are_refused(data: Any, error: type[Exception], words: str) -> None:
    """One line: where, what, what to do."""
    with pytest.raises(error, match=words) as caught:
        profile(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "Empty CSV file"), ("a,b\n1\n", "Expected 2 columns, got 1"), ("a,a\n1,2\n", "two columns are named 'a'"),
     ("a,b\n", "has no rows")],
)  # fmt: skip
def test_broken_csv_is_refused(tmp_path: Path, content: str, words: str) -> None:
    """Empty, ragged, with a name twice, without rows: the file is named."""
    with pytest.raises((ConfigError, NotEnoughData), match=words) as caught:
        of_csv(content, tmp_path)
    assert "d.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_seen(tmp_path: Path, separator: str) -> None:
    """Semicolons, tabs and bars, whatever the name of the file; a byte order mark is no part of a name."""
    text = "\ufeff" + "".join(f"{a}{separator}{b}\n" for a, b in [("x", "y"), *[("1.5", "a,b")] * 9])
    found = of_csv(text if separator != "," else text.replace("a,b", "ab"), tmp_path).reference
    assert list(found.numeric) == ["x"]
    assert list(found.categorical) == ["y"]


def test_no_message_has_a_row(tmp_path: Path) -> None:
    """What is said of a ragged file is where and how, not what is in it."""
    with pytest.raises(ConfigError) as caught:
        of_csv("a,b\n1,2\nsecret,person,42\n", tmp_path)
    assert "Expected 2 columns, got 3)" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_that_breaks_midway_is_refused(tmp_path: Path) -> None:
    """A row of another length after a million good ones, and a parquet file that is cut off."""
    with pytest.raises(ConfigError, match="Expected 2 columns, got 3"):
        of_csv("a,b\n" + "1,2\n" * 400_000 + "1,2,3\n", tmp_path)
    path = written(tmp_path, "d.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"d\.parquet: cannot be read"):
        profile(path)


class Malicious:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "name", ["d.csv", "d.csv.gz", "d.tsv", "d.parquet", "d.pq", "d.json", "d.npz", "d.pkl", "d.npy"]
)
def test_a_pickle_under_any_name_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It is text, or no file of its kind; nothing in it is executed."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"x": [Malicious()] * 9}))
    with pytest.raises((ConfigError, DamagedData, NotEnoughData)):
        profile(path)
    with pytest.raises((ConfigError, DamagedData)):
        Reference.load(path)
    assert not (tmp_path / "executed").exists()


def test_columns_that_are_not_there_are_refused() -> None:
    """A name that is no column, and a column of two kinds."""
    for option in ("numeric", "categorical", "ignore"):
        with pytest.raises(ConfigError, match="column is 'y'; expected one of x. Name one that is there"):
            profile({"x": [1.0]}, **{option: ["y"]})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="column is 'y'"):
        profile({"x": [1.0]}, label="y")
    with pytest.raises(ConfigError, match="'x' is given as numeric and as categorical"):
        profile({"x": [1.0]}, numeric=["x"], categorical=["x"])


def test_files_without_pyarrow_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file needs [batch]; a dict of arrays does not."""
    path = written(tmp_path, "d.csv")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'modelwatch\[batch\]'"):
        profile(path)
    assert profile({"x": [1.0, 2.0]}).reference.rows == 2


# -- the command -------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    """Run `modelwatch profile`."""
    return CliRunner().invoke(app, ["profile", *map(str, arguments)], catch_exceptions=True)


def test_production_is_counted_on_the_bins_of_the_profile(tmp_path: Path) -> None:
    """A model whose configuration names the profile has its edges, exported edges and categories."""
    run(written(tmp_path, "d.parquet"), "-o", tmp_path / "reference.json")
    config = tmp_path / "modelwatch.yaml"
    config.write_text(
        "service: {name: s}\nmodels:\n  m:\n    version: '1'\n    task: classification\n    classes: [positive, negative]\n"
        "    features: {length: numeric, language: categorical}\n    reference: reference.json\n",
        encoding="utf-8",
    )
    schema = schema_of(load_config(config).models["m"])
    found = Reference.load(tmp_path / "reference.json")
    assert schema.numeric["length"] == (found.numeric["length"].edges, found.numeric["length"].exported)
    assert set(schema.categorical["language"]) == {"en", "de", "fr"}


def test_the_command_writes_a_profile(tmp_path: Path) -> None:
    """A file that loads, one line of result; --show prints every column; the same from the written profile."""
    data, output = written(tmp_path, "d.csv"), tmp_path / "reference.json"
    found = run(data, "-o", output, "--show")
    assert found.exit_code == 0
    reference = Reference.load(output)
    assert reference == profile(data).reference
    assert json.loads(output.read_text())["schema"] == 2
    lines = found.stdout.splitlines()
    assert lines[-1] == f"{output}: 3 features of 6000 rows, sha256 {reference.sha256[:12]}"
    assert lines[:-1] == describe(reference)
    for words in ("length        numeric", "language      categorical  6000 values  3 categories  en 70%",
                  "(confidence)  numeric", "accuracy ", "calibration error 0.", "% invalid"):  # fmt: skip
        assert words in found.stdout
    assert run(output, "--show").stdout.splitlines() == describe(reference)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.csv", "reference.json"]


def test_options_of_the_command(tmp_path: Path) -> None:
    """Kinds, roles and columns to ignore."""
    data, output = written(tmp_path, "d.parquet"), tmp_path / "reference.json"
    assert run(data, "--show").stdout.splitlines() == describe(profile(data).reference)
    found = run(
        data,
        "-o",
        output,
        "--categorical",
        "length",
        "--ignore",
        "score",
        "--ignore",
        "label",
        "--confidence",
        "confidence",
    )
    assert found.exit_code == 0
    reference = Reference.load(output)
    assert (list(reference.numeric), list(reference.categorical)) == ([], ["length", "language"])
    assert reference.labelled == 0


def test_errors_of_the_command(tmp_path: Path) -> None:
    """Nothing to write to, no such file, a folder that is not there, a profile that is no profile."""
    data = written(tmp_path, "d.csv")
    (tmp_path / "folder").mkdir()
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    for arguments, words in (
        ((data,), "output is not given; expected a file. Add -o reference.json, or --show."),
        ((data, "-o", tmp_path / "absent" / "r.json"), "cannot be written (No such file or directory)"),
        ((data, "-o", tmp_path / "folder"), "folder: cannot be written (Is a directory)"),
        ((tmp_path / "none.csv", "--show"), "none.csv: cannot be read"),
        ((broken, "--show"), "broken.json: not a reference profile"),
    ):
        error = run(*arguments).exception
        assert words in str(error)
        assert "\n" not in str(error)
    assert not list(tmp_path.glob(".*"))


def test_profiles_of_the_first_schema_are_shown() -> None:
    """Without rows or moments: the edges are."""
    old = Reference({"x": NumericProfile((1.0, 2.0), (2.0,), (3, 4, 5)), "y": NumericProfile((), (), (3,))})
    lines = describe(old)
    assert lines[0].startswith("an older profile, which does not know its rows, 2 numeric")
    assert lines[1].endswith("edges 1 … 2")


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Long inputs say how far they are, with a share where the number of rows is known."""
    monkeypatch.setattr("modelwatch.batch.profile.EVERY_S", 0.0)
    said: list[str] = []
    path = written(tmp_path, "d.parquet")
    profile(path, say=said.append)
    assert said[0] == f"{path}: pass 1 of 2, 6000 rows of 6000 (100 %)"
    assert said[-1].startswith(f"{path}: pass 2 of 2, ")
    said.clear()
    profile(written(tmp_path, "d.csv"), say=said.append)
    assert said[0].endswith("rows")
