#!/usr/bin/env bash
# Proves docker-compose.yml: `make compose`. It starts a Docker engine of its own, builds every image that the composition names
# from what this machine has (nothing is pulled), and runs the test of internal/compose against it.
#
# The engine lives in network, process and mount namespaces of its own: its bridges, its packet filter and its mounts end with
# it, nothing reaches the outside, and the machine's own Docker, if there is one, is not touched. It needs root (or a sudo that
# does not ask), Linux, and Debian or its kin.
#
#   COMPOSE="docker compose"   another front end than docker-compose
#   RUN=TestComposition/scale  only a part of the test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ "$(uname -s)" != Linux ]; then
  echo "make compose needs Linux: it starts a Docker engine from Debian's packages" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  exec sudo -n --preserve-env=COMPOSE,RUN,PATH "${BASH_SOURCE[0]}" "$@"
fi

.ci/need go docker docker-compose
materials=$PWD/.build/compose
mkdir -p "$materials"

deploy/check/materials.sh "$materials"
CGO_ENABLED=0 go test -c -tags compose -o "$materials/compose.test" ./internal/compose

code=0
unshare --net --pid --mount --mount-proc --fork --kill-child deploy/check/engine.sh "$materials" || code=$?
if [ $code -eq 3 ]; then # engine.sh has said why there is no engine
  echo "instead, the same topology as plain processes: workers, ingresses, a real NATS and a real Redis, without nginx" >&2
  .ci/need redis-server
  exec go test -count=1 -v ./internal/chaos
fi
exit $code
