#!/usr/bin/env bash
# Style, types, layers, spelling.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
for command in "ruff check" "ruff format --check" "mypy" "lint-imports" "codespell src tests README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md docs scripts"; do
  begin=$(date +%s)
  # shellcheck disable=SC2086
  out=$($bin/$command 2>&1) || { printf '%s\n' "$out"; printf 'failed: %s\n' "$command"; exit 1; }
  printf '%-22s ok in %d s\n' "${command%% src*}" "$(($(date +%s) - begin))"
done
