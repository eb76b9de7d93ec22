#!/bin/sh
# envbuild's main job, from nothing: lock, assemble, push, train, serve and test.
#
#   sh examples/quickstart.sh         run it; the second time there is nothing to do
#   sh examples/quickstart.sh stop    stop the engine and the registry that it started
#
# Needs Python 3.11 and, for the container part, Docker Engine. As root on Debian it installs and
# starts both an engine and a registry on loopback where there are none.
set -eu
cd "$(dirname "$0")/.."
here=$(pwd)
state="$here/.envbuild/quickstart"
registry_port=${REGISTRY_PORT:-5000}
mkdir -p "$state"

stop() {
    for name in dockerd registry; do
        if [ -f "$state/$name.pid" ]; then
            pid=$(cat "$state/$name.pid")
            kill "$pid" 2>/dev/null || true
            for _ in $(seq 100); do # until it is gone, so that the next run starts its own
                kill -0 "$pid" 2>/dev/null || break
                sleep 0.1
            done
            rm -f "$state/$name.pid"
        fi
    done
}

engine_answers() { # a bare HTTP request: cheaper than any client
    .venv/bin/python - "${DOCKER_HOST:-unix:///var/run/docker.sock}" 2>/dev/null <<'PYTHON'
import socket, sys
kind, _, place = sys.argv[1].partition("://")
if kind == "unix":
    link = socket.socket(socket.AF_UNIX)
    link.connect(place)
else:
    host, _, port = place.partition(":")
    link = socket.create_connection((host, int(port or 2375)), timeout=3)
link.settimeout(3)
link.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
sys.exit(b" 200 " not in link.recv(64))
PYTHON
}

start_engine() {
    engine_answers && return 0
    export DOCKER_HOST="unix://$state/docker.sock"
    engine_answers && return 0
    [ "$(id -u)" = 0 ] && command -v dockerd >/dev/null 2>&1 || {
        unset DOCKER_HOST
        return 1
    }
    # Two engines on one bridge give their containers the same addresses.
    if grep -qsx dockerd /proc/[0-9]*/comm; then
        echo "an engine runs here that does not answer: set DOCKER_HOST to its address" >&2
        unset DOCKER_HOST
        return 1
    fi
    echo "starting Docker Engine" >&2
    dockerd --data-root "$state/docker" --exec-root "$state/exec" --host "$DOCKER_HOST" \
        --pidfile "$state/dockerd.pid" >"$state/dockerd.log" 2>&1 &
    for _ in $(seq 100); do
        engine_answers && return 0
        sleep 0.2
    done
    tail -n 5 "$state/dockerd.log" >&2
    unset DOCKER_HOST
    return 1
}

registry_answers() {
    .venv/bin/python - "$registry_port" 2>/dev/null <<'PYTHON'
import http.client, sys
link = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=3)
link.request("GET", "/v2/")
sys.exit(link.getresponse().status != 200)
PYTHON
}

start_registry() {
    registry_answers && return 0
    command -v docker-registry >/dev/null 2>&1 || return 1
    echo "starting a registry on 127.0.0.1:$registry_port" >&2
    cat >"$state/registry.yml" <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $state/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$registry_port"}
YAML
    docker-registry serve "$state/registry.yml" >"$state/registry.log" 2>&1 &
    echo $! >"$state/registry.pid"
    for _ in $(seq 50); do
        registry_answers && return 0
        sleep 0.1
    done
    tail -n 5 "$state/registry.log" >&2
    return 1
}

if [ "${1:-}" = stop ]; then
    stop
    exit 0
fi

system_packages="ca-certificates gpgv python3-venv docker-registry docker.io iptables"
. examples/setup.sh
install_python_packages ""
nox="$here/.venv/bin/nox"

push=""
if start_registry; then
    export ENVBUILD_REPOSITORY="127.0.0.1:$registry_port/quickstart"
    push="--push"
fi

$nox -s lock -- iris
# Archives keep a Debian package only until its next update; then the lock has to move on.
$nox -s build-env -- iris $push || {
    echo "the archive may no longer have what was locked: locking again" >&2
    $nox -s lock -- iris --upgrade
    $nox -s build-env -- iris $push
}
target=""
if start_engine; then
    $nox -s train smoke -- iris --reuse
else
    echo "no Docker Engine answers: training on this machine instead, without a smoke test" >&2
    target=" --target local"
    $nox -s train -- iris --reuse$target
fi

echo "to go on in this shell, run:" >&2
echo "    . .venv/bin/activate" >&2
[ -z "$push" ] || echo "    export ENVBUILD_REPOSITORY=$ENVBUILD_REPOSITORY" >&2
[ -z "${DOCKER_HOST:-}" ] || echo "    export DOCKER_HOST=$DOCKER_HOST" >&2
echo "    nox -s train -- iris$target --neighbors 7" >&2
