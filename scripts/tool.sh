#!/usr/bin/env bash
# Builds a tool once and prints where it is: scripts/tool.sh lint|k6|stripe-mock|govulncheck
#
# Tools have go modules of their own (tools/*), so that their hundreds of
# dependencies never meet the engine's. Building one takes minutes on a small
# machine; the result is cached by version in ${XDG_CACHE_HOME:-~/.cache}/flashsale.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  lint) module=github.com/golangci/golangci-lint/v2 package=$module/cmd/golangci-lint name=golangci-lint ;;
  k6) module=go.k6.io/k6/v2 package=$module name=k6 ;;
  govulncheck) module=golang.org/x/vuln package=$module/cmd/govulncheck name=govulncheck ;;
  stripe-mock) module=github.com/stripe/stripe-mock package=$module name=stripe-mock ;;
  *) echo "usage: scripts/tool.sh lint|k6|stripe-mock|govulncheck" >&2; exit 2 ;;
esac

version=$(awk -v m="$module" '$1 == m { print $2 }' "tools/$1/go.mod")
bin=${XDG_CACHE_HOME:-$HOME/.cache}/flashsale/$name-$version-$(go env GOVERSION)

if [ ! -x "$bin" ]; then
  echo "tools: building $name $version (once, some minutes)" >&2
  mkdir -p "$(dirname "$bin")"
  # Built beside its place and moved, so that an interrupted build isn't taken for a tool.
  (cd "tools/$1" && go build -mod=readonly -buildvcs=false -o "$bin.part.$$" "$package")
  mv "$bin.part.$$" "$bin"
fi
echo "$bin"
