"""What one evaluation costs: 20 models of 50 features with all objectives, within 200 ms of CPU."""

from __future__ import annotations

import time

import numpy as np
import pytest

from modelwatch.alerts import evaluate, objectives_for, rules_of
from modelwatch.alerts.state import AlertState
from modelwatch.config import parse_config
from modelwatch.kernel import Kernel
from modelwatch.reference import CategoricalProfile, Reference, profile_numeric
from modelwatch.schema import ModelSchema, latency_edges
from modelwatch.signals import Facts, Look

LIMIT_S = 0.2
MODELS, NUMERIC, CATEGORICAL = 20, 40, 10
LETTERS = "abcdefgh"


@pytest.mark.slow
def test_cost_of_an_evaluation() -> None:
    """The best of five, in CPU time: other processes of the machine do not count."""
    chance = np.random.default_rng(1)
    numbers, categories = ([f"{kind}{i}" for i in range(n)] for kind, n in (("n", NUMERIC), ("c", CATEGORICAL)))
    reference = Reference(
        {name: profile_numeric(chance.normal(size=5000)) for name in numbers},
        {name: CategoricalProfile({letter: 100 * (i + 1) for i, letter in enumerate(LETTERS)}) for name in categories},
        5000,
        CategoricalProfile({"a": 2000, "b": 3000}),
    )
    features = ", ".join([*(f"{name}: numeric" for name in numbers), *(f"{name}: categorical" for name in categories)])
    slos = "{latency: {}, availability: {}, error_rate: {}, accuracy: {}, throughput: {}, cost: {hourly: 1}}"
    body = f"{{version: '1', task: classification, classes: [a, b], features: {{{features}}}, slos: {slos}}}"
    text = "\n".join(["service: {name: s}", "models:", *(f"  m{i}: {body}" for i in range(MODELS))])
    config = parse_config(text, environ={})
    schema = ModelSchema(
        latency=latency_edges([0.5]),
        classes=("a", "b"),
        numeric={name: (profile.edges, profile.exported) for name, profile in reference.numeric.items()},
        categorical=dict.fromkeys(categories, tuple(LETTERS)),
    )
    kernel = Kernel(schema)
    for _ in range(4000):
        row = dict(zip(numbers, chance.normal(size=NUMERIC).tolist(), strict=True))
        row |= {name: LETTERS[i % 8] for i, name in enumerate(categories)}
        kernel.fold([("/predict", 0.1, None, "s", "a", 0.9, row)])
    rules = {name: rules_of(config, name, reference) for name in config.models}
    objectives = {name: objectives_for(config, name, reference) for name in config.models}
    states: dict[str, dict[str, AlertState]] = {name: {} for name in config.models}
    best, verdicts = float("inf"), 0
    for _ in range(6):
        began = time.process_time()
        verdicts = 0
        for name in config.models:
            look = Look(
                name, 1e9, lambda *_: kernel.tally, {"1": schema}, objectives[name], references={"1": reference},
                facts=Facts({"a": True}, reporting=True, ages={"1": 1e6}),
            )  # fmt: skip
            evaluation = evaluate(rules[name], look, states[name])
            states[name] = dict(evaluation.states)
            verdicts += len(evaluation.verdicts)
        best = min(best, time.process_time() - began)
    print(f"{verdicts} verdicts in {1000 * best:.0f} ms of CPU")
    assert verdicts >= MODELS * (NUMERIC + CATEGORICAL) * 4
    assert best <= LIMIT_S
