"""What modelwatch costs a service before its first request: CPU of the import, memory, installed packages."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.harness import SEED, Effort, Gate, Row, feature_names, missing, reference_values
from modelwatch.reference import Reference, profile_numeric

FEATURES = 10
LEAVE = "; import os; os._exit(0)"  # the end of the interpreter is not what is measured
#: Prints the peak memory in bytes. What `wait4` tells begins, on Linux, with what the parent had.
PEAK = """
try:
    with open("/proc/self/status") as status:
        print(1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1]))
except OSError:
    import resource, sys
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


class Cost(NamedTuple):
    """CPU seconds and peak memory of one process."""

    cpu_s: float
    peak_mb: float


def measure(effort: Effort) -> list[Row]:
    """Return the rows of the start."""
    with TemporaryDirectory(prefix="modelwatch-bench-") as folder:
        config = _configuration(Path(folder))
        load = "import modelwatch; modelwatch.Monitor"
        codes = {
            "empty": "pass",
            "package": "import modelwatch",
            "monitor": load,
            "config": f"{load}.from_config({str(config)!r})",
            "numpy": "import numpy",
            "client": "import prometheus_client",
        }
        if not missing("opentelemetry.sdk"):
            codes["otel"] = "import opentelemetry.sdk.metrics"
        found = _best(codes, effort.rounds // 2)
    empty = found["empty"]
    cpu = {name: cost.cpu_s - empty.cpu_s for name, cost in found.items()}
    memory = {name: cost.peak_mb - empty.peak_mb for name, cost in found.items()}
    limit = Gate("at most", 0.15)
    return [
        Row("import modelwatch (loads its parts when they are used)", cpu["package"], "import prometheus_client", cpu["client"], limit),
        Row("… and modelwatch.Monitor", cpu["monitor"], "import numpy, which is in it", cpu["numpy"], limit),
        Row("… and modelwatch.Monitor", cpu["monitor"], "import opentelemetry.sdk.metrics", cpu.get("otel"), note=missing("opentelemetry.sdk")),
        Row("Monitor.from_config, 10 features, over that", cpu["config"] - cpu["monitor"], gate=Gate("at most", 0.3)),
        Row("peak memory after modelwatch.Monitor, over an empty start", memory["monitor"], "numpy", memory["numpy"], Gate("at most", 40), "MB"),
        Row("peak memory after Monitor.from_config, over an empty start", memory["config"], "prometheus_client", memory["client"], unit="MB"),
        Row("installed packages of the core, itself included", len(required("modelwatch")), "prometheus_client", len(required("prometheus_client")), unit="packages"),
    ]  # fmt: skip


def _configuration(folder: Path) -> Path:
    profiles = {name: profile_numeric(values) for name, values in reference_values(FEATURES).items()}
    (folder / "reference.json").write_text(Reference(profiles).to_json(), encoding="utf-8")
    features = ", ".join(f"{name}: numeric" for name in feature_names(FEATURES))
    path = folder / "modelwatch.yaml"
    path.write_text(
        f"service: {{name: bench-{SEED}}}\n"
        f"models:\n  sentiment_classifier:\n    version: '1.0'\n    task: classification\n"
        f"    classes: [negative, neutral, positive]\n    features: {{{features}}}\n    reference: reference.json\n"
        f"live: {folder / 'live.db'}\n",
        encoding="utf-8",
    )
    return path


def _best(codes: Mapping[str, str], rounds: int) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for turn in range(rounds + 1):
        for name, code in codes.items():
            spent = _cpu(code)
            if turn:  # the first round writes the byte code and warms the disk
                have = found.get(name)
                found[name] = Cost(min(have.cpu_s, spent), have.peak_mb) if have else Cost(spent, _peak(code))
    return found


def _cpu(code: str) -> float:
    """Return the CPU seconds of a process that runs the code."""
    process = os.posix_spawn(sys.executable, [sys.executable, "-c", code + LEAVE], os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise AssertionError(f"{code!r} has failed")
    return usage.ru_utime + usage.ru_stime


def _peak(code: str) -> float:
    """Return the peak memory of a process that runs the code, in MB."""
    run = [sys.executable, "-c", f"{code}\n{PEAK}"]
    return int(subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout) / 2**20


def required(package: str, found: set[str] | None = None) -> set[str]:
    """Return a package and all that its plain installation brings, by their installed metadata."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found = set() if found is None else found
    name = canonicalize_name(package)
    if name in found:
        return found
    found.add(name)
    for text in importlib.metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            required(requirement.name, found)
    return found
