#!/usr/bin/env bash
# Installs what is missing to run the engine on real parts, and nothing else.
#
#   scripts/deps.sh        Redis, Postgres, Java, Maven, the jars of Apache Kafka, a C compiler,
#                          which Go's race detector asks for, and Prometheus with promtool (tests)
#   scripts/deps.sh e2e    what the demo needs, Chromium, a font and npm
#   scripts/deps.sh demo   Redis and Postgres only (the demo has Kafka built in)
#
# System packages come from apt-get, and only if missing; the jars from Maven
# Central into ${XDG_CACHE_HOME:-~/.cache}/flashsale. Services that a package
# would start are not started: the engine runs its own servers (internal/devstack).
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-all}
kafka_version=$(sed -n 's/^const KafkaVersion = "\(.*\)"$/\1/p' internal/devstack/kafka.go)
libs=${FLASHSALE_KAFKA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/flashsale/kafka-$kafka_version}

say() { echo "deps: $*"; }
die() { echo "deps: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

have_postgres() {
  have initdb && have postgres && return
  local bin
  for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
    [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && return
  done
  return 1
}

# Java 17 is what the Kafka broker asks for.
have_java() {
  have java || return 1
  local major
  major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  [ "${major:-0}" -ge 17 ]
}

have_jars() { compgen -G "$libs/kafka_2.13-*.jar" >/dev/null; }

# as_root runs a command as root, by sudo if need be.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
  local packages="$*"
  have apt-get || die "missing: $packages. This system has no apt-get: install them (or their equivalent) by hand and run this again"
  [ "$(id -u)" = 0 ] || have sudo || die "missing: $packages. Run as root: apt-get install --no-install-recommends $packages"
  say "installing $packages (apt-get)"

  # A policy that answers 101 keeps a package from starting its service. Only
  # ours is removed again; one that was there stays in charge.
  local policy=/usr/sbin/policy-rc.d placed=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    placed=yes
  fi
  local log status=0
  log=$(mktemp)
  # The package lists of a fresh machine are empty or old: refresh them only if needed.
  # shellcheck disable=SC2086 # a list of packages
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages >"$log" 2>&1 ||
    { as_root apt-get update >>"$log" 2>&1 || true
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages >>"$log" 2>&1; } || status=$?
  [ -z "$placed" ] || as_root rm -f "$policy"
  if [ "$status" != 0 ]; then
    tail -20 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: $packages"
  fi
  rm -f "$log"
}

fetch_jars() {
  # A folder the user named is the user's: not ours to fill or replace.
  [ -z "${FLASHSALE_KAFKA_LIBS:-}" ] || die "FLASHSALE_KAFKA_LIBS=$libs has no kafka_2.13-*.jar: correct it, or unset it to have the jars fetched"
  say "fetching Apache Kafka $kafka_version (Maven, into $libs)"
  local fresh="$libs.part.$$"
  rm -rf "$fresh"
  mkdir -p "$fresh"
  # Moved into place when complete, so that an interrupted run isn't taken for a finished one.
  mvn -q -B -f scripts/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh" ||
    { rm -rf "$fresh"; die "Maven could not fetch Apache Kafka"; }
  rm -rf "$libs"
  mv "$fresh" "$libs"
}

packages=()
have redis-server || packages+=(redis-server)
have_postgres || packages+=(postgresql)
if [ "$what" = all ]; then
  have cc || have gcc || have clang || packages+=(gcc libc6-dev)
  have_java || packages+=(openjdk-17-jre-headless)
  have_jars || have mvn || packages+=(maven)
  have promtool && have prometheus || packages+=(prometheus)
elif [ "$what" = e2e ]; then
  have chromium || packages+=(chromium fonts-dejavu-core)
  have npm || packages+=(npm)
elif [ "$what" != demo ]; then
  die "unknown argument '$what': nothing for all, demo or e2e"
fi

[ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"
if [ "$what" = all ] && ! have_jars; then fetch_jars; fi

have redis-server || die "redis-server is still not there after installing it"
have_postgres || die "Postgres is still not there after installing it"
[ "$what" != all ] || have_java || die "java on PATH is older than 17, or not there: set PATH to a newer one"
say "all there ($what)"
