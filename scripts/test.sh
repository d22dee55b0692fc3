#!/usr/bin/env bash
# The test command: sets up, lints, tests. Ends with pytest's own summary.
set -euo pipefail
cd "$(dirname "$0")/.."
begin=$(date +%s)
bash scripts/setup.sh test
printf '%-22s in %d s\n' "set-up" "$(($(date +%s) - begin))"
bash scripts/lint.sh
.venv/bin/python scripts/check_links.py
# many tests wait for servers: two at a time, each file in one process
exec .venv/bin/python -m pytest -m "not slow" -n 2 --dist loadfile --cov --cov-report=term -q "$@"
