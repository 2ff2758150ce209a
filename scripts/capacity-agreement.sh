#!/usr/bin/env bash
# Do k6's breakpoint and `flashsale loadtest` find the same capacity? Both climb the same
# levels at the same engine, in turns, by the same definition: a level is held if the
# percentile of checkouts, repeats included, and the share of buyers without an order are
# within their limits, and no arrival was dropped. The capacity is the last one held.
#
#   scripts/capacity-agreement.sh        # ROUNDS=3; the settings are those of breakpoint (k6/README.md)
#
# What binds is the payment provider, see scripts/k6-lib.sh. UNDER names a command that each
# measurement is run by, such as `taskset -c 1`. Exit status 1: the median of the ratios
# is more than a tenth away from 1, or the engine's books are not in order.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${FLASHSALE_TEST_KAFKA_BROKERS:-}" ]; then
  exec go run ./internal/devstack/cmd/devstack -- "$0" "$@"
fi
k6=$(scripts/tool.sh k6)
. scripts/k6-lib.sh
breakpoint_defaults
default WARM 5s
case $PERCENTILE in 50 | 95 | 99) ;; *) echo "agreement: PERCENTILE $PERCENTILE: loadtest reports 50, 95 and 99" >&2; exit 2 ;; esac
hold=${HOLD%s}
out=k6/out/agreement
rm -rf "$out"
mkdir -p "$out"
export out k6 hold admin_url token

# by_k6 FILE: its capacity into FILE.
by_k6() {
  SUMMARY=$1.json K6_NO_USAGE_REPORT=true "$k6" run --quiet --address '' k6/breakpoint.js >"$1.log" 2>&1 || [ $? = 99 ] # it is meant to break
  sed -n 's/^ *"capacity": \([0-9.]*\),*$/\1/p' "$1.json" >"$1"
}

# by_loadtest FILE: the same by one run of loadtest per level. A level of breakpoint begins
# with the buyers of the level before, who hesitate; one that began with nobody would have its
# first checkouts to itself. So as many buyers as hesitate at any moment come at once, first.
by_loadtest() {
  local rate=$RATE held='' i arrivals confirmed dropped slow
  get() { grep -o "\"$1\":[0-9.]*" "$2" | head -1 | cut -d: -f2; }
  for i in $(seq "$LEVELS"); do
    awk "BEGIN { burst = $rate * $THINK / 0.1; print \"seconds,rate\\n0,\" burst \"\\n0.1,\" burst \"\\n0.1,$rate\\n$hold,$rate\" }" >"$1.$i.csv"
    bin/flashsale loadtest --quiet --json --admin "$admin_url" --token "$token" --api "$API" --sale "$SALE" --buyer-key "$BUYER_KEY" --seed "$RANDOM" \
      --curve "$1.$i.csv" --buyers "$(awk "BEGIN { print int($rate * ($hold + $THINK)) + 1 }")" --hesitate "${THINK}s" >"$1.$i.json" 2>"$1.$i.log" || true
    arrivals=$(get arrivals "$1.$i.json") confirmed=$(get confirmed "$1.$i.json") dropped=$(get dropped "$1.$i.json")
    slow=$(grep -o '{"step":"checkout","count"[^}]*}' "$1.$i.json" | head -1 | grep -o "\"p${PERCENTILE}_ms\":[0-9.]*" | cut -d: -f2)
    echo "$rate per second: $arrivals arrivals, $dropped dropped, $confirmed orders, p$PERCENTILE $slow ms" >>"$1.log"
    awk "BEGIN { exit !($slow < $SLOW && $dropped == 0 && $arrivals - $confirmed <= $ERRORS * $arrivals) }" || break
    held=$rate
    rate=$(awk "BEGIN { printf \"%.1f\", int($RATE * $STEP ^ $i * 10 + 0.5) / 10 }")
  done
  echo "$held" >"$1"
}
export -f by_k6 by_loadtest

serve "${breakpoint_limits[@]}"
provider "$breakpoint_provider"
admin_url=$(field serve admin)
for round in $(seq "${ROUNDS:-3}"); do
  ways=(by_k6 by_loadtest)
  [ $((round % 2)) = 1 ] || ways=(by_loadtest by_k6)
  for way in "${ways[@]}"; do
    new_sale "$topic-${way/_/-}-$round" "${breakpoint_terms[@]}"
    ${UNDER:-} bash -euo pipefail -c "$way $out/$way-$round"
    [ -s "$out/$way-$round" ] || { tail -5 "$out/$way-$round.log" >&2; echo "agreement: $way found no capacity; lower RATE" >&2; exit 1; }
    echo "round $round, $way: $(cat "$out/$way-$round") visitors per second"
  done
done

echo
echo "capacity in complete checkouts per second; levels are $STEP apart, p$PERCENTILE within $SLOW ms"
for round in $(seq "${ROUNDS:-3}"); do
  awk -v r="$round" -v a="$(cat "$out/by_k6-$round")" -v b="$(cat "$out/by_loadtest-$round")" 'BEGIN { printf "round %d  k6 %6.1f  loadtest %6.1f  ratio %.3f\n", r, a, b, a / b }'
done | tee "$out/rounds.txt"
median=$(awk '{ print $NF }' "$out/rounds.txt" | sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }')
echo "median ratio $median"
bin/flashsale verify "${admin[@]}"
awk "BEGIN { exit !($median >= 0.9 && $median <= 1.1) }"
