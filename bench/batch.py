"""What a log costs: a million rows in memory and from parquet, the memory of ten million, and peers at the same million."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.batchrun import CATEGORICAL, NUMERIC
from bench.harness import QUICK, ROOT, Effort, Gate, Row, child
from bench.peers import environment

MILLION, TEN = 1_000_000, 10_000_000
QUICKLY = 100_000
RUN = "bench.batchrun"
PEER_S = 1800.0
#: What each needs beside it to be imported at all, and how often ours must be under it.
PEERS = {
    "nannyml": (("pandas<3", "statsmodels", "pyarrow"), 60),
    "evidently": (("pandas<3", "pyarrow"), 400),
    "whylogs": (("pandas<3", "pyarrow"), 150),
}


def measure(effort: Effort) -> list[Row]:
    """Return the rows of logs."""
    quick = effort == QUICK
    rows, many = (QUICKLY, MILLION) if quick else (MILLION, TEN)
    with TemporaryDirectory(prefix="modelwatch-bench-") as name:
        folder = Path(name)
        return _measure(folder, rows, many, effort.few)


def _measure(folder: Path, rows: int, many: int, turns: int) -> list[Row]:
    columns = NUMERIC + CATEGORICAL
    log, training = folder / "log.parquet", folder / "training.parquet"
    for path in (log, training):
        child(RUN, "write", path, rows, CATEGORICAL, "plain")
    memory = child(RUN, "memory", rows, turns)["cpu_s"]
    counted, read = child(RUN, "count", log, CATEGORICAL, turns), child(RUN, "read", log, turns)
    what = f"{rows:,} rows x {columns} columns"
    found = [
        Row(f"{what}, in memory: binned on the edges of a profile", memory, gate=Gate("at most", 0.3)),
        Row(
            f"{what}, a parquet file: analyze", counted["cpu_s"], "reading it, one thread", read["cpu_s"],
            Gate("times the peer", 1.5),
        ),
    ]  # fmt: skip
    found += _peaks(folder, rows, many)
    for peer, (beside, times) in PEERS.items():
        seconds, note = _peer(peer, beside, training, log)
        text = f"drift of {what} against as many; ours: the log, against a profile"
        found.append(Row(text, memory, peer, seconds, Gate("under the peer", times), note=note))
    return found


def _peaks(folder: Path, few: int, many: int) -> list[Row]:
    """Return the most memory of a process that counts a long log by the hour, and a short one."""
    peaks = {}
    seconds = 0.0
    for rows in (few, many):
        path = folder / f"{rows}.parquet"
        child(RUN, "write", path, rows, 0, "timed")
        run = child(RUN, "count", path, 0, 1)
        peaks[rows], seconds = run["peak_mb"], run["cpu_s"]
        path.unlink()
    return [
        Row(
            f"{many:,} rows x {NUMERIC} columns over 30 days by the hour, two threads: peak of the process", peaks[many],
            f"{few:,} rows", peaks[few], Gate("at most", 500), unit="MB",
        ),
        Row(f"{many:,} rows x {NUMERIC} columns over 30 days by the hour: CPU", seconds),
    ]  # fmt: skip


def _peer(name: str, beside: tuple[str, ...], training: Path, log: Path) -> tuple[float | None, str]:
    """Return the CPU seconds of a peer, or None and why it was not run."""
    python, note = environment(name, *beside)
    if python is None:
        return None, note
    command = [str(python), "-I", str(ROOT / "bench" / "batchpeers.py"), name, str(training), str(log)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_S, check=False)
    except subprocess.TimeoutExpired:
        return None, f"it took longer than {PEER_S:g} s"
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None, f"it failed: {done.stderr.strip().splitlines()[-1][:120]}"
    return float(json.loads(done.stdout)), ""
