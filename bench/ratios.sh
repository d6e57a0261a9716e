#!/usr/bin/env bash
# Measures every ratio that eqat promises and prints it beside its bound; exit code 1 if one is missed.
#
#   bench/ratios.sh [--only 1,2,5] [--rounds N] [BUILD]
#
# BUILD is a finished release build; without it the packages that are missing are installed and build/ is built. Rows 1-8
# and 11-14 come from eqat_ratios (all in one process, both sides in turns, medians of N rounds, default 15), rows 9, 10
# and 16 from compare_torch.py (which installs torch the first time), row 15 from package_links.py. The machine should have
# nothing else to do. bench/README.md says how to read the table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

only=
rounds=15
build=
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --only) only=${2:?--only needs row numbers}; shift 2 ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
    -*) echo "ratios.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) [ -z "$build" ] || { echo "ratios.sh: more than one BUILD" >&2; exit 2; }; build=$1; shift ;;
  esac
done
if [[ ! "$only" =~ ^([0-9]+(,[0-9]+)*)?$ || ! "$rounds" =~ ^[1-9][0-9]*$ ]]; then
  echo "ratios.sh: --only takes numbers with commas between, --rounds a number" >&2
  exit 2
fi

if [ -z "$build" ]; then
  build=build
  scripts/setup.sh test >&2
  cmake --preset release -G Ninja >/dev/null
  cmake --build --preset release -j "$(nproc)" --target eqat_bench eqat_ratios eqat make_model >&2
fi

# wanted NUMBER...: those of the numbers that --only picks, with commas between
wanted() {
  local picked=()
  for number in "$@"; do
    if [ -z "$only" ] || [[ ",$only," == *",$number,"* ]]; then picked+=("$number"); fi
  done
  (IFS=,; echo "${picked[*]}")
}

printf '%3s  %-86s %9s  %-8s %-7s %s\n' '#' what ratio bound '' 'quartiles; times or rates of both sides'
status=0
measure() {  # measure COMMAND...: its rows, and whether it missed a bound
  "$@" || { [ $? -eq 1 ] && status=1; } || { echo "ratios.sh: $1 failed" >&2; exit 3; }
}
rows=$(wanted 1 2 3 4 5 6 7 8 11 12 13 14)
[ -z "$rows" ] || measure "$build/bench/eqat_ratios" --only "$rows" --rounds "$rounds"
rows=$(wanted 9 10 16)
[ -z "$rows" ] || measure bench/compare_torch.py --build "$build" --only "$rows" --bounds
[ -z "$(wanted 15)" ] || measure bench/package_links.py --build "$build" --bounds
exit $status
