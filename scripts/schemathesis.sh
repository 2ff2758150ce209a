#!/usr/bin/env bash
# Schemathesis against a running demo, by the document that it serves itself:
# scripts/schemathesis.sh [options of schemathesis]
#
# Installs the pinned version once, in a Python environment of its own in the cache.
# Every request has a buyer's token, whose scope also allows batches. What is excused,
# and why, is in scripts/schemathesis.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.32.5
venv=${XDG_CACHE_HOME:-$HOME/.cache}/flashsale/schemathesis-$version
if [ ! -x "$venv/bin/schemathesis" ]; then
  echo "schemathesis: installing $version (once)" >&2
  if ! python3 -m venv "$venv" || ! "$venv/bin/pip" install --quiet "schemathesis==$version"; then
    rm -rf "$venv"
    echo "schemathesis: it could not be installed; that needs python3 with venv, and PyPI" >&2
    exit 1
  fi
fi

work=$(mktemp -d)
demo=
cleanup() {
  [ -z "$demo" ] || kill "$demo" 2>/dev/null || true
  [ -z "$demo" ] || wait "$demo" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

bin/flashsale demo --json --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --stock 100000 --limit 100 >"$work/ready" 2>"$work/log" &
demo=$!
for _ in $(seq 300); do
  [ -s "$work/ready" ] && break
  kill -0 "$demo" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.2
done
field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/ready" "$1"; }
api=$(field api)
token=$(bin/flashsale token --buyer schemathesis --scope reservations:batch --buyer-key "$(field buyer_key)" --ttl 8h)

status=0
here=$PWD
(cd "$work" && PYTHONPATH="$here/scripts" SCHEMATHESIS_HOOKS=schemathesis_hooks "$venv/bin/schemathesis" --config-file "$here/scripts/schemathesis.toml" run "$api/openapi.json" \
  --header "Authorization: Bearer $token" "$@") || status=$?

# Whatever was sent, the books must agree, and nobody must have seen a fault.
bin/flashsale verify --admin "$(field admin)" --token "$(field admin_token)" --settle 15s || status=1
if grep -E 'panic|level=ERROR' "$work/log" >&2; then
  echo "schemathesis: the engine's log has faults" >&2
  status=1
fi
exit $status
