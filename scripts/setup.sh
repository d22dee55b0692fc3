#!/usr/bin/env bash
# Sets up what a command needs: setup.sh demo|test|bench. Makes .venv, installs the package and, for tests, Debian's prometheus and chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-demo}
say() { printf 'modelwatch setup: %s\n' "$*" >&2; }

as_root() { # run as root, or say no
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}
apt_updated=
apt_get() { # install Debian packages; nothing is started by it
  command -v apt-get >/dev/null || return 1
  if [ -z "$apt_updated" ]; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null 2>&1 || true
    apt_updated=yes
  fi
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -y --no-install-recommends install "$@" >.setup.log 2>&1
}

python=
for name in python3.13 python3.12 python3.11 python3.10 python3; do
  if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then
  say "no Python 3.10 to 3.13 was found; expected one on the PATH. Run: apt-get install python3 python3-venv"
  exit 2
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if ! apt_get "python$version-venv" && ! apt_get python3-venv; then
    say "$python cannot make virtual environments; expected the module venv. Run as root: apt-get install python3-venv"
    exit 2
  fi
fi

case $purpose in
  demo) extras=demo ;;
  test) extras=dev ;;
  bench) extras=bench,dev ;;
  *) say "purpose is '$purpose'; expected demo, test or bench."; exit 2 ;;
esac
want="$extras $(cat pyproject.toml constraints.txt | cksum)"
have=$(cat .venv/.modelwatch-"$purpose" 2>/dev/null || true)
if [ "$want" != "$have" ]; then
  begin=$(date +%s)
  if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv with $python"
    "$python" -m venv --clear .venv
  fi
  say "installing modelwatch[$extras]"
  if ! .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$extras]" >.setup.log 2>&1; then
    grep -E '^ERROR' .setup.log | head -n 3 >&2 || true
    say "pip could not install the packages; expected a package index that answers. Check the network; the whole log is in .setup.log"
    exit 2
  fi
  echo "$want" >.venv/.modelwatch-"$purpose"
  say "installed in $(($(date +%s) - begin)) s"
fi

if [ "$purpose" = test ]; then
  missing=
  command -v prometheus >/dev/null && command -v promtool >/dev/null || missing="prometheus"
  command -v chromium >/dev/null || missing="$missing chromium"
  if [ -n "$missing" ]; then
    begin=$(date +%s)
    say "installing Debian packages:$( [ "${missing# }" = "$missing" ] && echo " $missing" || echo "$missing")"
    # shellcheck disable=SC2086
    if apt_get $missing; then
      say "installed in $(($(date +%s) - begin)) s"
    elif [ "${CI:-}" = true ]; then
      say "could not install $missing; the tests need it. Run as root: apt-get install $missing (log: .setup.log)"
      exit 2
    else
      say "could not install $missing: the tests that need it are skipped. To run them: apt-get install $missing (log: .setup.log)"
    fi
  fi
fi
