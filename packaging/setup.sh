# Sourced by ./run and ./test: brings what memtide needs onto a Debian machine and says what it installs.
# Idempotent; when nothing is missing it takes well under a second and says nothing.

UV_VERSION=0.13.9
LOG=${TMPDIR:-/tmp}/memtide-setup.$$.log
trap 'rm -f "$LOG"' EXIT

# what the libvirt binding is built with, and what the lab boots guests with
BUILD_PACKAGES="python3 python3-venv python3-dev gcc libc6-dev pkg-config libvirt-dev"
LAB_PACKAGES="qemu-system-x86 libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients busybox-static cpio kmod"

say() { printf '%s\n' "$*" >&2; }

# run a command quietly; show its output only when it fails, and a dot every two seconds meanwhile
quietly() {
    "$@" >"$LOG" 2>&1 &
    local job=$! status=0
    while kill -0 "$job" 2>/dev/null; do
        sleep 2
        kill -0 "$job" 2>/dev/null && printf '.' >&2
    done
    wait "$job" || status=$?
    printf '\n' >&2
    if [ "$status" -ne 0 ]; then
        say "failed ($status): $*"
        tail -n 20 "$LOG" >&2
    fi
    return "$status"
}

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
    done
}

install_packages() {
    local missing
    command -v dpkg-query >/dev/null || { say "not Debian: please install the equivalents of: $*"; return 0; }
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        say "missing packages, and only root can install them: sudo apt-get install $missing"
        return 1
    fi
    printf 'installing from Debian: %s' "$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    # libvirt's package starts no service here: the lab runs a private libvirtd of its own
    quietly apt-get update &&
        printf 'unpacking ' >&2 &&
        quietly apt-get install -y --no-install-recommends $missing
}

# a Python of at least 3.11: Debian 12's own first, because libvirt's headers and it match
pick_python() {
    local candidate
    for candidate in /usr/bin/python3 python3; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    say "memtide needs Python 3.11 or newer, and none was found"
    return 1
}

# the virtual environment as uv.lock says; $@: further arguments for `uv sync`
sync_venv() {
    local python uv stamp
    python=$(pick_python) || return 1
    uv=$(command -v uv || true)
    if [ -z "$uv" ]; then
        uv=$PWD/.venv-uv/bin/uv
        if [ ! -x "$uv" ]; then
            printf 'installing uv %s into .venv-uv ' "$UV_VERSION" >&2
            "$python" -m venv .venv-uv || return 1
            quietly .venv-uv/bin/pip install --quiet "uv==$UV_VERSION" || return 1
        fi
    fi
    stamp=.venv/.memtide-$(printf '%s' "$*" | cksum | cut -d' ' -f1)
    if [ ! -e "$stamp" ] || [ uv.lock -nt "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
        printf 'installing the Python packages of uv.lock into .venv ' >&2
        UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy quietly "$uv" sync --frozen --inexact --python "$python" "$@" || return 1
        touch "$stamp"
    fi
}
