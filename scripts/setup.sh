#!/usr/bin/env bash
# Sets up what a command needs: setup.sh demo|test|bench. Makes .venv, installs the package and, for tests, Debian's prometheus, prometheus-alertmanager, prometheus-pushgateway, postgresql, chromium and a Java.
set -euo pipefail
cd -P "$(dirname "$0")/.."
purpose=${1:-demo}
say() { printf 'modelwatch setup: %s\n' "$*" >&2; }

case $purpose in # the extras, and the purposes whose environment serves this one too
  demo) extras=demo serve="demo test bench" ;;
  test) extras=dev serve="test bench" ;;
  bench) extras=bench,dev serve=bench ;;
  *) say "purpose is '$purpose'; expected demo, test or bench."; exit 2 ;;
esac
if ! touch .setup.log 2>/dev/null; then
  say "$PWD is not writable for $(id -un); expected a checkout of your own. Run: chown -R $(id -un) '$PWD'"
  exit 2
fi
if command -v flock >/dev/null; then # one set-up at a time in one checkout
  exec 9<.
  flock -n 9 || { say "waiting for another set-up of this checkout"; flock 9; }
fi

as_root() { # run as root, or say no
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}
apt_fault=
apt_updated=
apt_get() { # install Debian packages; on failure apt_fault says why in one line
  if ! command -v apt-get >/dev/null; then
    apt_fault="there is no apt-get here"
    return 1
  fi
  if ! as_root true; then
    apt_fault="not root, and no sudo without a password"
    return 1
  fi
  local options="-qq -y -o DPkg::Lock::Timeout=300"
  # shellcheck disable=SC2086
  if [ -z "$apt_updated" ] && ! as_root apt-get $options -o APT::Update::Error-Mode=any update >.setup.log 2>&1; then
    say "apt-get update failed: $(grep -m 1 '^[EW]:' .setup.log || tail -n 1 .setup.log). Going on with the package lists there are."
  fi
  apt_updated=yes
  # shellcheck disable=SC2086
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get $options --no-install-recommends install "$@" >.setup.log 2>&1 </dev/null 9<&-; then
    apt_fault="apt-get: $(grep -m 1 '^E:' .setup.log || tail -n 1 .setup.log) (log: .setup.log)"
    return 1
  fi
}
stop_service() { # the package starts a server, now and at every boot; the tests start their own
  if [ -d /run/systemd/system ]; then
    as_root systemctl disable --now "$1" >>.setup.log 2>&1 || say "could not switch off the service $1. Run as root: systemctl disable --now $1"
  elif [ -x "/etc/init.d/$1" ]; then
    as_root "/etc/init.d/$1" stop >>.setup.log 2>&1 || say "could not stop the service $1. Run as root: /etc/init.d/$1 stop"
    as_root update-rc.d "$1" disable >>.setup.log 2>&1 || true
  fi
}

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }
complete() { "$1" -c 'import venv, ensurepip' 2>/dev/null; } # Debian ships these two apart
find_python() { # the first that is usable and complete, else the first that is usable
  local name
  python=
  for name in python3.13 python3.12 python3.11 python3.10 python3; do
    if command -v "$name" >/dev/null && usable "$name"; then
      python=${python:-$name}
      if complete "$name"; then
        python=$name
        return
      fi
    fi
  done
}
find_python
if [ -z "$python" ]; then
  say "there is no Python 3.10 or newer on the PATH; installing python3 and python3-venv"
  apt_get python3 python3-venv || true
  find_python
  if [ -z "$python" ]; then
    say "no Python 3.10 or newer was found${apt_fault:+ ($apt_fault)}; expected one on the PATH. Run as root: apt-get install python3 python3-venv"
    exit 2
  fi
fi
if ! complete "$python"; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  say "$python cannot make virtual environments; installing python$version-venv"
  apt_get "python$version-venv" || apt_get python3-venv || true
  find_python
  if ! complete "$python"; then
    say "$python cannot make virtual environments${apt_fault:+ ($apt_fault)}; expected its module venv. Run as root: apt-get install python$version-venv"
    exit 2
  fi
fi

want="$(cat pyproject.toml constraints.txt | cksum) $PWD" # the path, too: an environment that was copied still runs the first checkout
ready=
for name in $serve; do
  [ "$(cat .venv/.modelwatch-"$name" 2>/dev/null)" != "$want" ] || ready=yes
done
if [ -z "$ready" ] || ! usable .venv/bin/python; then
  begin=$(date +%s)
  if [ -z "$(grep -sF "$PWD" .venv/bin/pip)" ] || ! usable .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv with $python"
    if ! "$python" -m venv --clear .venv >.setup.log 2>&1; then
      say "$python could not make .venv: $(tail -n 1 .setup.log). Remove .venv and try again"
      exit 2
    fi
  fi
  say "installing modelwatch[$extras]"
  install() { .venv/bin/python -m pip install -q --disable-pip-version-check "$@" -c constraints.txt -e ".[$extras]" </dev/null >.setup.log 2>&1; }
  if ! install; then
    # a stale cache hides new releases; an index that does not answer is no matter of the cache
    if grep -q 'Retrying (Retry' .setup.log || ! install --no-cache-dir; then
      say "pip could not install the packages: $(grep -m 1 -o 'ERROR: .*' .setup.log || tail -n 1 .setup.log)"
      say "expected a package index that answers and a disk with room. Check the network; the whole log is in .setup.log"
      exit 2
    fi
  fi
  echo "$want" >.venv/.modelwatch-"$purpose"
  say "installed in $(($(date +%s) - begin)) s"
fi

if [ "$purpose" = test ]; then
  missing=
  command -v prometheus >/dev/null && command -v promtool >/dev/null || missing="prometheus"
  command -v prometheus-alertmanager >/dev/null && command -v amtool >/dev/null || missing="$missing prometheus-alertmanager"
  command -v prometheus-pushgateway >/dev/null || missing="$missing prometheus-pushgateway"
  command -v victoria-metrics >/dev/null && command -v vmalert >/dev/null || missing="$missing victoria-metrics"
  command -v chromium >/dev/null || missing="$missing chromium"
  command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
  command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
  command -v java >/dev/null || missing="$missing default-jre-headless"
  ls /usr/share/fonts/opentype/inter/Inter-Regular.otf >/dev/null 2>&1 || missing="$missing fonts-inter"
  axe=build/node/node_modules/axe-core/axe.min.js # looks for what keeps people from using the pages
  [ -f "$axe" ] || command -v npm >/dev/null || missing="$missing npm"
  for package in $missing; do # one by one: what one distribution lacks does not cost the other
    begin=$(date +%s)
    say "installing the Debian package $package"
    if apt_get "$package"; then
      case $package in chromium | default-jre-headless | fonts-inter | npm) ;; *) stop_service "${package%-light}" ;; esac
      say "installed in $(($(date +%s) - begin)) s"
    elif [ "${CI:-}" = true ]; then
      say "could not install $package: $apt_fault. The tests need it. Run as root: apt-get install $package"
      exit 2
    else
      say "could not install $package: $apt_fault. The tests that need it are skipped. To run them: apt-get install $package"
    fi
  done
  if [ ! -f "$axe" ] && command -v npm >/dev/null; then
    say "installing axe-core"
    if ! npm install --no-save --no-audit --no-fund --loglevel=error --prefix build/node 'axe-core@~4.14.1' >.setup.log 2>&1; then
      say "npm could not install axe-core: $(head -n 1 .setup.log). The tests that need it are skipped, and fail under CI=true."
    fi
  fi
fi
