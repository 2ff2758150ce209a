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
quiet=()
[ -t 1 ] || quiet=(--quiet) # no progress into a log
. scripts/k6-lib.sh

# seconds TIME prints a time such as 1m30s as seconds.
seconds() { awk -v t="$1" 'BEGIN { n = 0; while (match(t, /^[0-9.]+[hms]/)) { u = substr(t, RLENGTH, 1); n += substr(t, 1, RLENGTH - 1) * (u == "h" ? 3600 : u == "m" ? 60 : 1); t = substr(t, RLENGTH + 1) }; print int(n + 0.999) }'; }

# prepare SCENARIO says which sale it needs (terms), which engine (limits), how the payment
# provider behaves (money), and how long it is to take here.
prepare() {
  terms=(--item K6-TEE=100000@2500:Tee --item K6-CAP=100000@1900:Cap --limit 4 --hold-ttl 30s)
  limits=()
  money='{"latency_ms":0}'
  opens= # seconds from now; else it is opened by hand
  default SLACK 4 # k6, the engine and all its backends share this machine
  [ "$1" = breakpoint ] || default THINK 0.5
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
      limits=(--max-in-flight 64) ;;
    waiting-room)
      default WAITERS 200; default JOIN 8s; default DURATION 30s
      terms=(--item "K6-DROP=$((WAITERS * 2 / 5))@9900:Drop" --limit 1 --hold-ttl 5s --admission --admission-lease 6s --admission-use 15s)
      opens=$(($(seconds "$JOIN") + 10)) ;;
    soak) default RATE 15; default DURATION 40s ;;
    breakpoint)
      breakpoint_defaults
      limits=("${breakpoint_limits[@]}") terms=("${breakpoint_terms[@]}") money=$breakpoint_provider ;;
  esac
}

# run SCENARIO [k6's options]: in a subshell, so that settings end with it.
run() (
  set -e
  name=$1
  shift
  prepare "$name"
  out="k6/out/$name"
  rm -rf "$out"
  mkdir -p "$out"
  started=()
  trap stop_all EXIT
  serve "${limits[@]}"
  provider "$money"
  [ -z "$opens" ] || terms+=(--opens "$(date -u -d "@$(($(date +%s) + opens))" +%Y-%m-%dT%H:%M:%SZ)")
  new_sale "$topic-$name" "${terms[@]}"
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
