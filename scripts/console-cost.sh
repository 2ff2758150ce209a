#!/usr/bin/env bash
# What do the operators' consoles cost the buyers, and how old is what they show? Spikes of
# buyers at one demo, in turns with 0 and with CONSOLES consoles open; goodput is
# confirmed orders by the time until the last visit ended.
#
#   scripts/console-cost.sh        # TURNS=5 BUYERS=3000 CONSOLES=10
#
# UNDER names a command that each spike is run by.
set -euo pipefail
cd "$(dirname "$0")/.."
turns=${TURNS:-5} buyers=${BUYERS:-3000} consoles=${CONSOLES:-10}
bin=${BIN:-bin/flashsale}
[ -n "${BIN:-}" ] || go build -o "$bin" ./cmd/flashsale
out=$(mktemp -d)
"$bin" demo --json --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --stock $((buyers * (turns * 2 + 2))) >"$out/ready" 2>"$out/demo.log" &
demo=$!
trap 'kill $demo; wait $demo 2>/dev/null || true; rm -rf "$out"' EXIT
until [ -s "$out/ready" ]; do kill -0 $demo; sleep 0.2; done
field() { grep -o "\"$1\":\"[^\"]*\"" "$out/ready" | head -1 | cut -d'"' -f4; }
seed=$RANDOM

# spike FILE N: one spike with N consoles open.
spike() {
  seed=$((seed + 1))
  ${UNDER:-} "$bin" loadtest --json --quiet --admin "$(field admin)" --token "$(field admin_token)" --api "$(field api)" --buyer-key "$(field buyer_key)" \
    --buyers "$buyers" --seed "$seed" --consoles "$2" >"$1" 2>"$1.err" || { cat "$1.err" >&2; exit 1; }
  orders=$(grep -o '"confirmed":[0-9]*' "$1" | head -1 | cut -d: -f2)
  elapsed=$(grep -o '"elapsed_ms":[0-9.]*' "$1" | head -1 | cut -d: -f2)
  awk "BEGIN { printf \"%.1f\", $orders / $elapsed * 1000 }"
}
spike "$out/warm" 0 >/dev/null
for turn in $(seq "$turns"); do
  if [ $((turn % 2)) = 1 ]; then
    a=$(spike "$out/a" 0) b=$(spike "$out/b" "$consoles")
  else
    b=$(spike "$out/b" "$consoles") a=$(spike "$out/a" 0)
  fi
  awk -v t="$turn" -v a="$a" -v b="$b" 'BEGIN { printf "turn %d: %.1f orders/s without, %.1f with, ratio %.3f\n", t, a, b, b / a }' | tee -a "$out/turns"
  cat "$out/b.err"
done
awk '{ print $NF }' "$out/turns" | sort -n | awk '{ v[NR] = $1 } END { printf "median ratio %.3f, lowest %.3f, highest %.3f of %d turns\n", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2, v[1], v[NR], NR }'
