#!/usr/bin/env bash
# Runs inside the namespaces that run.sh made: starts a Docker engine, builds the images of the check, runs the test, stops the
# engine. The argument is the folder of materials.sh.
set -euo pipefail
materials=$1
scratch=$(mktemp -d)
log=$materials/engine.log
group=compose-check-$$

# Mounts made from here on are this namespace's own.
mount --make-rprivate /
ip link set lo up

export DOCKER_HOST=unix://$scratch/docker.sock DOCKER_CONFIG=$scratch/client
# The plain builder: what it takes, every builder takes.
export DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
mkdir -p "$DOCKER_CONFIG"

engine=
finish() {
  [ -z "$engine" ] || { kill "$engine" 2>/dev/null && wait "$engine" || true; }
  for _ in 1 2 3 4 5; do
    grep -o " $scratch[^ ]*" /proc/self/mounts | xargs -r umount -l 2>/dev/null || true
    rm -rf "$scratch" 2>/dev/null && break
    sleep 1
  done
  # The control groups are the only thing of the engine that no namespace ends; rmdir spares those that are in use.
  find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} + 2>/dev/null || true
}
trap finish EXIT

start() { # storage driver
  dockerd --data-root "$scratch/data" --exec-root "$scratch/exec" --pidfile "$scratch/docker.pid" --host "$DOCKER_HOST" \
    --storage-driver "$1" --cgroup-parent "/$group" --bip 172.31.255.1/24 --default-address-pool base=172.30.0.0/16,size=24 >"$log" 2>&1 &
  engine=$!
  for _ in $(seq 100); do
    kill -0 "$engine" 2>/dev/null || return 1
    docker version >/dev/null 2>&1 && return
    sleep 0.2
  done
  return 1
}
if ! start overlay2 && ! start vfs; then
  engine=
  echo "no Docker engine can be started here; the end of $log:" >&2
  tail -n 5 "$log" >&2
  exit 3
fi
docker version --format 'engine {{.Server.Version}}, client {{.Client.Version}}'
docker info --format 'storage {{.Driver}}, cgroup v{{.CgroupVersion}}'

# The base, and one image under each name that the Dockerfile and the composition use.
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
tar -C "$materials/debian" -c . | docker import --change "ENV PATH=$path" - check-base >/dev/null
build() { # image, folder for COPY; the Dockerfile comes on the standard input
  docker build -q -t "$1" -f - "$2" >/dev/null 2>"$materials/build.log" || { cat "$materials/build.log" >&2; return 1; }
  echo "built $1"
}
image() { grep -o "image: $1:[^ ]*" docker-compose.yml | head -n 1 | cut -d' ' -f2; }
build "$(image nginx)" deploy/check <<'END'
FROM check-base
RUN adduser -S -D -H -u 101 nginx 2>/dev/null || true; mkdir -p /var/cache/nginx /var/log/nginx
CMD ["nginx", "-g", "daemon off;"]
END
build "$(image redis)" deploy/check <<'END'
FROM check-base
RUN mkdir -p /data && chown 999:1000 /data
WORKDIR /data
CMD ["redis-server"]
END
build "$(image nats)" "$materials/nats" <<'END'
FROM check-base
COPY nats-server /usr/local/bin/nats-server
CMD ["nats-server"]
END
golang=$(sed -n 's/^FROM \(golang[^ ]*\) .*/\1/p' Dockerfile)
tar -c -C "$materials/debian" . -C "$materials/golang" usr/local/go modules cache | docker import --change "ENV PATH=/usr/local/go/bin:$path" \
  --change 'ENV GOPATH=/go GOCACHE=/cache GOTOOLCHAIN=local GOPROXY=file:///modules GONOSUMDB=*' - "$golang" >/dev/null
echo "built $golang"

export COMPOSE=${COMPOSE:-docker-compose}
cd internal/compose
"$materials/compose.test" -test.v -test.timeout 30m ${RUN:+-test.run "$RUN"}
