#!/usr/bin/env bash
# Installs what `make run`, `make test` or development needs; does nothing when all is there.
# Usage: scripts/setup.sh run|test|dev|fuzz [OPTIONS OF THE BRIDGE…]
# PYTHON=… chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly purpose="${1:?run, test, dev or fuzz}"
case " ${*:2} " in *" --ssh "*) readonly with_ssh=yes ;; *) readonly with_ssh= ;; esac
readonly min_minor=11      # Python 3.11, as in pyproject.toml
readonly newest_minor=14   # newest Python 3 that the dependencies are tested with
readonly min_node=18       # as in scripts/page.py
readonly venv=.venv
readonly browsers=(
    chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable
)
readonly npm_wait_s=300 browser_wait_s=600 apps_wait_s=900

say() { printf '%s\n' "$@" >&2; }  # each argument is a line
die() { say "$@"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- apt ---------------------------------------------------------------------------------

as_root=()
can_apt() {
    have apt-get || return 1
    if [ "$(id -u)" = 0 ]; then return 0; fi
    have sudo && sudo -n true 2>/dev/null && as_root=(sudo -n)
}

apt_updated=
apt_get() {  # quiet, unless it fails
    local log status=0
    log="$(mktemp)"
    # RUNLEVEL: no package starts a service of its own (invoke-rc.d).
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get -q -o Dpkg::Use-Pty=0 "$@" \
        </dev/null >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || tail -n 20 "$log" >&2
    rm -f "$log"
    return "$status"
}
apt_update() {  # once
    [ -z "$apt_updated" ] || return 0
    apt_get update || say "apt-get update failed; trying with the lists that are here"
    apt_updated=yes
}
apt_install() {
    apt_update
    apt_get install -y --no-install-recommends "$@"
}

has_package() {  # whether this release has it; an empty machine has no lists yet
    apt-cache show "$1" >/dev/null 2>&1 && return 0
    apt-cache show tmux >/dev/null 2>&1 && return 1
    apt_update
    apt-cache show "$1" >/dev/null 2>&1
}

# The bridge starts an sshd of its own; the package would open this machine to everybody.
keep_sshd_off() {
    have systemctl || return 0
    "${as_root[@]}" systemctl mask ssh.service ssh.socket >/dev/null 2>&1 || return 0
    say "sshd is installed and left off; should it run: systemctl unmask ssh.service ssh.socket"
}

# Installs packages: all at once, or each for itself when one of them fails.
# Returns 1 without apt, root and passwordless sudo, or when a package could not be installed.
install_packages() {
    can_apt || return 1
    case " $* " in *" openssh-server "*) keep_sshd_off ;; esac
    say "installing with apt: $*"
    apt_install "$@" && return 0
    local package ok=0
    for package in "$@"; do apt_install "$package" || ok=1; done
    return "$ok"
}

# --- Python --------------------------------------------------------------------------------

minor_of() {  # prints 12 for a Python 3.12, nothing for anything that does not run
    "$1" -c 'import sys; print(sys.version_info[1] if sys.version_info[0] == 3 else "")' \
        2>/dev/null </dev/null || true
}

is_new_enough() { [ -n "$1" ] && [ "$1" -ge "$min_minor" ]; }

find_python() {  # prints the interpreter to use; 1 when there is none
    local minor candidate
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$(minor_of "$PYTHON")" && printf '%s\n' "$PYTHON"
        return
    fi
    for ((minor = newest_minor; minor >= min_minor; minor--)); do
        # Run it: version managers put names into PATH that only say "not installed".
        candidate="python3.$minor"
        if [ "$(minor_of "$candidate")" = "$minor" ]; then printf '%s\n' "$candidate"; return; fi
    done
    is_new_enough "$(minor_of python3)" && printf 'python3\n'
}

no_python() {
    local found="no python3 was found"
    if [ -n "${PYTHON:-}" ]; then
        found="PYTHON=$PYTHON is $("$PYTHON" --version 2>/dev/null || printf 'no Python')"
    elif have python3; then
        found="python3 is $(python3 --version 2>&1)"
    fi
    die "Python 3.$min_minor or newer is needed; $found." \
        "Debian 12, Ubuntu 24.04 and newer: apt-get install python3 python3-venv" \
        "Ubuntu 22.04: apt-get install python3.11 python3.11-venv" \
        "An interpreter elsewhere: make $purpose PYTHON=/path/to/python3"
}

