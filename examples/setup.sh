# Makes the machine and the checkout ready; sourced by quickstart.sh and by tests/run.sh.
# As root on Debian it installs the system packages named in $system_packages; elsewhere it only
# says what is missing. Python packages go into .venv. It does nothing that was done before.

python=${PYTHON:-python3}

install_system_packages() {
    missing=""
    for package in $system_packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "not installed (needs root): apt-get install$missing" >&2
        return 0
    fi
    echo "installing Debian packages:$missing" >&2
    mkdir -p .envbuild
    # Package scripts would start the engine as a system service; we start what we need ourselves.
    {
        apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends $missing
    } >.envbuild/apt.log 2>&1 || {
        tail -n 20 .envbuild/apt.log >&2
        echo "could not install$missing; the whole output is in .envbuild/apt.log" >&2
        return 1
    }
}

# $1: groups of development packages to install too, such as "--group dev", or nothing
install_python_packages() {
    stamp=".venv/.ready$(echo "$1" | tr -d ' -')"
    if [ -n "${QUICKSTART_PYTHON_READY:-}" ]; then # the tests bring their own .venv
        return 0
    fi
    if [ -f "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ]; then
        return 0
    fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
        echo "Python 3.11 or newer is needed; set PYTHON to one" >&2
        return 1
    }
    echo "installing Python packages into .venv" >&2
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
    # shellcheck disable=SC2086
    .venv/bin/python -m pip install --quiet --editable . $1
    touch "$stamp"
}

if command -v dpkg-query >/dev/null 2>&1; then
    install_system_packages
fi
