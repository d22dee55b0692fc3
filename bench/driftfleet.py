"""What drift costs Prometheus: KS and the generated rules over 100 features x 20 buckets x 10 replicas, an hour of scrapes.

The CPU is that of the whole process of a real Prometheus, which does nothing else, over some evaluations.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from bench.harness import SEED, Effort, Gate, Row, feature_names
from modelwatch.config import parse_config
from modelwatch.exposition import Page, Source
from modelwatch.generate import generate
from modelwatch.generate.drift import PATH
from modelwatch.kernel import Kernel
from modelwatch.reference import Reference, profile_numeric
from modelwatch.referenceseries import reference_page
from modelwatch.schema import ModelSchema
from modelwatch.signals import Objectives
from modelwatch.signals.drift import FEATURE_KS
from modelwatch.testing import Prometheus, running_prometheus

FEATURES, REPLICAS, EVENTS = 100, 10, 2_000
BLOCK = "54h"  # a server has its last hour in one piece, its head; blocks of 2 h would often cut it in two
SPAN_S, FRESH_S = 3_900, 300
PACE_S = 5  # between two evaluations here; a minute in the rules
MODEL = "fleet"


def measure(effort: Effort) -> list[Row]:
    """Return the rows of one query, and of one evaluation of all rules."""
    step_s, times = (60, 3) if effort.rounds < Effort().rounds else (15, 10)
    of = f"{FEATURES} features x 20 buckets x {REPLICAS} replicas, an hour of scrapes every {step_s} s"
    query, rules = f"PromQL: KS over {of}", f"all drift rules of both windows once, {of}"
    gate = Gate("at most", 0.5)
    absent = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if absent:
        note = f"{', '.join(absent)} is not on the PATH; it is in Debian's package prometheus"
        return [Row(query, None, "Prometheus", None, gate, note=note)]
    with TemporaryDirectory(prefix="modelwatch-bench-") as folder:
        found = evaluated(Path(folder), step_s, times)
    return [Row(query, found[0], gate=gate), Row(rules, found[1])]


def evaluated(folder: Path, step_s: int, times: int) -> tuple[float, float]:
    """Return the CPU seconds of one query, and of one evaluation of all rules, over so many."""
    history, rules = folder / "fleet.om", folder / "drift.yml"
    with history.open("w", encoding="utf-8") as file:
        file.writelines(lines(int(time.time()) // step_s * step_s, step_s))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", "--max-block-duration", BLOCK]
    subprocess.run([*command, str(history), str(folder / "data")], check=True, capture_output=True)
    history.unlink()
    rules.write_text(drift_rules().replace("interval: 1m", f"interval: {PACE_S}s"), encoding="utf-8")
    expression = FEATURE_KS.promql(f'model_name="{MODEL}"', "1h", Objectives()) or ""
    with running_prometheus(folder) as server:
        if len(server.query(expression)) != FEATURES:
            raise AssertionError("the query has compared nothing")
        begin = cpu_s(server)
        for _ in range(times):
            server.query(expression)
        one = (cpu_s(server) - begin) / times
    with running_prometheus(folder, config={"rule_files": [str(rules)]}) as server:
        wait_for(server)
        begin = cpu_s(server)
        time.sleep(PACE_S * times)
        return one, (cpu_s(server) - begin) / times


def wait_for(server: Prometheus) -> None:
    """Wait until every feature has been compared."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if len(server.query('model_feature:drift_certainty:1h{of="numbers"}')) == FEATURES:
            return
        time.sleep(1)
    raise AssertionError("the rules have compared nothing")


def cpu_s(server: Prometheus) -> float:
    """Return the CPU seconds of the server so far."""
    import urllib.request

    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        page = answer.read().decode()
    return float(next(line for line in page.splitlines() if line.startswith("process_cpu_seconds_total")).split()[1])


def drift_rules() -> str:
    """Return the rules of a model of so many features."""
    model = {"version": "1", "task": "classification", "classes": ["a", "b"]}
    features = dict.fromkeys(feature_names(FEATURES), "numeric")
    given = {"service": {"name": "bench"}, "models": {MODEL: {**model, "features": features}}}
    return generate(parse_config(yaml.safe_dump(given)), ["drift-rules"])[PATH]


def lines(now: int, step_s: int) -> Iterator[str]:
    """Yield an hour of scrapes: counters that rise steadily, and the profiles of the last minutes."""
    rng, names = np.random.default_rng(SEED), feature_names(FEATURES)
    reference = Reference({name: profile_numeric(rng.normal(size=10_000)) for name in names})
    numeric = {name: (one.edges, one.exported) for name, one in reference.numeric.items()}
    schema = ModelSchema(classes=("a", "b"), numeric=numeric)
    kernel = Kernel(schema)
    columns = rng.normal(0.2, 1, (EVENTS, FEATURES)).tolist()
    kernel.fold([("/p", 0.1, None, None, "a", 0.9, dict(zip(names, row, strict=True))) for row in columns])
    begin = now - SPAN_S
    counted = Page().render([Source(MODEL, "1", schema, kernel.tally)]).decode()
    for page, first in ((counted, begin), (reference_page([((MODEL, "1"), reference)]).decode(), now - FRESH_S)):
        last = ""
        for line in page.splitlines():
            if line.startswith(("#", "ml_request_duration")):
                continue
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.rstrip("}").partition("{")
            if name != last:
                yield f"# TYPE {name} unknown\n"
            last = name
            for replica in range(REPLICAS):
                head = f'{name}{{{labels},instance="r{replica}",job="bench"}}'
                for at in range(first, now, step_s):
                    worth = float(value) * ((at - begin) / SPAN_S if page is counted else 1)
                    worth = round(worth) if page is counted and float(value).is_integer() else worth  # counts are whole
                    yield f"{head} {worth!r} {at}\n"
    yield "# EOF\n"
