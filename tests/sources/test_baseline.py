"""A model that breaks, and a process that dies, never make what is broken the baseline."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from modelwatch import Monitor
from modelwatch.batch.profile import profile
from modelwatch.config import load_config
from modelwatch.serve.looks import LiveLooks
from modelwatch.signals.drift import ANSWER_PSI, FEATURE_KS

BREAKS = """
import os, random, signal, sys
from modelwatch import Monitor
monitor, chance = Monitor.from_config(sys.argv[1]), random.Random(1)
for i in range(900):
    monitor.record("/p", duration=0.01, prediction="a", confidence=0.99, features={"x": chance.gauss(9, 1)})
assert monitor.flush(30)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_crash_hides_no_incident(tmp_path: Path) -> None:
    """Defect g1: broken, killed and started again, it is still compared with training, and still as far from it."""
    chance = random.Random(2)
    n = 5000
    data = {
        "x": [chance.gauss(0, 1) for _ in range(n)], "prediction": [chance.choice("ab") for _ in range(n)],
        "confidence": [chance.uniform(0.5, 1) for _ in range(n)],
    }  # fmt: skip
    reference = tmp_path / "reference.json"
    reference.write_text(profile(data).reference.to_json())
    before = reference.read_bytes()
    path = tmp_path / "modelwatch.yaml"
    path.write_text(
        "service: {name: api}\nlive: live.db\nmodels:\n  m: {version: '1', task: classification, classes: [a, b],"
        " features: {x: numeric}, reference: reference.json}\n"
    )
    died = subprocess.run([sys.executable, "-c", BREAKS, str(path)], check=False, timeout=60)
    assert died.returncode == -9
    monitor = Monitor.from_config(path)
    for _ in range(1000):
        monitor.record("/p", duration=0.01, prediction="a", confidence=0.99, features={"x": chance.gauss(9, 1)})
    assert monitor.flush(30)
    config = load_config(path)
    looks = LiveLooks(config, Path(config.live))
    counts = looks.take({})["m"].counts(3600.0)
    looks.close()
    monitor.close()
    assert counts is not None
    assert counts.reference is not None
    (ks,) = FEATURE_KS.measure(counts).values()
    assert (ks[0] or 0) > 0.9  # of 20 bins, all but the last is empty
    assert ks[1] == 1900
    psi = [found[0] or 0 for found in ANSWER_PSI.measure(counts).values()]
    assert len(psi) == 2
    assert min(psi) > 0.5
    assert reference.read_bytes() == before
