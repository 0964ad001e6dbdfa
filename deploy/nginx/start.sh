#!/bin/sh
# Runs nginx, and lets it look up the ingresses again when containers came, went or were replaced: nginx itself asks for a name
# only when it reads its configuration (and from 1.27.3 on, but then only that one). A reload keeps open exchanges.
set -eu

# The addresses behind the name, one a line; empty when nobody has it.
addresses() {
  nslookup ingress 127.0.0.11 2>/dev/null | sed -n 's/^Address[^:]*:[[:space:]]*\([0-9.]*\)$/\1/p' | sort
}

# The watch ends with the container: nginx is its first process.
watch() {
  known=$(addresses)
  while sleep 1; do
    now=$(addresses)
    if [ -n "$now" ] && [ "$now" != "$known" ] && nginx -e /dev/stderr -s reload 2>/dev/null; then
      known=$now
    fi
  done
}

watch &
exec nginx -e /dev/stderr -g 'daemon off;'