make_venv() {
    local python minor
    python="$(find_python)" || no_python
    minor="$(minor_of "$python")"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian keeps these two in a package of their own.
        install_packages "python3.$minor-venv" || install_packages python3-venv || true
        "$python" -c 'import ensurepip, venv' 2>/dev/null || die \
            "$python cannot make virtual environments: its ensurepip module is missing." \
            "Install it, then run this again: apt-get install python3.$minor-venv"
    fi
    say "making a virtual environment in $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || die "making $venv failed"
    printf '%s\n' "$PWD" >"$venv/.made-for"
}

venv_is_good() {
    # An environment does not survive that the checkout moves or that its Python goes away.
    [ "$(cat "$venv/.made-for" 2>/dev/null)" = "$PWD" ] || return 1
    local minor
    minor="$(minor_of "$venv/bin/python")"
    is_new_enough "$minor" || return 1
    [ -z "${PYTHON:-}" ] || [ "$(minor_of "$PYTHON")" = "$minor" ]
}

pip_install() {  # the name of the stamp, then pip's arguments
    local stamp="$venv/.installed-$1"
    shift
    [ "$stamp" -nt pyproject.toml ] && return 0
    say "installing ttybridge and its Python packages into $venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@" </dev/null >&2 ||
        die "pip failed; its output above says why"
    touch "$stamp"
}

# --- what each purpose needs ---------------------------------------------------------------

node_is_good() {
    have npm && have node || return 1
    local major
    major="$(node --version)"
    major="${major#v}"
    [ "${major%%.*}" -ge "$min_node" ]
}

# Sets `missing` to the packages for what is not there.
missing=()
look_for() {  # the package, then the programs of which one must be there
    local package="$1" program
    shift
    for program in "$@"; do have "$program" && return 0; done
    missing+=("$package")
}

# Ordinary users often have no sbin folder in PATH.
look_for_sshd() { [ -x /usr/sbin/sshd ] || look_for openssh-server sshd; }

programs_for_run() {
    missing=()
    look_for tmux tmux
    if [ -n "$with_ssh" ] || [ "$purpose" = test ]; then look_for_sshd; fi
    # A page that is built already needs no Node.
    if [ "$purpose" = run ] && "$venv/bin/python" -I scripts/page.py check; then return; fi
    look_for nodejs node
    look_for npm npm
}

programs_for_test() {
    look_for vim vim
    look_for htop htop
    look_for procps ps
    look_for openssh-client ssh
    look_for rsync rsync
    look_for asciinema asciinema
    look_for faketime faketime
    look_for podman podman
    look_for runc runc
    # Ubuntu's package of this name installs a snap, which does not run everywhere.
    if ! grep -qi '^ID=ubuntu' /etc/os-release 2>/dev/null; then
        look_for chromium "${browsers[@]:1}"
        # The one without windows takes a third of the processor's time; older releases lack it.
        if can_apt && has_package chromium-headless-shell; then
            look_for chromium-headless-shell chromium-headless-shell
        fi
    fi
    have apt-get || return 0
    if ! have fc-list; then missing+=(fontconfig); fi
    if ! compgen -G '/usr/share/fonts/truetype/dejavu/*Mono*.ttf' >/dev/null; then
        missing+=(fonts-dejavu-core)
    fi
    # The Node inside playwright 1.65 is linked with it, and a small Debian does without.
    if ! compgen -G '/usr/lib/*/libatomic.so.1' >/dev/null; then missing+=(libatomic1); fi
}

need_for_run() {
    programs_for_run
    [ "${#missing[@]}" = 0 ] && return 0
    install_packages "${missing[@]}" && return 0
    die "These programs are missing: ${missing[*]}" \
        "Install them, then run this again: apt-get install ${missing[*]}" \
        "(They are installed from here when that is possible as root or by sudo without a password.)"
}

need_for_test() {
    programs_for_run
    programs_for_test
    [ "${#missing[@]}" = 0 ] && return 0
    install_packages "${missing[@]}" && return 0
    programs_for_run
    programs_for_test
    [ "${#missing[@]}" = 0 ] && return 0
    say "Not installed: ${missing[*]}. The tests that need them are skipped." \
        "To have them: apt-get install ${missing[*]}"
}

page_packages() {
    if node_is_good; then
        timeout "$npm_wait_s" "$venv/bin/python" -I scripts/page.py packages </dev/null ||
            die "installing the packages of the page failed"
    fi
}

build_page() {
    "$venv/bin/python" -I scripts/page.py </dev/null && return 0
    [ "$purpose" = run ] && exit 1
    say "The page is not built; the tests that need it are skipped."
}

