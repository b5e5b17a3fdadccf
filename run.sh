#!/bin/sh
# Installs what is missing, then runs main.py with the arguments given: sh run.sh --preset edge
folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit
sh "$folder/setup.sh" requirements.txt </dev/null >&2 || exit # input and output are main.py's alone
[ "${1-}" != serve ] || sh "$folder/setup.sh" requirements-serve.txt </dev/null >&2 || exit
exec "$folder/.venv/bin/python" "$folder/main.py" "$@"
