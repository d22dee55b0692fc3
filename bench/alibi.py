"""Window KS by alibi-detect, run in its own environment: of each shift that comes in, the CPU seconds of one prediction."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout

import numpy as np

with redirect_stdout(sys.stderr):  # its imports print
    from alibi_detect.cd import KSDrift

SEED, TRAINING, WINDOW, CALLS = 7, 10_000, 1_000, 20  # of bench/drift.py


def main() -> None:
    """Answer each line of the input."""
    rng = np.random.default_rng(SEED)
    detector = KSDrift(rng.normal(size=(TRAINING, 1)))
    detector.predict(rng.normal(size=(WINDOW, 1)))
    for line in sys.stdin:
        window = rng.normal(float(line), 1, (WINDOW, 1))
        begin = time.thread_time()
        for _ in range(CALLS):
            detector.predict(window)
        print((time.thread_time() - begin) / CALLS, flush=True)


if __name__ == "__main__":
    main()
