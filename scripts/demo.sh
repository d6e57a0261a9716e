#!/usr/bin/env bash
# The whole way on real data: trains a float model that predicts which Debian package depends on which, converts it to QAT
# at 8, 4 and 2 bits, fine-tunes, packs the tables and compares what is left of sizes and losses.
#
#   scripts/demo.sh [--use BUILD] [DIR]      DIR (default: demo) receives rows, models and results; --use takes the programs
#                                            of a finished build instead of making one
#
# Installs what is missing first. About a minute of computing on two cores, after the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --use) build=${2:?--use needs a build folder}; shift 2 ;;
    -*) echo "demo.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) break ;;
  esac
done
demo=${1:-demo}
links=examples/package_links

say() { printf '\n== %s\n' "$*"; }

if [ -z "$build" ]; then
  build=build
  scripts/setup.sh build
  say "build"
  cmake --preset program -G Ninja >/dev/null
  cmake --build --preset program -j "$(nproc)"
fi
eqat=$build/cli/eqat

started=$SECONDS
say "rows from the snapshot of Debian's package index"
mkdir -p "$demo"
"$links/make_rows.py" --out "$demo/data"
# A fresh start: models of an earlier run would be taken for this one's.
rm -rf "$demo"/models "$demo"/results
mkdir -p "$demo/models" "$demo/results"
models=$demo/models

evaluate() {  # evaluate MODEL: loss and AUC on the test packages, and every prediction
  "$eqat" eval "$models/$1" --data "$demo/data/test.json" --json --predictions "$demo/results/$1.safetensors" \
    >"$demo/results/$1.json"
}

say "float model, trained on the first half of the rows"
"$build"/examples/package_links/make_model "$demo/data" "$models/untrained"
"$eqat" train "$models/untrained" --data "$demo/data/train.0.json" --config "$links/train.json" --out "$models/half"

say "float: trained on with the second half"
"$eqat" train "$models/half" --data "$demo/data/train.1.json" --config "$links/fine_tune.json" --out "$models/float"
evaluate float

for bits in 8 4 2; do
  say "$bits bits: quantized after training, and QAT on the second half"
  config=configs/embedding_${bits}bit.json
  "$eqat" ptq "$models/float" --qconfig "$config" --out "$models/ptq-$bits" >/dev/null
  "$eqat" prepare "$models/float" --qconfig "$config" --out "$models/float-prepared-$bits" >/dev/null
  "$eqat" prepare "$models/half" --qconfig "$config" --out "$models/prepared-$bits"
  "$eqat" train "$models/prepared-$bits" --data "$demo/data/train.1.json" --config "$links/fine_tune.json" \
    --out "$models/qat-$bits"
  "$eqat" convert "$models/qat-$bits" --out "$models/quantized-$bits" >/dev/null
  for model in "ptq-$bits" "float-prepared-$bits" "qat-$bits" "quantized-$bits"; do evaluate "$model"; done
done
# Prepared and taken back: the float model again.
"$eqat" to-float "$models/float-prepared-8" --out "$models/float-again" >/dev/null
evaluate float-again

say "result ($((SECONDS - started)) s of computing)"
"$links/report.py" "$demo" --eqat "$eqat" --check

cat <<TEXT

The models lie in $models. To go on:
  $eqat inspect $models/quantized-4
  $eqat eval $models/qat-2 --data $demo/data/test.json
  $eqat train $models/prepared-2 --data $demo/data/train.1.json --config $links/fine_tune.json --out $models/again --seed 3
  $eqat ptq $models/float --qconfig configs/mixed_precision.json --out $models/mixed
TEXT