# Where no package has a browser, playwright's own is tried.
browser_for_test() {
    local program
    for program in "${browsers[@]}"; do
        have "$program" && return 0
    done
    [ -e "$venv/.browser-tried" ] && return 0
    touch "$venv/.browser-tried"
    local with_deps=()
    can_apt && with_deps=(--with-deps)
    say "installing a Chromium for the tests"
    local log
    log="$(mktemp)"
    if ! timeout "$browser_wait_s" "$venv/bin/python" -m playwright install "${with_deps[@]}" \
        --only-shell chromium \
        </dev/null >"$log" 2>&1; then
        grep -m 1 -i error "$log" >&2 || true
        say "No Chromium could be installed; the browser tests are skipped."
    fi
    rm -f "$log"
}

# The official colab command line needs a newer Python than the project does.
colab_venv() {
    [ -x .venv-colab/bin/colab ] && return 0
    local candidate base minor
    base="$("$venv/bin/python" -c 'import sys; print(sys.base_prefix)')"
    for candidate in python3.14 python3.13 python3.12 python3 \
        "$(dirname "$base")"/*/bin/python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        minor="$(minor_of "$candidate")"
        if [ -n "$minor" ] && [ "$minor" -ge 12 ] &&
            "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            say "installing the colab command line for its test into .venv-colab"
            rm -rf .venv-colab
            "$candidate" -m venv .venv-colab &&
                .venv-colab/bin/python -m pip --disable-pip-version-check install --quiet \
                    google-colab-cli==0.7.5 </dev/null >&2 && return 0
            rm -rf .venv-colab
        fi
    done
    say "No colab command line (it needs Python 3.12 or newer); its tests are skipped."
}

# The tests of public addresses drive the real agent of ngrok, a static binary of x86-64 Linux.
agent_for_test() {
    local folder=tests/node
    local lock="$folder/package-lock.json" mark="$folder/node_modules/.package-lock.json"
    if [ -e "$mark" ] && [ ! "$lock" -nt "$mark" ]; then return 0; fi
    local log status=1
    log="$(mktemp)"
    if node_is_good; then
        say "installing the ngrok agent for its tests into $folder"
        (cd "$folder" && timeout "$npm_wait_s" npm ci --ignore-scripts --no-audit --no-fund) \
            </dev/null >"$log" 2>&1 && status=0
    fi
    if [ "$status" != 0 ]; then
        tail -n 5 "$log" >&2
        say "No ngrok agent could be installed (by npm); its tests are skipped."
    fi
    rm -f "$log"
}

# JupyterLab and TensorBoard, for the tests of /proxy/PORT/ and of notebooks.
apps_venv() {
    if [ -x .venv-apps/bin/tensorboard ] &&
        [ -e .venv-apps/share/jupyter/labextensions/@jupyter-widgets ]; then return 0; fi
    say "installing JupyterLab and TensorBoard for their tests into .venv-apps"
    rm -rf .venv-apps
    "$venv/bin/python" -m venv .venv-apps &&
        timeout "$apps_wait_s" .venv-apps/bin/python -m pip --disable-pip-version-check install \
            --quiet 'jupyterlab>=4.4,<5' 'jupyter-server-proxy>=4.4,<5' ipykernel ipywidgets nbclient \
            'tensorboard>=2.18,<3' </dev/null >&2 && return 0
    rm -rf .venv-apps
    say "No JupyterLab and TensorBoard could be installed; their tests are skipped."
}

# What the fuzz targets are driven by; it has wheels for few platforms.
fuzzer() {
    [ "$venv/.fuzzer-tried" -nt pyproject.toml ] && [ "$purpose" != fuzz ] && return 0
    touch "$venv/.fuzzer-tried"
    "$venv/bin/python" -c 'import atheris' 2>/dev/null && return 0
    say "installing atheris for the fuzz targets into $venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --only-binary :all: \
        'atheris>=3,<4' </dev/null >&2 && return 0
    [ "$purpose" = fuzz ] && die "atheris has no wheel here: it needs CPython on x86-64 Linux."
    say "No atheris could be installed; the fuzz targets are run over their corpora only."
}

case "$purpose" in
run)
    venv_is_good || make_venv
    need_for_run
    build_page
    pip_install run --editable .
    ;;
test | dev | fuzz)
    venv_is_good || make_venv
    if [ "$purpose" = test ]; then
        need_for_test
        # Beside the rest: what these install is theirs alone.
        { colab_venv; agent_for_test; } &
        apps_venv &
    fi
    build_page
    page_packages
    pip_install dev --editable '.[test,dev]'
    touch "$venv/.installed-run"
    [ "$purpose" = dev ] || fuzzer
    if [ "$purpose" = test ]; then
        browser_for_test
        wait
    fi
    ;;
*)
    die "scripts/setup.sh: run, test, dev or fuzz, not $purpose"
    ;;
esac
