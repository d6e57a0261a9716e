#!/usr/bin/env bash
# Freezing on real data: trains the package-links model with batch norm and dropout, in float and with QAT at 8 bits,
# freezes both, and compares graphs, losses, predictions and the time of one row.
#
#   scripts/freeze_demo.sh [--use BUILD] [--limit ROWS] [DIR]
#
# DIR (default: freeze_demo) receives rows, models and results; --use takes the programs of a finished build instead of
# making one; --limit takes the first ROWS of the snapshot alone. Fails if a frozen graph holds dropout or batch norm,
# or if predictions differ by more than freezing allows: by no bit with --optimize-numerics off.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=
limit=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --use) build=${2:?--use needs a build folder}; shift 2 ;;
    --limit) limit=(--limit "${2:?--limit needs a number}"); shift 2 ;;
    -*) echo "freeze_demo.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) break ;;
  esac
done
demo=${1:-freeze_demo}
links=examples/package_links

say() { printf '\n== %s\n' "$*"; }

if [ -z "$build" ]; then
  build=build
  scripts/setup.sh test
  say "build"
  cmake --preset release -G Ninja >/dev/null
  cmake --build --preset release -j "$(nproc)" --target eqat make_model freeze_bench
fi
eqat=$build/cli/eqat

say "rows from the snapshot of Debian's package index"
mkdir -p "$demo"
"$links/make_rows.py" --out "$demo/data" "${limit[@]}"
rm -rf "$demo"/models "$demo"/results
mkdir -p "$demo/models" "$demo/results"
models=$demo/models

say "a float model with batch norm and dropout, trained on the first half of the rows"
"$build"/examples/package_links/make_model "$demo/data" "$models/untrained" 1 "$links/regularized.json"
"$eqat" train "$models/untrained" --data "$demo/data/train.0.json" --config "$links/train.json" --out "$models/float"

say "QAT at 8 bits on the second half"
"$eqat" prepare "$models/float" --qconfig configs/embedding_8bit.json --out "$models/prepared" >/dev/null
"$eqat" train "$models/prepared" --data "$demo/data/train.1.json" --config "$links/fine_tune.json" --out "$models/qat8"

evaluate() {  # evaluate MODEL: loss and AUC on the test packages, and every prediction
  "$eqat" eval "$models/$1" --data "$demo/data/test.json" --json --predictions "$demo/results/$1.safetensors" \
    >"$demo/results/$1.json"
}
for model in float qat8; do
  say "$model: frozen"
  "$eqat" freeze "$models/$model" --out "$models/$model-frozen" | tee "$demo/results/$model-freeze.txt"
  "$eqat" freeze "$models/$model" --out "$models/$model-exact" --optimize-numerics off >/dev/null
  for each in "$model" "$model-exact" "$model-frozen"; do evaluate "$each"; done
done
say "the graph that is left of qat8"
"$eqat" inspect "$models/qat8-frozen" --graph

say "losses and predictions"
"$links/freeze_report.py" "$demo" float qat8

say "one row through each model (exact: frozen with --optimize-numerics off)"
"$build/bench/freeze_bench" "$models/float" "$models/qat8"
