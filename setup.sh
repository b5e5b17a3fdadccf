#!/bin/sh
# Makes .venv and installs a file of requirements into it: sh setup.sh [requirements.txt]
# Installs only where these files have changed since the last time, so that later starts are quick and need no network.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")"
wanted=${1:-requirements.txt}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        is_new_enough "$python" && return
    done
    found=$(python3 --version 2>/dev/null) || fail "Python 3.11 or newer is needed, but there is no python3: install it"
    fail "Python 3.11 or newer is needed, but python3 is $found: install a newer one"
}

# Debian and Ubuntu keep the module that makes environments in a package of its own.
install_venv_module() {
    package=$python-venv as_root=''
    [ "$(id -u)" = 0 ] || as_root=sudo
    for tool in apt-get $as_root; do
        command -v "$tool" >/dev/null || fail "$python has no module venv and there is no $tool: install $package"
    done
    printf 'Installing %s, which makes environments\n' "$package"
    $as_root apt-get update && $as_root apt-get install -y "$package"
}

if ! is_new_enough .venv/bin/python || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    find_python
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_module
    "$python" -m venv --clear .venv
fi

contents=$(cat requirements*.txt)
record=.venv/$wanted.installed
if [ "$contents" != "$(cat "$record" 2>/dev/null)" ]; then
    printf 'Installing %s into .venv: the first time takes minutes\n' "$wanted"
    .venv/bin/python -m pip install -r "$wanted"
    printf '%s\n' "$contents" >"$record"
fi
