#!/usr/bin/env bash
# Fuzzes every reader of files with libFuzzer under the address and undefined-behaviour sanitizers (clang).
#
#   scripts/fuzz.sh [SECONDS [TARGET...]]     30 seconds and every target of fuzz/targets unless said otherwise
#
# A target ends after SECONDS or 10 million inputs, whichever comes first; as many run at a time as there are processors.
# Starts from the committed corpus; new inputs go to build-fuzz/corpus/TARGET, a failing one to build-fuzz/failures.
# Prints a line per target: inputs, seconds, findings. Exit code 0 only if no target found anything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-30}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz/targets/*.cc; do targets+=("$(basename "$file" .cc)"); done
fi

scripts/setup.sh fuzz
mkdir -p build-fuzz/failures
cmake --preset fuzz -G Ninja >/dev/null
cmake --build --preset fuzz >build-fuzz/build.log || { tail -30 build-fuzz/build.log; exit 1; }

export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1:${ASAN_OPTIONS:-}"
fuzz() {
  local seconds=$1 target=$2 log=build-fuzz/$2.log findings=none
  mkdir -p "build-fuzz/corpus/$target"
  "build-fuzz/fuzz/fuzz_$target" "build-fuzz/corpus/$target" "fuzz/corpus/$target" \
    -max_total_time="$seconds" -runs=10000000 -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
    -artifact_prefix="build-fuzz/failures/$target-" >"$log" 2>&1 || findings="see $log"
  local inputs taken
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  taken=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log")
  printf '%-14s %12s inputs %6s s  findings: %s\n' "$target" "${inputs:-?}" "${taken:-?}" "$findings"
  [ "$findings" = none ]
}
export -f fuzz
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'fuzz "$@"' fuzz "$seconds" {}
