#!/bin/sh
# Sets everything up and passes the tests: sh tests/run.sh [pytest arguments]
#
# As root on Debian it installs the system packages that the tests' own world is made of. With
# CI=true a part of that world that is missing is a failure; elsewhere its tests are skipped loudly.
set -eu
cd "$(dirname "$0")/.."
system_packages="ca-certificates docker-registry docker.io fish gcc git gnupg gpgv iptables libc6-dev
    openjdk-17-jre-headless openssl podman procps python3-venv skopeo umoci zsh"
. examples/setup.sh
install_python_packages "--group dev"
exec .venv/bin/python -m pytest -n 2 --dist loadgroup "$@"
