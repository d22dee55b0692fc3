"""The accuracy of the demo's model: what its objective is made of, and what an incident does to it."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelwatch import load_config
from modelwatch.demo import labellers, run
from modelwatch.demo.incidents import SCRIPTS
from modelwatch.demo.model import predict
from modelwatch.demo.traffic import Traffic, read_other_texts, read_texts
from modelwatch.groundtruth.store import Store
from modelwatch.statistics import wilson

SECONDS = 6.0  # of traffic with and without the incident
SETTLED_S = 2.5
Z = 4.0  # how far from the truth chance may take a run, in standard errors: one run in ten thousand is further


class Labelled(NamedTuple):
    """What the service has counted of labels."""

    right: float
    all: float


def share_right(kinds: set[str] | None = None) -> float:
    """Return the accuracy of the model on the demo's reviews, or on those of some kinds."""
    texts = read_texts() if kinds is None else read_other_texts(kinds)
    return sum(predict(text.text).label == text.label for text in texts) / len(texts)


def test_the_objective_is_the_measured_accuracy_less_five_points(tmp_path: Path) -> None:
    """The model is measured on its corpus; the configuration says so beside the objective."""
    run.write_config(tmp_path)
    accuracy = load_config(tmp_path / run.CONFIG).models["sentiment_classifier"].slos.accuracy
    assert accuracy is not None
    assert accuracy.objective == pytest.approx(share_right() - 0.05, abs=0.005)
    said = re.search(
        r"accuracy: .*# what the model reaches on the demo's reviews, (\d+) %, less 5 points",
        (tmp_path / run.CONFIG).read_text("utf-8"),
    )
    assert said
    assert int(said[1]) == round(100 * share_right())
    assert share_right({"sarcasm"}) < accuracy.objective / 2


def counted(url: str) -> Labelled:
    """Return what /metrics says of the labels."""
    page = httpx.get(f"{url}/metrics", trust_env=False).text
    found = {"correct": 0.0, "wrong": 0.0}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "ml_labels_total":
                found[sample.labels["outcome"]] += sample.value
    return Labelled(found["correct"], sum(found.values()))


async def labelled(url: str, store: Store) -> tuple[Labelled, Labelled]:
    """Send reviews as they are, then sarcastic ones among them, while the team labels; return what was counted after each."""
    reviews, done, after = read_texts(), asyncio.Event(), []
    team = asyncio.create_task(labellers.Team(url, store, run.truth_of(reviews), run.CLASSES, 3).run(done))
    for name in ("none", "accuracy"):
        script = SCRIPTS[name]
        await Traffic(url, reviews, script, time.time() - script.first_s, 3).run(SECONDS, asyncio.Event())
        await asyncio.sleep(SETTLED_S)
        after.append(await asyncio.to_thread(counted, url))
    done.set()
    await team
    return after[0], after[1]


def test_the_accuracy_incident_lowers_the_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels agree with what the model reaches on what is sent: on ordinary reviews, and on those of the incident.

    That of the incident is below the objective. Every prediction is kept, and the team is quick.
    """
    monkeypatch.setattr(labellers, "DELAY_S", 0.1)
    run.write_config(tmp_path)
    config = tmp_path / run.CONFIG
    config.write_text(config.read_text("utf-8").replace("sampling_rate: 0.1", "sampling_rate: 1"), "utf-8")
    accuracy = load_config(config).models["sentiment_classifier"].slos.accuracy
    assert accuracy is not None
    store = Store(run.store_of(tmp_path))
    service = run.Service(tmp_path, run.free_port(0), "none", time.time())
    try:
        service.start()
        before, after = asyncio.run(labelled(f"http://{run.HOST}:{service.port}", store))
    finally:
        service.stop()
        store.close()
    ordinary = wilson(before.right, before.all, Z)
    incident = wilson(after.right - before.right, after.all - before.all, Z)
    assert ordinary and incident
    assert min(before.all, after.all - before.all) > 100
    assert ordinary.low <= share_right() <= ordinary.high
    (fault,) = SCRIPTS["accuracy"].incidents
    mixed = fault.share * share_right(set(fault.kinds)) + (1 - fault.share) * share_right()
    assert mixed < accuracy.objective < share_right()
    assert incident.low <= mixed <= incident.high
    assert incident.value < ordinary.value
