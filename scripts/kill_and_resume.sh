#!/usr/bin/env bash
# Shows that a killed training run, resumed, ends in the same bytes as an undisturbed one.
#
#   scripts/kill_and_resume.sh EQAT MAKE_MODEL [KILLS]
#
# EQAT, MAKE_MODEL: the built programs (build/cli/eqat, build/examples/package_links/make_model). KILLS (default 20): how
# often the run is killed with SIGKILL, each time at a random moment, before it may finish. Trains a 4-bit QAT model of the
# package-links task that saves a checkpoint every 5 steps, so that kills also fall into saves.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
eqat=$(realpath "$1")
make_model=$(realpath "$2")
kills=${3:-20}
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
work=$(mktemp -d "${TMPDIR:-/tmp}/eqat-kill.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

"$root/examples/package_links/make_rows.py" --out data --limit 3000
"$make_model" data float 1
"$eqat" prepare float --qconfig "$root/configs/embedding_4bit.json" --out prepared >/dev/null
cat >train.json <<'JSON'
{
  "version": 1,
  "loss": "bce_with_logits",
  "epochs": 2,
  "batch_size": 128,
  "seed": 5,
  "optimizer": {"type": "RowWiseAdagrad", "lr": 0.05},
  "qat": {"fake_quant_start": 0.25, "observer_freeze": 0.75},
  "checkpoint_every_steps": 5,
  "log_every_steps": 7
}
JSON
train() { "$eqat" train prepared --data data/train.0.json --config train.json --out "$1" --resume; }

start=$(date +%s%N)
train undisturbed >/dev/null
duration_ms=$((($(date +%s%N) - start) / 1000000))
echo "undisturbed run: $duration_ms ms"

RANDOM=20
killed=0
for ((kill = 1; kill <= kills; ++kill)); do
  (exec "$eqat" train prepared --data data/train.0.json --config train.json --out disturbed --resume >/dev/null 2>log) &
  pid=$!
  # After 0 to 1/4 of a whole run.
  sleep "$(awk -v r=$RANDOM -v d="$duration_ms" 'BEGIN { printf "%.3f", 0.02 + r / 32768 * d / 4000 }')"
  if kill -KILL "$pid" 2>/dev/null; then killed=$((killed + 1)); fi
  wait "$pid" 2>/dev/null || true
  if [ -s log ]; then
    cat log >&2
    echo "kill_and_resume: a resumed run failed" >&2
    exit 1
  fi
  # Finished early: start over, so that every kill hits a running training.
  if [ -e disturbed/trainer.json ] && cmp -s disturbed/trainer.json undisturbed/trainer.json; then
    diff -r undisturbed disturbed || { echo "kill_and_resume: results differ" >&2; exit 1; }
    rm -rf disturbed
  fi
done
train disturbed >/dev/null
diff -r undisturbed disturbed || { echo "kill_and_resume: results differ" >&2; exit 1; }
left=$(find . -maxdepth 1 -name '.eqat-*' | wc -l)
echo "kill_and_resume: killed $killed times, resumed to the same bytes in $(ls disturbed | wc -l) files, $left leftovers"
[ "$left" -eq 0 ]
