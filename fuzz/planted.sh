#!/usr/bin/env bash
# Checks the targets themselves: each must find its planted bug from its seeds alone, within SECONDS (20 by default):
# `fuzz/planted.sh [SECONDS]`. Builds into a directory of its own, so that the other builds stay warm.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}

export RUSTC_BOOTSTRAP=1 RUSTFLAGS="--cfg mutant"
cargo fuzz build -s none --target-dir fuzz/target/planted
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target in $(cargo fuzz list); do
    mkdir "$found/$target"
    cp fuzz/corpus/"$target"/seed-* "$found/$target"
    began=$(date +%s%N)
    if cargo fuzz run -s none --target-dir fuzz/target/planted "$target" "$found/$target" -- \
        -max_total_time="$seconds" -artifact_prefix="$found/" >"$found/log" 2>&1; then
        echo "$target: the planted bug was not found in $seconds s" >&2
        exit 1
    fi
    grep -q 'panicked at' "$found/log" || { tail -n 50 "$found/log" >&2; exit 1; }
    echo "$target: found after $((($(date +%s%N) - began) / 1000000)) ms"
done
