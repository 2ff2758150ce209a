#!/usr/bin/env bash
# Runs k6 scenarios against `flashsale serve` on real Redis, Postgres and Kafka, and
# after each asks the engine if anything was oversold or lost: speed without that
# verdict means nothing.
#
#   scripts/k6.sh [SCENARIO | all] [further options of `k6 run`]
#
# A scenario is a script of k6/ without .js; default: smoke. Each gets a sale that fits
# it, and settings that are short; the environment has the last word (k6/README.md):
#
#   RATE=200 DURATION=5m scripts/k6.sh flash-sale
#   PARTS=2 scripts/k6.sh smoke        # two k6 processes that share one test
#
# Reports are written to k6/out/SCENARIO/: summary.html, summary.json, report.html.
set -euo pipefail
cd "$(dirname "$0")/.."

# The real parts run around this script, and end with it.
if [ -z "${FLASHSALE_TEST_KAFKA_BROKERS:-}" ]; then
  exec go run ./internal/devstack/cmd/devstack -- "$0" "$@"
fi

all=(smoke flash-sale black-friday hot-sku retry-storm waiting-room soak breakpoint)
what=${1:-smoke}
[ $# = 0 ] || shift
scenarios=("$(basename "$what" .js)")
[ "$what" != all ] || scenarios=("${all[@]}")
for name in "${scenarios[@]}"; do
  [ -f "k6/$name.js" ] || { echo "k6: there is no k6/$name.js; there are: ${all[*]}" >&2; exit 2; }
done

k6=$(scripts/tool.sh k6)
work=$(mktemp -d)
started=()
quiet=()
[ -t 1 ] || quiet=(--quiet) # no progress into a log

stop_last() {
  if kill "${started[0]}" 2>/dev/null; then wait "${started[0]}" || true; fi
  started=("${started[@]:1}")
}

cleanup() {
  while [ ${#started[@]} -gt 0 ]; do stop_last; done
  rm -rf "$work"
}
trap cleanup EXIT

# start NAME ARG…: runs flashsale in the background until it prints that it is ready.
start() {
  local name=$1
  shift
  : >"$work/$name"
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

# seconds TIME prints a time such as 1m30s as seconds.
seconds() { awk -v t="$1" 'BEGIN { n = 0; while (match(t, /^[0-9.]+[hms]/)) { u = substr(t, RLENGTH, 1); n += substr(t, 1, RLENGTH - 1) * (u == "h" ? 3600 : u == "m" ? 60 : 1); t = substr(t, RLENGTH + 1) }; print int(n + 0.999) }'; }

# in_seconds N prints the time that it is then.
in_seconds() { date -u -d "@$(($(date +%s) + $1))" +%Y-%m-%dT%H:%M:%SZ; }

# default NAME VALUE gives the scripts a setting that the environment does not.
default() { [ -n "${!1:-}" ] || export "$1=$2"; }

# prepare SCENARIO says which sale it needs (terms), which engine (limits), how the payment
# provider behaves (provider), and how long it is to take here.
prepare() {
  terms=(--item K6-TEE=100000@2500:Tee --item K6-CAP=100000@1900:Cap --limit 4 --hold-ttl 30s)
  limits=()
  provider='{"latency_ms":0}'
  opens= # seconds from now; else it is opened by hand
  [ "$1" = smoke ] || default THINK 0.5
  case $1 in
    smoke) default VUS 10; default ITERATIONS 1000 ;;
    flash-sale)
      default RATE 60; default DURATION 30s
      terms=(--item K6-DROP=250@9900:Drop --limit 2 --hold-ttl 10s)
      opens=$(($(seconds "$DURATION") / 5 + 10)) ;;
    black-friday) default RATE 40; default DURATION 40s ;;
    hot-sku)
      default RATE 40; default DURATION 30s
      terms=(--item K6-HOT=250@12900:Hot --limit 4 --hold-ttl 10s)
      for i in $(seq 19); do terms+=(--item "K6-COLD-$i=100000@2500:Cold"); done ;;
    retry-storm)
      default RATE 15; default DURATION 36s
      # Small enough that a storm of this size is one.
      limits=(--max-in-flight 32) ;;
    waiting-room)
      default WAITERS 200; default JOIN 8s; default DURATION 30s
      terms=(--item "K6-DROP=$((WAITERS * 2 / 5))@9900:Drop" --limit 1 --hold-ttl 5s --admission --admission-lease 6s --admission-use 15s)
      opens=$(($(seconds "$JOIN") + 10)) ;;
    soak) default RATE 15; default DURATION 40s ;;
    breakpoint)
      # What binds is the provider: 32 payments at a time that take 300 ms each.
      default RATE 60; default STEP 1.1; default LEVELS 12; default HOLD 8s; default PERCENTILE 95; default THINK 1
      limits=(--payment-max 32 --payment-queue 0)
      provider='{"latency_ms":300,"ops":["authorise"]}' ;;
  esac
}

