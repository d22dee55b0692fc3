"""The demo's own log, analysed again, is what its store has counted."""

from __future__ import annotations

import time
from pathlib import Path

from modelwatch import load_config, names
from modelwatch.batch import analyze
from modelwatch.demo.log import labels_beside
from modelwatch.demo.run import run_demo
from modelwatch.store.live import Key
from modelwatch.store.reader import LiveReader, Totals
from modelwatch.tally import Tally


def counts_of(tally: Tally) -> dict[str, object]:
    """Return what predictions and labels counted, without the tables of the monitor itself."""
    own = {names.INTERNAL_ERRORS.name, names.ABANDONED.name, names.CALLER_FOLDS.name}
    found: dict[str, object] = {}
    for name, rows in tally.as_dict().items():
        if name not in own and not name.startswith("batch_"):
            found[name] = {labels: (bins, float(f"{total:.12g}")) for labels, (bins, total) in rows.items()}
    return found


def test_the_log_of_the_demo_is_what_its_store_counted(tmp_path: Path) -> None:
    """Requests that fail or are slow, predictions, features, labels: to the last count; two workers write one file."""
    log = tmp_path / "demo.jsonl"
    said: list[str] = []
    summary = run_demo(port=0, incident="errors", seconds=24, data=tmp_path, log=log, say=said.append)
    assert summary.is_exact
    reader = LiveReader(tmp_path / "live.db")
    changes, host = reader.poll()
    reader.close()
    totals = Totals()
    totals.apply(changes, host.schemas)
    config = load_config(tmp_path / "modelwatch.yaml", secrets=False)
    model = config.model()
    found = analyze(log, labels=labels_beside(log), model=model, now=time.time())
    stored = totals.tallies[Key(model.name, model.version)]
    assert counts_of(found.total) == counts_of(stored)
    assert stored.tables[names.FAILED.name].total() > 0  # the incident begins after 20 s
    assert stored.tables[names.LABELS.name].total() > 0
    assert stored.tables[names.LABEL_STATES.name].total() > 0
    assert stored.tables[names.SAMPLES.name].total() > 0
    assert stored.tables[names.FEATURE_VALUE.name].total() > 100
    assert any(str(log) in line for line in said)
