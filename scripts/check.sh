#!/usr/bin/env bash
# Runs the checks of `make lint` and the tests of `make test`; goes on after a failure and
# names all that failed at the end. Usage: scripts/check.sh lint|page|all [pytest arguments]
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

readonly what="${1:?lint, page or all}"
shift
readonly bin=.venv/bin
failed=()

step() {  # the name, then the command
    local name="$1"
    shift
    printf '== %s\n' "$name"
    "$@" || failed+=("$name")
}

npm_script() { npm --prefix static --silent run "$1" </dev/null; }

no_addresses() {
    # Where a package comes from is the business of the machine, not of the project.
    ! grep -nE '"resolved"|https?://[^"]*\.tgz' static/package-lock.json tests/node/package-lock.json
}

lint() {
    step "ruff check" "$bin/ruff" check .
    step "ruff format" "$bin/ruff" format --check .
    step "mypy" "$bin/mypy"
    step "lock file without addresses" no_addresses
    if [ -d static/node_modules ]; then
        step "tsc" npm_script check
    else
        printf '== tsc skipped: static/node_modules is missing (Node 18+ and npm are needed)\n'
    fi
}

page() {
    if [ -d static/node_modules ]; then
        step "page modules" npm_script test
    else
        printf '== page modules skipped: static/node_modules is missing (Node 18+ and npm are needed)\n'
    fi
}

case "$what" in
lint)
    lint
    step "import layers" "$bin/python" -m pytest -q tests/test_architecture.py
    ;;
page)
    page
    ;;
all)
    # What is no test of Python's runs beside them, and is printed where it fails.
    beside="$(mktemp -d)"
    trap 'rm -rf "$beside"' EXIT
    { lint; page; printf '%s\n' "${failed[@]}" >"$beside/failed"; } >"$beside/log" 2>&1 &
    # A file's tests stay together: they share what is slow to start. In the files' own order: the
    # longest tests are in small files, which would come last. Half of the time they wait for
    # something, so two processors have work for three.
    workers="$(nproc 2>/dev/null || printf 2)"
    workers="$((workers < 3 ? 3 : workers > 4 ? 4 : workers))"
    step "pytest" "$bin/python" -m pytest -ra -n "$workers" --dist loadfile \
        --no-loadscope-reorder "$@"
    wait
    if [ "$(cat "$beside/failed" 2>/dev/null || printf unfinished)" = "" ]; then
        grep '^== ' "$beside/log"
    else
        cat "$beside/log"
        failed+=("what ran beside the tests")
    fi
    ;;
*)
    printf 'scripts/check.sh: lint, page or all, not %s\n' "$what" >&2
    exit 2
    ;;
esac

if [ "${#failed[@]}" -gt 0 ]; then
    printf 'FAILED:'
    printf ' [%s]' "${failed[@]}"
    printf '\n'
    exit 1
fi >&2
