#!/bin/sh
# Installs what is missing, checks style and types, runs the tests. Arguments go to pytest: sh test.sh tests/beats
CDPATH='' cd -- "$(dirname -- "$0")" || exit
sh setup.sh requirements-dev.txt </dev/null || exit
.venv/bin/python -m ruff check . || exit
.venv/bin/python -m mypy || exit
exec .venv/bin/python -m pytest "$@"
