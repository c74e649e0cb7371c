#!/usr/bin/env bash
# Install texsynth (editable) into .venv of the repository. Argument: what to install, '.' or '.[test]'.
# On a machine without an NVIDIA GPU torch comes as its CPU build where PyTorch's own index can be reached.
# PYTHON=... chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-.}
cpu_index=https://download.pytorch.org/whl/cpu

say() { printf 'texsynth install: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

usable() { # a Python 3.11 or newer that can make virtual environments
    command -v "$1" > /dev/null &&
        "$1" -c 'import sys; assert sys.version_info >= (3, 11); import ensurepip, venv' 2> /dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if usable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

install_python() { # with apt-get; tries the system's own version first, then the newer ones that it offers
    command -v apt-get > /dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null || return 1
    say "installing Python's venv with apt-get"
    as_root apt-get update -qq || true
    local package
    for package in python3-venv python3.13-venv python3.12-venv python3.11-venv; do
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" > /dev/null 2>&1 || continue
        find_python > /dev/null && return
    done
    return 1
}

has_gpu() { command -v nvidia-smi > /dev/null && nvidia-smi -L > /dev/null 2>&1; }

reachable() { # by the same certificates and proxies as pip; never waits longer than 15 s
    timeout 15 .venv/bin/python -c '
import sys
from pip._vendor import requests
sys.exit(not requests.head(sys.argv[1] + "/torch/", timeout=5, allow_redirects=True).ok)' "$1" > /dev/null 2>&1
}

python=$(find_python) || { install_python && python=$(find_python); } ||
    die "Python 3.11 or newer with venv is missing; install it (Debian, Ubuntu: apt-get install python3-venv)"

if ! .venv/bin/python -c 'import pip' 2> /dev/null; then
    rm -rf .venv
    "$python" -m venv .venv || die "$python cannot make .venv; check that this folder is writable"
fi

options=()
if [ "$(uname -s)" = Linux ] && ! has_gpu; then
    if reachable "$cpu_index"; then
        options=(--extra-index-url "$cpu_index")
    else
        say "$cpu_index cannot be reached, so torch comes from pip's own index (its CUDA build is some GB)"
    fi
fi

# Debian's older pip loses certificate settings in its build step; a newer one is also quicker. Not worth failing for.
pip=(.venv/bin/python -m pip install --disable-pip-version-check)
"${pip[@]}" --quiet --upgrade pip || say "pip could not be upgraded; going on with the one that came with Python"

# Of 24,000 modules few are ever imported: they are compiled when they are, and what runs below imports most of them.
pip+=(--no-compile)
[ -t 1 ] || pip+=(--quiet) # a person sees the downloads, a log does not
say "installing $what into .venv with $(.venv/bin/python --version), once"
"${pip[@]}" "${options[@]}" --editable "$what" || die "pip could not install $what; its message stands above"

case $what in
    *test*) bash scripts/install_test_tools.sh ;;
esac

# A small synthesis compiles the kernels, so that the first run does not have to wait for them. What Python compiles is
# kept even where the environment forbids it, as that of containers often does: else each start would compile torch anew.
unset PYTHONDONTWRITEBYTECODE
say "compiling the kernels, once"
warm_up=$(mktemp -d)
trap 'rm -rf "$warm_up"' EXIT
{
    .venv/bin/texsynth procedural brick -o "$warm_up/exemplar" --size 128 &&
        .venv/bin/texsynth synthesize "$warm_up/exemplar" -o "$warm_up/result" --size 64 --preset draft &&
        .venv/bin/python -c 'import texsynth_rpc.server, texsynth_rpc.worker, texsynth.bake.command, texsynth.cli'
} > /dev/null 2>&1 || say "the kernels could not be compiled now; the first run will do it"
