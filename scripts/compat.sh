#!/usr/bin/env bash
# Builds the wheel and the sdist, installs each into an environment of its own and tries it; runs the core tests with the oldest and the newest allowed dependencies. Takes minutes, and needs the network.
set -euo pipefail
cd -P "$(dirname "$0")/.."
work=build/compat
rm -rf "$work"
mkdir -p "$work"
say() { printf '%-26s %s\n' "$1" "$2"; }
last() { tail -n 1 "$1"; }
failed() { printf 'failed: %s\n' "$1" >&2; tail -n 30 "$2" >&2; exit 1; }

.venv/bin/python -m pip install -q --disable-pip-version-check build uv
.venv/bin/python -m build --outdir "$work/dist" . >"$work/build.log" 2>&1 || failed "build" "$work/build.log"
wheel=$(ls "$work"/dist/*.whl)
say "built" "$(cd "$work/dist" && ls | tr '\n' ' ')"

try() { # try NAME REQUIREMENT MODE: an environment with nothing else in it
  local place="$work/$1"
  .venv/bin/python -m venv "$place"
  "$place/bin/pip" install -q --disable-pip-version-check "$2" >"$place.log" 2>&1 || failed "$1" "$place.log"
  (cd "$place" && ./bin/python "$OLDPWD/scripts/try_installed.py" "$3") >"$place.log" 2>&1 || failed "$1" "$place.log"
  say "$1" "$(last "$place.log")"
}
try "wheel" "$wheel" core
try "wheel, [server]" "$wheel[server]" server
try "wheel, [demo]" "$wheel[demo]" demo
try "sdist, [server]" "$(ls "$work"/dist/*.tar.gz)[server]" server

core="tests/test_config.py tests/test_kernel.py tests/test_schema.py tests/test_tally.py tests/test_exposition.py tests/test_labels.py tests/test_reference.py tests/record tests/store tests/integrations tests/fuzz"
for resolution in lowest-direct highest; do
  for version in 3.10 3.11 3.12 3.13; do
    [ "$resolution" = highest ] || [ "$version" = 3.10 ] || continue
    python=$("python$version" -c 'import sys; print(sys.executable)' 2>/dev/null) || { say "$resolution, $version" "skipped: there is no python$version"; continue; }
    place="$work/$resolution-$version"
    .venv/bin/uv venv -q --python "$python" "$place"
    VIRTUAL_ENV="$place" .venv/bin/uv pip install -q --resolution "$resolution" -e ".[dev]" >"$place.log" 2>&1 || failed "$resolution, $version" "$place.log"
    # shellcheck disable=SC2086
    CI='' "$place/bin/python" -m pytest -q -m "not slow" -W default $core >"$place.log" 2>&1 || failed "$resolution, $version" "$place.log"
    say "$resolution, $version" "$(last "$place.log")"
  done
done
