#!/usr/bin/env bash
# Fails where a line or a branch of the pure layers is reached by no test of theirs: coverage.sh [OPTION OF PYTEST...].
set -euo pipefail
cd "$(dirname "$0")/.."
layers="statistics signals slo alerts binning columns featurekernel kernel"
tests="tests/stats tests/alerts tests/test_signals.py tests/test_signals_compared.py tests/test_normal_traffic.py tests/test_slo.py tests/test_slotracker.py tests/test_quality.py tests/test_estimate.py tests/test_binning.py tests/test_kernel.py tests/test_kernel_labels.py tests/test_hostile.py tests/batch/test_counting.py tests/sources/test_drift.py tests/generate/test_drift_rules.py tests/generate/test_generate.py"
doctests="src/modelwatch/statistics src/modelwatch/signals src/modelwatch/slo src/modelwatch/alerts"
# what measures time is left out: counting lines takes some
exec .venv/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow" --deselect tests/alerts/test_cost.py $tests $doctests \
  $(printf -- '--cov=modelwatch.%s ' $layers) --cov-branch --cov-report=term-missing --cov-fail-under=100 "$@"
