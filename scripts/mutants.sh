#!/usr/bin/env bash
# Changes the pure code in small ways, one at a time, and counts how many the tests notice: mutants.sh [MODULE...]. Takes hours for all of it; what was found is kept in build/mutants, and a run that was broken off goes on.
set -euo pipefail
cd -P "$(dirname "$0")/.."
modules=("$@")
[ $# -gt 0 ] || modules=("src/modelwatch/signals/*" "src/modelwatch/slo/*" "src/modelwatch/statistics/*" "src/modelwatch/alerts/*")
tests="tests/stats tests/alerts tests/test_signals.py tests/test_signals_compared.py tests/test_slo.py tests/test_slotracker.py tests/test_quality.py tests/test_estimate.py tests/test_drift_data.py tests/test_drift_detectors.py tests/test_drift_explain.py"
least=${LEAST:-0.9} # of the mutants must be noticed
place=build/mutants
python=$PWD/.venv/bin/python

"$python" -m pip install -q --disable-pip-version-check 'mutmut>=3.8,<4'
mkdir -p "$place"
git ls-files -z src tests examples docs README.md LICENSE CHANGELOG.md pyproject.toml | xargs -0 cp --parents -u -t "$place"
quoted() { printf '"%s", ' "$@"; }
cp pyproject.toml "$place/pyproject.toml"
cat >>"$place/pyproject.toml" <<CONFIG

[tool.mutmut]
source_paths = ["src"]
only_mutate = [$(quoted "${modules[@]}")]
also_copy = [$(quoted examples docs README.md LICENSE CHANGELOG.md)]
pytest_add_cli_args = ["-p", "no:randomly", "-p", "no:xdist", "-m", "not slow"]
pytest_add_cli_args_test_selection = [$(quoted $tests)]
use_git_change_detection = false
CONFIG
cd "$place"
CI=true "$python" -m mutmut run --max-children "${JOBS:-2}"
"$python" -m mutmut results | grep -v killed || true
"$python" -m mutmut export-cicd-stats >/dev/null
"$python" - "$least" <<'PYTHON'
import json
import sys

found = json.load(open("mutants/mutmut-cicd-stats.json"))
noticed = found["killed"] + found["timeout"] + found["segfault"]
total = noticed + found["survived"] + found["no_tests"] + found["suspicious"]
print(f"{noticed} of {total} mutants noticed: {noticed / max(total, 1):.1%}; expected at least {float(sys.argv[1]):.0%}")
sys.exit(noticed < float(sys.argv[1]) * total)
PYTHON
