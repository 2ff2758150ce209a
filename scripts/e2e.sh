#!/usr/bin/env bash
# Clicks through the demo in a real Chromium: scripts/e2e.sh [arguments of go test]
#
# Pictures go to bin/e2e. axe and the TypeScript compiler come by npm, into the cache, at these versions.
set -euo pipefail
cd "$(dirname "$0")/.."

axe=4.10.3 typescript=5.9.3
tools=${XDG_CACHE_HOME:-$HOME/.cache}/flashsale/e2e-$axe-$typescript
if [ ! -e "$tools/done" ]; then
  npm install --silent --no-save --ignore-scripts --prefix "$tools" "axe-core@$axe" "typescript@$typescript"
  touch "$tools/done"
fi

# What is written against the snippet's types must fit them.
"$tools/node_modules/.bin/tsc" --noEmit --strict --target es2022 --module es2022 --moduleResolution bundler tools/e2e/storefront.ts

rm -rf bin/e2e
mkdir -p bin/e2e
export E2E_SHOTS=$PWD/bin/e2e E2E_ENGINE=$PWD/bin/flashsale E2E_AXE=$tools/node_modules/axe-core/axe.min.js
cd tools/e2e
go test -mod=readonly -count=1 -timeout 20m -v "$@" .
