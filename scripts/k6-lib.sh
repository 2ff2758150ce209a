# shellcheck shell=bash
# What the scripts that run k6 share; sourced from the repository's root. The real parts
# are up already (internal/devstack around the script), and $work is a folder of ours.

work=$(mktemp -d)
started=()

stop_last() {
  if kill "${started[0]}" 2>/dev/null; then wait "${started[0]}" || true; fi
  started=("${started[@]:1}")
}

stop_all() { while [ ${#started[@]} -gt 0 ]; do stop_last; done; }

trap 'stop_all; rm -rf "$work"' EXIT

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

export BUYER_KEY=k6-buyer-key-for-this-run-of-32-bytes
token=k6-admin-token-for-this-run
# A name of its own, so that a stack that is kept from run to run has no old state of it.
topic="k6-$(date +%s)"
start sandbox sandbox --listen 127.0.0.1:0

# serve ARG… starts the engine; API and admin say where it is.
serve() {
  start serve serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --admin-token "$token" --buyer-key "$BUYER_KEY" \
    --payment-url "$(field sandbox sandbox)" --topic "$topic" --group "$topic" --replication 1 "$@" \
    --redis-url "$FLASHSALE_TEST_REDIS_URL" --postgres-url "$FLASHSALE_TEST_POSTGRES_URL" --kafka-brokers "$FLASHSALE_TEST_KAFKA_BROKERS"
  API=$(field serve api)
  export API
  admin=(--admin "$(field serve admin)" --token "$token")
}

# provider JSON says how the payment provider behaves.
provider() { curl --silent --show-error --fail --output /dev/null --data "$1" "$(field sandbox control)"; }

# new_sale NAME TERM…: a sale that is open, or opens by the clock if its terms say when; SALE and SKUS name it.
new_sale() {
  export SALE=$1
  shift
  bin/flashsale sale create "$SALE" "$@" "${admin[@]}" >/dev/null
  bin/flashsale sale arm "$SALE" "${admin[@]}" >/dev/null
  [[ " $* " == *" --opens "* ]] || bin/flashsale sale open "$SALE" "${admin[@]}" >/dev/null
  SKUS=$(printf '%s\n' "$@" | sed -n 's/^\(K6-[A-Z0-9-]*\)=.*/\1/p' | paste -sd,)
  export SKUS
}

# default NAME VALUE gives the scripts a setting that the environment does not.
default() { [ -n "${!1:-}" ] || export "$1=$2"; }

# What breakpoint measures on one machine is no processor, of which k6 would need as much
# as the engine: the provider takes 300 ms for a payment, and the engine calls it 32 times
# at once at most. So about 107 checkouts a second is all that there can be.
breakpoint_limits=(--payment-max 32 --payment-queue 0)
breakpoint_provider='{"latency_ms":300,"ops":["authorise"]}'
breakpoint_terms=(--item K6-TEE=100000@2500:Tee --item K6-CAP=100000@1900:Cap --limit 4 --hold-ttl 30s)
breakpoint_defaults() { default RATE 64; default STEP 1.06; default LEVELS 7; default HOLD 8s; default PERCENTILE 95; default SLOW 1000; default ERRORS 0.01; default THINK 1; }
