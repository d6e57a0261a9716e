#!/usr/bin/env bash
# Trains one model with fastText (Debian's package) and with eqat, float and QAT at 8 bits, and prints rows per second and
# accuracy side by side.
#
#   bench/compare_fasttext.sh [BUILD]        BUILD: a finished build, default build
#
# The model is fastText's classifier: the mean of the rows of a bag's words, dim 16, a linear layer, softmax. The data are
# the rows of examples/package_links as bags of words, the classes the sections of the packages; one epoch, two threads.
# What differs: fastText updates after every row, without locks (its result changes from run to run), by SGD at a falling
# rate; eqat updates after every 512 rows by row-wise Adagrad and gives the same bits each time. So compare the rates
# together with the accuracies. Times are those of the whole commands: reading text, training, writing the model. Medians
# of three rounds, in turns.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in -h | --help) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
build=${1:-build}
eqat=$build/cli/eqat
threads=2
rounds=3

if ! command -v fasttext >/dev/null; then
  echo "compare_fasttext.sh: fasttext is not installed; on Debian: apt-get install fasttext" >&2
  exit 1
fi
if [ ! -x "$eqat" ]; then
  echo "compare_fasttext.sh: $eqat is missing: build first (cmake --preset release && cmake --build --preset release)" >&2
  exit 1
fi

rows=$build/bench-data/rows
data=$build/bench-data/fasttext
[ -e "$rows/train.0.json" ] || examples/package_links/make_rows.py --out "$rows" >/dev/null
[ -e "$data/model/model.safetensors" ] || bench/fasttext_rows.py "$rows" "$data"
cat >"$data/config.json" <<'JSON'
{"version": 1, "loss": "cross_entropy", "optimizer": {"type": "RowWiseAdagrad", "lr": 0.1},
 "lr_schedule": {"type": "linear"}}
JSON
rm -rf "$data/qat" "$data"/seconds.*
"$eqat" prepare "$data/model" --qconfig configs/embedding_8bit.json --out "$data/qat" >/dev/null

seconds() {  # seconds COMMAND...: how long it takes, on the wall
  local start=$EPOCHREALTIME
  "$@" >/dev/null 2>"$data/log" || { cat "$data/log" >&2; exit 1; }
  awk -v from="$start" -v to="$EPOCHREALTIME" 'BEGIN { print to - from }'
}
eqat_seconds() {  # eqat_seconds MODEL OUT
  rm -rf "${data:?}/$2"
  seconds "$eqat" train "$data/$1" --data "$data/train.json" --config "$data/config.json" --out "$data/$2" \
    --threads $threads
}
accuracy() {  # accuracy MODEL: the share of test rows whose section it says
  "$eqat" eval "$data/$1" --data "$data/test.json" --loss cross_entropy --json |
    sed -n 's/.*"accuracy": *\([0-9.]*\).*/\1/p'
}
median() { sort -g | sed -n "$(((rounds + 1) / 2))p"; }

for ((round = 0; round < rounds; ++round)); do
  seconds fasttext supervised -input "$data/train.txt" -output "$data/fasttext_model" -dim 16 -epoch 1 -lr 0.5 \
    -minCount 1 -wordNgrams 1 -thread $threads -verbose 0 >>"$data/seconds.fasttext"
  eqat_seconds model trained >>"$data/seconds.float"
  eqat_seconds qat qat-trained >>"$data/seconds.qat"
done

num_rows=$(wc -l <"$data/train.txt")
num_words=$(wc -l <"$data/words.txt")
line() {  # line NAME SECONDS ACCURACY
  awk -v name="$1" -v s="$2" -v rows="$num_rows" -v accuracy="$3" \
    'BEGIN { printf "%-12s %8.2f %12.0f %10.4f\n", name, s, rows / s, accuracy }'
}
printf '%s rows, %s words, dim 16, one epoch, %s threads\n' "$num_rows" "$num_words" "$threads"
printf '%-12s %8s %12s %10s\n' '' seconds rows/s accuracy
line fastText "$(median <"$data/seconds.fasttext")" \
  "$(fasttext test "$data/fasttext_model.bin" "$data/test.txt" | awk '$1 == "P@1" { print $2 }')"
line 'eqat float' "$(median <"$data/seconds.float")" "$(accuracy trained)"
line 'eqat QAT 8' "$(median <"$data/seconds.qat")" "$(accuracy qat-trained)"
