#!/usr/bin/env bash
# Runs a k6 script against `flashsale serve` on real Redis, Postgres and Kafka, and
# then asks the engine if anything was oversold or lost: speed without that
# verdict means nothing.
#
#   scripts/k6.sh [k6/smoke.js] [further options of `k6 run`]
#
# Reports are written to k6/out/: report.html and summary.json.
set -euo pipefail
cd "$(dirname "$0")/.."

# The real parts run around this script, and end with it.
if [ -z "${FLASHSALE_TEST_KAFKA_BROKERS:-}" ]; then
  exec go run ./internal/devstack/cmd/devstack -- "$0" "$@"
fi

script=${1:-k6/smoke.js}
[ $# = 0 ] || shift
[ -f "$script" ] || { echo "k6: there is no $script" >&2; exit 2; }
k6=$(scripts/tool.sh k6)
work=$(mktemp -d)
started=()

cleanup() {
  for pid in "${started[@]}"; do
    if kill "$pid" 2>/dev/null; then wait "$pid" || true; fi
  done
  rm -rf "$work"
}
trap cleanup EXIT

# start NAME ARG…: runs flashsale in the background until it prints that it is ready.
start() {
  local name=$1
  shift
  bin/flashsale "$@" --json >"$work/$name" 2>"$work/$name.log" &
  started=("$!" "${started[@]}") # the last one started ends first
  for _ in $(seq 300); do
    [ ! -s "$work/$name" ] || return 0
    kill -0 "${started[0]}" 2>/dev/null || break
    sleep 0.1
  done
  tail -30 "$work/$name.log" >&2
  echo "k6: flashsale $name did not start" >&2
  exit 1
}

# field NAME FIELD prints a string field of what a command printed.
field() { sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p" "$work/$1"; }

export BUYER_KEY=k6-buyer-key-for-this-run-of-32-bytes
token=k6-admin-token-for-this-run
# A name of its own, so that a stack that is kept from run to run has no old state of it.
export SALE="k6-$(date +%s)"
export SKUS=K6-TEE,K6-CAP

start sandbox sandbox --listen 127.0.0.1:0
start serve serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --admin-token "$token" --buyer-key "$BUYER_KEY" \
  --payment-url "$(field sandbox sandbox)" --topic "$SALE" --group "$SALE" --replication 1 \
  --redis-url "$FLASHSALE_TEST_REDIS_URL" --postgres-url "$FLASHSALE_TEST_POSTGRES_URL" --kafka-brokers "$FLASHSALE_TEST_KAFKA_BROKERS"
export API=$(field serve api)
admin=(--admin "$(field serve admin)" --token "$token")
bin/flashsale sale create "$SALE" --item K6-TEE=5000@2500:Tee --item K6-CAP=5000@1900:Cap --limit 4 "${admin[@]}" >/dev/null
bin/flashsale sale arm "$SALE" "${admin[@]}" >/dev/null
bin/flashsale sale open "$SALE" "${admin[@]}"

mkdir -p k6/out
# Long enough for k6 to draw its report.
export VUS=${VUS:-10} ITERATIONS=${ITERATIONS:-2000}
status=0
SUMMARY=${SUMMARY:-k6/out/summary.json} \
K6_NO_USAGE_REPORT=true K6_WEB_DASHBOARD=true K6_WEB_DASHBOARD_PERIOD=2s K6_WEB_DASHBOARD_PORT=-1 K6_WEB_DASHBOARD_EXPORT=k6/out/report.html \
  "$k6" run "$@" "$script" || status=$?

bin/flashsale verify "${admin[@]}" || status=$?
exit "$status"
