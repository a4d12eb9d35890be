#!/bin/sh
# Runs the unit tests on each named Python that this machine has, each in an environment of its own. Checks
# the types on the oldest and the newest. `make test` covers the Python of .venv, so this script skips it.
#
#     sh .ci/minors.sh python3.11 python3.12 python3.13

set -eu
cd "$(dirname "$0")/.."
minor_of='import sys; print("%d.%d" % sys.version_info[:2])'

# A name on the PATH may be a pyenv shim, which fails if that version is not selected: so each is run once.
find_python() {
    for python in "$(command -v "$1")" "${PYENV_ROOT:-$HOME/.pyenv}/versions/${1#python}".*/bin/"$1"; do
        if [ "$("$python" -c "$minor_of" 2>/dev/null)" = "${1#python}" ]; then
            echo "$python"
            return
        fi
    done
    return 1
}

usual=$("${VENV:-.venv}/bin/python" -c "$minor_of" 2>/dev/null || true)
oldest=
newest=
for name in "$@"; do
    minor=${name#python}
    if [ "$minor" = "$usual" ]; then
        echo "== $name: left out, \`make test\` runs on it"
        here=$usual
    elif python=$(find_python "$name"); then
        echo "== $name: $python"
        CI_PYTHON=.venv-$minor/bin/python python3 .ci/rerun.py "unit VENV=.venv-$minor PYTHON=$python"
        here=$minor
    else
        echo "== $name: skipped, it is neither on the PATH nor under pyenv"
        continue
    fi
    oldest=${oldest:-$here}
    newest=$here
done

for minor in $(printf '%s\n' $oldest $newest | sort -u); do
    [ "$minor" = "$usual" ] || make types VENV=".venv-$minor"
done
