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
run() {
    local target=$1
    local arguments=(-max_total_time="$seconds" -rss_limit_mb=4096)
    if [ -f "fuzz/dictionaries/$target.dict" ]; then arguments+=(-dict="fuzz/dictionaries/$target.dict"); fi
    mkdir "$found/$target"
    local log=$found/$target.log
    if ! cargo fuzz run -s none "$target" "$found/$target" "fuzz/corpus/$target" -- "${arguments[@]}" >"$log" 2>&1; then
        tail -n 100 "$log" >&2
        echo "$target: a claim is broken" >&2
        return 1
    fi
    echo "$target: $(grep -o 'Done [0-9]* runs in [0-9]* second(s)' "$log")"
}
export -f run
export seconds found
# One target for each processor at a time. The status of xargs is that of the targets.
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -euc 'run {}'
