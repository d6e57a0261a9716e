#!/usr/bin/env bash
# Installs what is missing, builds, and passes the tests: in release mode, then under the address and undefined-behaviour
# sanitizers. Prints CTest's summary of each; exit code 0 only if every test of both ran and passed.
#
#   scripts/test.sh               everything
#   scripts/test.sh release       the release build alone
#   scripts/test.sh sanitizers    the sanitizer build alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-all}" in
  all) presets=(release sanitizers) ;;
  release | sanitizers) presets=("$1") ;;
  *) echo "usage: scripts/test.sh [release|sanitizers]" >&2; exit 2 ;;
esac

scripts/setup.sh test
jobs=$(nproc)
# A leak at exit is an error; a child of a sanitized process that a test kills is not.
export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
for preset in "${presets[@]}"; do
  echo "== $preset: configure and build"
  cmake --preset "$preset" -G Ninja >/dev/null
  cmake --build --preset "$preset" -j "$jobs"
  echo "== $preset: test"
  ctest --preset "$preset" -j "$jobs" --output-on-failure --no-tests=error
done
