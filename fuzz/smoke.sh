#!/usr/bin/env bash
# Runs every target for a while from its committed seeds, as CI does: `fuzz/smoke.sh [SECONDS [TARGET...]]`, 10 seconds each
# by default. What a run finds to keep stays out of the tree; what breaks a claim is in fuzz/artifacts/TARGET/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}
shift $(($# > 0 ? 1 : 0))

# The stable compiler, and no sanitizer: the crate forbids unsafe code, and it is several times as fast.
export RUSTC_BOOTSTRAP=1
cargo fuzz build -s none
if [ $# = 0 ]; then mapfile -t targets < <(cargo fuzz list); else targets=("$@"); fi
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target in "${targets[@]}"; do
    arguments=(-max_total_time="$seconds" -rss_limit_mb=4096)
    if [ -f "fuzz/dictionaries/$target.dict" ]; then arguments+=(-dict="fuzz/dictionaries/$target.dict"); fi
    mkdir "$found/$target"
    if ! cargo fuzz run -s none "$target" "$found/$target" "fuzz/corpus/$target" -- "${arguments[@]}" >"$found/log" 2>&1; then
        tail -n 100 "$found/log" >&2
        echo "$target: a claim is broken" >&2
        exit 1
    fi
    echo "$target: $(grep -o 'Done [0-9]* runs in [0-9]* second(s)' "$found/log")"
done
