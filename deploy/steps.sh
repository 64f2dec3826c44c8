# What run, install, uninstall and test share: progress, failures of one line, Debian packages, virtual environments.
# Sourced, by bash. Each function checks the fact itself (is the package there, does the file differ) and does only what is
# missing, so that a second run takes seconds and an interrupted first run is continued.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
umask 022 # a root with a stricter one would install what the sensor's own user cannot read

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PYTHON=/usr/bin/python3 # the distribution's: the one that can import bcc
PREFIX=/opt/apisensor
CONFIG=/etc/apisensor/apisensor.toml
STATE=/var/lib/apisensor
RUNTIME=/run/apisensor
COMMAND=/usr/local/bin/apisensor
UNIT=/etc/systemd/system/apisensor.service
SENSOR_USER=apisensor

LOCK_WAIT=${APISENSOR_LOCK_WAIT:-300} # seconds; a fresh cloud machine upgrades itself for minutes after its first boot

# --- progress and failures

STEP=0
step() { # step TEXT: "[2/5] TEXT"; the script sets STEPS to their number
    STEP=$((STEP + 1))
    printf '[%d/%d] %s\n' "$STEP" "$STEPS" "$*"
}

note() { printf '      %s\n' "$*"; }

fail() { # fail WHAT REMEDY: one line on standard error, and the end
    printf 'apisensor: %s: %s\n' "$1" "$2" >&2
    exit 1
}

# What a log of apt or pip says -> what happened and what to do. The first that matches is the cause.
CAUSES=(
    'No space left on device|not enough free space|enough free space in'
    'the disk is full; free 1 GB and run this again'
    'Could not get lock|Unable to lock|Unable to acquire the dpkg|is another process using it'
    'another package manager is at work; wait for it to end and run this again'
    'dpkg was interrupted'
    'an earlier installation was interrupted; run "dpkg --configure -a" and then this again'
    'DO NOT MATCH THE HASHES'
    'a downloaded file is not the one that was locked; look at what serves this machine its Python packages'
    'CERTIFICATE_VERIFY_FAILED|[Cc]ertificate verif'
    'the certificate of the package server is not trusted here; where a proxy inspects TLS, set PIP_CERT to its CA'
    '[Rr]esolv|Name or service not known|[Nn]etwork is unreachable|No route to host|timed out|[Cc]onnection refused|Unable to connect|Could not connect|Cannot initiate the connection|Failed to establish a new connection'
    'no network; check the connection, DNS and http_proxy/https_proxy, and run this again'
    'unmet dependencies|held broken packages'
    'the installed packages contradict each other; run "apt-get --fix-broken install" and then this again'
    'No matching distribution found'
    'the package index has no build for this Python; Python 3.11 to 3.13 on x86-64 are known to work'
)

explain() { # explain WHAT LOG: fails with the cause found in the log
    local what=$1 log=$2 i
    for ((i = 0; i < ${#CAUSES[@]}; i += 2)); do
        if grep -qE "${CAUSES[i]}" "$log"; then fail "$what" "${CAUSES[i + 1]} (log: $log)"; fi
    done
    fail "$what" "$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | cut -c 1-200) (log: $log)"
}

logged() { # logged WHAT COMMAND...: runs it with its output in a file, which stays only where it fails
    local what=$1 log
    shift
    log=$(mktemp "${TMPDIR:-/tmp}/apisensor-log.XXXXXX") || fail "$what" 'no temporary file can be written; free space in /tmp and run this again'
    "$@" >"$log" 2>&1 </dev/null || explain "$what" "$log"
    rm -f "$log"
}

# --- the machine

require_root() {
    [ "$(id -u)" = 0 ] || fail 'not root' "BPF and packages need it; run: sudo $0"
}

require_machine() { # a distribution, processor, kernel that can work at all; says what it found
    local name='' id='' version=99 kernel
    # shellcheck disable=SC1091
    [ ! -r /etc/os-release ] || { . /etc/os-release && name=${PRETTY_NAME:-} id=${ID:-} version=${VERSION_ID:-99}; }
    kernel=$(uname -r)
    note "${name:-unknown distribution}, Linux $kernel, $(uname -m)"
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
        fail "${name:-this distribution} has no apt" 'the installer knows Debian 12 and later and Ubuntu 24.04 and later'
    case $id in
        debian) [ "${version%%.*}" -ge 12 ] || fail "$name is too old" 'Python 3.11 is needed: upgrade to Debian 12 or later' ;;
        ubuntu) [ "${version%%.*}" -ge 24 ] || fail "$name is too old" 'Python 3.11 is needed: upgrade to Ubuntu 24.04 or later' ;;
        *) note "untried distribution (Debian 12 is what this is tested on); going on, as it has apt" ;;
    esac
    [ "$(uname -m)" = x86_64 ] || fail "processor $(uname -m) is not supported" 'the sensor reads x86-64 registers; use an x86-64 machine'
    printf '5.8\n%s\n' "${kernel%%[!0-9.]*}" | sort -C -V || fail "Linux $kernel is too old" 'BPF ring buffers came with 5.8: boot a newer kernel'
    [ -r /sys/kernel/btf/vmlinux ] ||
        fail 'this kernel has no BTF (/sys/kernel/btf/vmlinux)' 'boot the distribution'"'"'s own kernel, or one with CONFIG_DEBUG_INFO_BTF=y'
}

