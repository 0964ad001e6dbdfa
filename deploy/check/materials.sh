#!/usr/bin/env bash
# Collects, in the folder named as the argument, what the images of the check are built from:
#   debian/   a root file system with nginx, Redis and busybox out of Debian's packages, which are unpacked, not installed
#   nats/     nats-server, built from its module in the version of go.mod
#   golang/   this machine's Go with its module cache as a proxy, so that the Dockerfile's first stage needs no network, and with a
#             build cache: paths are trimmed, so what was compiled here counts there, and only the first check compiles everything
set -euo pipefail
materials=$1

debian() {
  local packages=$materials/packages root=$materials/debian.new archive
  [ -d "$materials/debian" ] && return
  mkdir -p "$packages/partial"
  : >"$packages/status" # as if nothing were installed: apt then names every library
  apt-get -qq -y -o Dir::State::status="$packages/status" -o Dir::Cache::archives="$packages" -o APT::Sandbox::User=root \
    --no-install-recommends --download-only install nginx redis-server redis-tools busybox-static ca-certificates netbase >&2
  rm -rf "$root"
  mkdir -p "$root"
  for archive in "$packages"/*.deb; do
    case $(basename "$archive") in
      *perl*) ;; # only the packages' own scripts need it
      *) dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$root" --keep-directory-symlink ;;
    esac
  done
  mkdir -p "$root/tmp" "$root/etc/ssl/certs" && chmod 1777 "$root/tmp"
  # What Alpine's images have: busybox under the names of its programs, where no other program has the name.
  local applet
  "$root/bin/busybox" --list | while read -r applet; do
    [ -e "$root/usr/bin/$applet" ] || [ -e "$root/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || [ -e "$root/sbin/$applet" ] ||
      ln -s /bin/busybox "$root/bin/$applet"
  done
  find "$root/usr/share/ca-certificates" -name '*.crt' -exec cat {} + >"$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
  mv "$root" "$materials/debian"
}

nats() {
  mkdir -p "$materials/nats"
  CGO_ENABLED=0 go build -trimpath -o "$materials/nats/nats-server" github.com/nats-io/nats-server/v2
}

golang() {
  local root=$materials/golang
  mkdir -p "$root/usr/local"
  if ! [ "$(go env GOROOT)/VERSION" -ot "$root/usr/local/go/VERSION" ] && ! cmp -s "$(go env GOROOT)/VERSION" "$root/usr/local/go/VERSION"; then
    rm -rf "$root/usr/local/go"
    mkdir -p "$root/usr/local/go"
    tar -C "$(go env GOROOT)" --exclude=./test --exclude=./api --exclude=./doc -c . | tar -C "$root/usr/local/go" -x --no-same-owner
  fi
  # Only the modules of go.mod, not everything that this machine ever downloaded.
  if ! cmp -s go.sum "$root/go.sum"; then
    rm -rf "$root/modules"
    GOMODCACHE=$materials/modcache GOFLAGS=-modcacherw GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" go mod download
    mv "$materials/modcache/cache/download" "$root/modules"
    rm -rf "$materials/modcache"
    cp go.sum "$root/go.sum"
  fi
  GOFLAGS='' GOCACHE=$root/cache CGO_ENABLED=0 go build -trimpath -tags timetzdata -o "$materials/hongyan" ./cmd/hongyan
}

debian
nats
golang
