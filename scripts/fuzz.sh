#!/usr/bin/env bash
# Fuzzes every target there is, one after the other: scripts/fuzz.sh [PATTERN]
#
# FUZZTIME (10s) is each target's time, WORKERS (2) how many processes it has. PATTERN
# chooses targets by name, or folder/name. Prints executions per target, the total time
# and the processors'; an input that breaks something is written to the folder's
# testdata/fuzz, where the ordinary tests play it again, and makes the exit status 1.
set -uo pipefail
cd "$(dirname "$0")/.."
pattern=${1:-.}
began=$SECONDS total=0 targets=0 broken=()
while IFS=: read -r file line; do
  folder=$(dirname "$file")
  name=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/' <<<"$line")
  [[ "$folder/$name" =~ $pattern ]] || continue
  targets=$((targets + 1))
  out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-10s}" -parallel "${WORKERS:-2}" "./$folder" 2>&1)
  status=$?
  execs=$(grep -Eo 'execs: [0-9]+' <<<"$out" | tail -1 | grep -Eo '[0-9]+' || echo 0)
  total=$((total + execs))
  printf '%12s executions  %s %s\n' "$execs" "$folder" "$name"
  # Go's fuzzer sometimes calls it a failure that its own time ran out while a worker was at it.
  if [ "$status" -ne 0 ] && { grep -q 'Failing input' <<<"$out" || ! grep -q 'context deadline exceeded' <<<"$out"; }; then
    broken+=("$folder $name")
    printf '%s\n' "$out"
  fi
done < <(grep -rE '^func Fuzz' --include='*_test.go' . | sed 's#^./##' | sort)
spent=$(mktemp)
times >"$spent" # in this shell: a pipe's would know of no children
cpu=$(awk -F '[ms ]+' 'NR == 2 { printf "%.0f", 60 * ($1 + $3) + $2 + $4 }' "$spent")
rm -f "$spent"
printf '%12s executions of %d targets in %d s, %s s of processors (building included); %d broken\n' "$total" "$targets" $((SECONDS - began)) "$cpu" "${#broken[@]}"
[ "$targets" -gt 0 ] && [ "${#broken[@]}" -eq 0 ]
