"""Whether Hájek's interval covers the true accuracy under each sampling design, and whether the plain mean's does.

Each month is 20 000 predictions of one of four models. Labels are drawn by the designs of `groundtruth.sampling`, and
judged by `statistics.SampleSums`. Run `python simulations/hajek_coverage.py` for the table; `--write` puts it into
docs/ground-truth.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.groundtruth.sampling import STRATA_EDGES, Design, Seen, stratified, uncertainty, uniform
from modelwatch.statistics import SampleSums, wilson

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ground-truth.md"
BEGIN, END = "<!-- simulated: begin -->", "<!-- simulated: end -->"
PREDICTIONS = 20_000
LABELS = (200, 1000)
MONTHS = 1000
SEED = 20_261_124
NOT_OFFERED = "1 − c alone (not offered)"

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Model = Callable[[np.random.Generator, int], tuple[Floats, Bools]]


def calibrated(rng: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """Return confidences that mean what they say, and whether the model was right."""
    confidence = 0.5 + 0.5 * rng.beta(2.5, 1, n)
    return confidence, rng.random(n) < confidence


def overconfident(rng: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """Return confidences whose doubt is a third of what it should be."""
    honest, right = calibrated(rng, n)
    return 1 - (1 - honest) / 3, right


def saturated(rng: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """Return confidences of which two thirds are 0.97 to 1, and a tenth of those is wrong, as of naive Bayes."""
    sure = rng.random(n) < 2 / 3
    confidence = np.where(sure, rng.uniform(0.97, 1, n), rng.uniform(0.5, 0.97, n))
    return confidence, rng.random(n) < np.where(sure, 0.9, 0.65 + 0.2 * (confidence - 0.5))


def separating(rng: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """Return confidences that tell right from wrong: seven of ten are 0.95 to 1 and nearly always right."""
    sure = rng.random(n) < 0.7
    confidence = np.where(sure, rng.uniform(0.95, 1, n), rng.uniform(0.5, 0.7, n))
    return confidence, rng.random(n) < np.where(sure, 0.995, 0.6)


MODELS: dict[str, Model] = {
    "calibrated": calibrated,
    "overconfident": overconfident,
    "saturated": saturated,
    "separating": separating,
}


def inclusion_of(design: Design, confidence: Floats) -> Floats:
    """Return `design.of` for many confidences."""
    if not design.inclusion:
        return np.full(len(confidence), design.otherwise)
    return np.array(design.inclusion)[np.searchsorted(design.edges, confidence, "left")]


def seen_of(rng: np.random.Generator, model: Model, rate: float) -> dict[int, Seen]:
    """Return what a month of uniform sampling at the same rate has told of the strata of confidence."""
    confidence, right = model(rng, PREDICTIONS)
    kept = rng.random(PREDICTIONS) < rate
    strata = np.searchsorted(STRATA_EDGES, confidence, "left")
    found = {}
    for k in range(len(STRATA_EDGES) + 1):
        mine = kept & (strata == k)
        n, w = int(mine.sum()), 1 / rate
        found[k] = Seen(n * w, n, n * w, float(right[mine].sum()) * w)
    return found


class Row(NamedTuple):
    """What one design did for one model, over all months."""

    model: str
    design: str
    labels: int
    truth: float
    covered: float
    bias: float
    width: float
    plain_covered: float
    plain_bias: float
    errors: float  # found in a month


def month(
    rng: np.random.Generator, model: Model, design: Design
) -> tuple[float, tuple[float, float, float], tuple[float, float, float], int]:
    """Return (true accuracy, Hájek's estimate and interval, the plain ones, errors found) of one month."""
    confidence, right = model(rng, PREDICTIONS)
    inclusion = inclusion_of(design, confidence)
    kept = rng.random(PREDICTIONS) < inclusion
    weighted = SampleSums.of(right[kept], inclusion[kept]).interval()
    hits, n = int(right[kept].sum()), int(kept.sum())
    plain = wilson(hits, n)
    assert weighted is not None, "a month without labels"
    assert plain is not None
    return float(right.mean()), weighted, plain, n - hits


def run(model_name: str, design_name: str, labels: int, months: int, seed: int = SEED) -> Row:
    """Simulate one design for one model."""
    rng = np.random.default_rng([seed, list(MODELS).index(model_name), list(DESIGNS).index(design_name), labels])
    model, rate = MODELS[model_name], labels / PREDICTIONS
    doubt = float(1 - model(rng, 200_000)[0].mean())
    found = []
    for _ in range(months):
        design = DESIGNS[design_name](rng, model, rate, doubt)
        found.append(month(rng, model, design))
    truth = np.array([each[0] for each in found])
    hajek, plain = (np.array([each[k] for each in found]) for k in (1, 2))
    return Row(
        model_name,
        design_name,
        labels,
        float(truth.mean()),
        float(((hajek[:, 1] <= truth) & (truth <= hajek[:, 2])).mean()),
        float((hajek[:, 0] - truth).mean()),
        float((hajek[:, 2] - hajek[:, 1]).mean()),
        float(((plain[:, 1] <= truth) & (truth <= plain[:, 2])).mean()),
        float((plain[:, 0] - truth).mean()),
        float(np.mean([each[3] for each in found])),
    )


def doubt_alone(rate: float, doubt: float) -> Design:
    """Return the design that is not offered: in proportion to 1 - confidence, with nothing uniform in it."""
    edges = tuple(k / 200 for k in range(1, 200))
    levels = (rate * (1 - (k + 0.5) / 200) / doubt for k in range(200))
    return Design(rate, edges=edges, inclusion=tuple(min(1.0, level) for level in levels))


DESIGNS: dict[str, Callable[[np.random.Generator, Model, float, float], Design]] = {
    "uniform": lambda _rng, _model, rate, _doubt: uniform(rate),
    "uncertainty": lambda _rng, _model, rate, doubt: uncertainty(rate, doubt),
    "stratified": lambda rng, model, rate, _doubt: stratified(rate, seen_of(rng, model, rate)),
    NOT_OFFERED: lambda _rng, _model, rate, doubt: doubt_alone(rate, doubt),
}


def table(rows: list[Row], months: int) -> str:
    """Return the rows as a Markdown table."""
    uniform_rows = {(row.model, row.labels): row for row in rows if row.design == "uniform"}
    head = (
        "model",
        "design",
        "labels",
        "true accuracy",
        "Hájek covers",
        "its bias",
        "its width over uniform's",
        "plain mean covers",
        "its bias",
        "errors found over uniform's",
    )
    lines = [
        f"{months:,} months of {PREDICTIONS:,} predictions a row, seed {SEED}; intervals at 95 %; points of accuracy.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for row in rows:
        base = uniform_rows[row.model, row.labels]
        lines.append(
            f"| {row.model} | {row.design} | {row.labels} | {100 * row.truth:.1f} % | {100 * row.covered:.1f} %"
            f" | {100 * row.bias:+.2f} | {row.width / base.width:.2f} | {100 * row.plain_covered:.1f} %"
            f" | {100 * row.plain_bias:+.1f} | {row.errors / base.errors:.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Print the table, or write it into the page. 1 where the interval of an offered design covers less than 90 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=MONTHS)
    parser.add_argument("--write", action="store_true", help="put the table into docs/ground-truth.md")
    options = parser.parse_args()
    rows = [run(model, design, n, options.months) for model in MODELS for n in LABELS for design in DESIGNS]
    text = table(rows, options.months)
    if options.write:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, tail = rest.partition(END)
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
    else:
        print(text)
    return 0 if all(row.covered >= 0.9 for row in rows if row.design != NOT_OFFERED) else 1


if __name__ == "__main__":
    raise SystemExit(main())