# run SCENARIO [k6's options]: in a subshell, so that settings end with it.
run() (
  set -e
  name=$1
  shift
  prepare "$name"
  export SALE="$topic-$name" out="k6/out/$name"
  rm -rf "$out"
  mkdir -p "$out"
  started=()
  trap 'while [ ${#started[@]} -gt 0 ]; do stop_last; done' EXIT
  start serve serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --admin-token "$token" --buyer-key "$BUYER_KEY" \
    --payment-url "$(field sandbox sandbox)" --topic "$topic" --group "$topic" --replication 1 "${limits[@]}" \
    --redis-url "$FLASHSALE_TEST_REDIS_URL" --postgres-url "$FLASHSALE_TEST_POSTGRES_URL" --kafka-brokers "$FLASHSALE_TEST_KAFKA_BROKERS"
  API=$(field serve api)
  export API
  admin=(--admin "$(field serve admin)" --token "$token")
  curl --silent --show-error --fail --output /dev/null --data "$provider" "$(field sandbox control)"
  [ -z "$opens" ] || terms+=(--opens "$(in_seconds "$opens")")
  bin/flashsale sale create "$SALE" "${terms[@]}" "${admin[@]}" >/dev/null
  bin/flashsale sale arm "$SALE" "${admin[@]}" >/dev/null
  [ -n "$opens" ] || bin/flashsale sale open "$SALE" "${admin[@]}" >/dev/null
  SKUS=$(printf '%s\n' "${terms[@]}" | sed -n 's/^\(K6-[A-Z0-9-]*\)=.*/\1/p' | paste -sd,)
  export SKUS
  "$k6" inspect --include-system-env-vars "k6/$name.js" >"$out/options.json"

  # With PARTS above 1 each process has its segment of the test, and all share its RUN.
  parts=${PARTS:-1} pids=() status=0
  [ "$parts" = 1 ] || default RUN "$(date +%s)"
  sequence=$(seq -s, -f "%.0f/$parts" 0 "$parts" | sed "s|^0/$parts|0|; s|$parts/$parts\$|1|")
  for i in $(seq "$parts"); do
    dir=$out segment=()
    if [ "$parts" != 1 ]; then
      dir=$out/part-$i
      mkdir -p "$dir"
      segment=(--execution-segment "$(cut -d, -f"$i" <<<"$sequence"):$(cut -d, -f"$((i + 1))" <<<"$sequence")" --execution-segment-sequence "$sequence")
    fi
    SUMMARY=$dir/summary.json K6_NO_USAGE_REPORT=true K6_WEB_DASHBOARD=true K6_WEB_DASHBOARD_PERIOD=2s K6_WEB_DASHBOARD_PORT=-1 K6_WEB_DASHBOARD_EXPORT=$dir/report.html \
      "$k6" run --address '' "${quiet[@]}" "${segment[@]}" "$@" "k6/$name.js" &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
  # breakpoint is there to break thresholds; whether it found out what it should is its own verdict.
  if [ "$name" = breakpoint ] && [ "$status" = 99 ] && grep -q ^PASS "$out/summary.line"; then status=0; fi

  bin/flashsale verify "${admin[@]}" | tee "$out/verify.txt" || status=$?
  exit "$status"
)

export BUYER_KEY=k6-buyer-key-for-this-run-of-32-bytes
token=k6-admin-token-for-this-run
# A name of its own, so that a stack that is kept from run to run has no old state of it.
topic="k6-$(date +%s)"
start sandbox sandbox --listen 127.0.0.1:0

failed=0
for name in "${scenarios[@]}"; do
  if ! run "$name" "$@"; then failed=1; touch "k6/out/$name/failed"; fi
done

echo
for name in "${scenarios[@]}"; do
  for line in "k6/out/$name"/summary.line "k6/out/$name"/part-*/summary.line; do
    [ ! -f "$line" ] || printf '%-13s %s\n' "$name" "$(cat "$line")"
  done
  printf '%-13s %s%s\n' '' "$(grep -m1 OVERSOLD "k6/out/$name/verify.txt" || echo 'no verdict of verify')" "$([ ! -f "k6/out/$name/failed" ] || echo ' · FAILED')"
done
exit "$failed"