require_space() { # require_space MEGABYTES DIR: DIR itself need not exist yet
    local wanted=$1 dir=$2 free
    while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
    free=$(df -Pm "$dir" | awk 'NR == 2 {print $4}')
    [ "$free" -ge "$wanted" ] || fail "the disk is full: $free MB free in $dir" "free $wanted MB there and run this again"
}

# --- Debian packages

packages_in() { sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$@" | sort -u; }

missing_packages() { # prints those of its arguments that are not installed
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
    done
}

installed_packages() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u; }

apt_get() { # waits for whoever else is installing, then is apt-get with no question asked
    local log=$1 waited=0
    shift
    while ! DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l LC_ALL=C apt-get -q -y -o Acquire::Retries=2 -o Acquire::http::Timeout=30 \
        -o Acquire::https::Timeout=30 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@" >"$log" 2>&1 </dev/null; do
        grep -qE 'Could not get lock|Unable to acquire the dpkg|is another process using it' "$log" && [ "$waited" -lt "$LOCK_WAIT" ] || return 1
        [ "$waited" != 0 ] || note "another package manager is at work; waiting up to $LOCK_WAIT s for it"
        sleep 5
        waited=$((waited + 5))
    done
}

# install_packages RECORD LIST...: what the lists name and is missing. Appends the packages that were new to this machine,
# dependencies too, to the file RECORD, from which uninstall --packages takes them away again.
install_packages() {
    local record=$1 log before wanted missing package
    shift
    mapfile -t wanted < <(packages_in "$@")
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    if [ "${#missing[@]}" = 0 ]; then
        note "all ${#wanted[@]} are there"
        return
    fi
    note "installing: ${missing[*]}"
    require_space 700 /var/cache/apt
    log=$(mktemp "${TMPDIR:-/tmp}/apisensor-log.XXXXXX") || fail 'Debian packages' 'no temporary file can be written; free space in /tmp and run this again'
    # One source that cannot be reached (a vendor's, often) does not matter where the others have what is needed.
    apt_get "$log" update || true
    sed -nE 's/^Err:[0-9]+ ([^ ]+ [^ ]+).*/\1/p; s/^E: (The repository .*)/\1/p' "$log" | sort -u | while read -r source; do
        note "no answer from a package source, going on without it: $source"
    done
    for package in "${missing[@]}"; do
        # No grep -q: apt-cache would die of SIGPIPE, and pipefail call that a failure.
        LC_ALL=C apt-cache policy "$package" 2>/dev/null | grep '^  Candidate: [^(]' >/dev/null || {
            if grep -qE '^(Err|E):|^W: Failed' "$log"; then explain "package $package cannot be found" "$log"; fi
            fail "package $package is in no package source of this machine" "enable the distribution's main section (Ubuntu: universe too) and run this again"
        }
    done
    before=$(installed_packages)
    apt_get "$log" install --no-install-recommends "${missing[@]}" || {
        record_packages "$record" "$before"
        explain 'Debian packages could not be installed' "$log"
    }
    record_packages "$record" "$before"
    rm -f "$log"
}

record_packages() { # record_packages FILE BEFORE: adds what is installed now and was not before
    mkdir -p "$(dirname "$1")"
    comm -13 <(printf '%s\n' "$2") <(installed_packages) >>"$1"
}

# --- virtual environments

compiled_modules() { # compiled_modules VENV: whether they are there, and of these very sources
    "$1/bin/python" -I "$PROJECT/deploy/compile.py" --is-current 2>/dev/null
}

# compile_modules VENV: has mypyc make machine code of the modules on the path of every record (pyproject.toml lists them).
# Returns 1, with its reason in $reason, where that cannot be done.
compile_modules() {
    local log
    note 'compiling the modules on the path of every record, which takes a minute or so'
    log=$(mktemp "${TMPDIR:-/tmp}/apisensor-log.XXXXXX") || fail 'no modules compiled' 'no temporary file can be written; free space in /tmp and run this again'
    if ! "$1/bin/python" -I "$PROJECT/deploy/compile.py" >"$log" 2>&1 </dev/null; then
        reason="$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | cut -c 1-200) (log: $log)"
        return 1
    fi
    rm -f "$log"
}

make_venv() { # make_venv DIR LOCK...: an environment of the distribution's Python with exactly the locked versions
    local venv=$1 lock
    shift
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "$PYTHON is not Python 3.11 or later" 'use Debian 12 or later or Ubuntu 24.04 or later'
    # Whole, and of the Python that is there now: neither an interrupted first try nor a distribution upgrade passes.
    if ! "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version.split()[0] != sys.argv[1])' "$("$PYTHON" -c 'import sys; print(sys.version.split()[0])')" 2>/dev/null; then
        require_space 700 "$venv"
        rm -rf "$venv"
        logged 'the virtual environment could not be made' "$PYTHON" -m venv "$venv"
    fi
    for lock in "$@"; do
        # What is there in the right version is not looked up: without anything to do this needs no network.
        logged "the Python packages of ${lock#"$PROJECT"/} could not be installed" \
            "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-cache-dir --retries 2 \
            --require-hashes --only-binary :all: --requirement "$lock"
    done
}
