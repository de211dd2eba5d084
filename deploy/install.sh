#!/bin/sh
# Creates an environment where it is missing and installs one lock file into it. Called by the Makefile:
#
#     deploy/install.sh requirements.lock .venv
#
# $PYTHON is the interpreter to build it with; else the first of python3 and python3.13 to 3.11 that is new enough.
set -eu
lock=$1
venv=$2

fail() {
    echo "hookline: $1" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

count=$(grep -c '==' "$lock" 2>/dev/null) || fail "$lock names no package."

# An environment cannot run after its directory was moved, or after an upgrade removed its Python.
if ! is_new_enough "$venv/bin/python"; then
    python=$(find_python)
    [ -n "$python" ] || fail "needs Python 3.11 or newer, and found none; name one with PYTHON=/path/to/python3."
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot create environments; on Debian and Ubuntu: apt install $(basename "$python")-venv."
    [ ! -e "$venv" ] || [ -e "$venv/pyvenv.cfg" ] || fail "$venv is not a Python environment; it is left as it is."
    echo "Creating $venv with $("$python" --version) ..."
    "$python" -m venv --clear "$venv"
fi

echo "Installing $count packages from $lock into $venv ..."
PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    "$venv/bin/python" -m pip install --quiet --quiet --require-hashes --requirement "$lock"
