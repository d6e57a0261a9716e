#!/usr/bin/env python3
"""Prints what scripts/demo.sh measured: losses and sizes of the float, post-training and QAT models side by side, and
whether the packed tables give the predictions of the model they were made from, bit for bit.

    report.py DEMO_DIR --eqat PROGRAM [--check]

--check: exit code 1 unless every packed model gives its model's predictions, quantizing to 2 bits after training visibly
hurts, QAT at 4 bits is within 0.001 of float, and QAT at 2 bits recovers at least half of what was lost.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys


def predictions(path):
    """The bytes of the only tensor of a safetensors file."""
    content = path.read_bytes()
    (header_bytes,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + header_bytes])
    begin, end = header["predictions"]["data_offsets"]
    return content[8 + header_bytes:][begin:end]


def differing_bits(one, other):
    if len(one) != len(other):
        raise SystemExit(f"report.py: {len(one)} and {len(other)} bytes of predictions")
    return bin(int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).count("1")


def table_bytes(eqat, model):
    report = json.loads(subprocess.run([eqat, "inspect", str(model), "--json"], check=True, capture_output=True).stdout)
    return sum(module["bytes"] for module in report["modules"] if "Embedding" in module["type"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=pathlib.Path)
    parser.add_argument("--eqat", required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    results, models = arguments.demo / "results", arguments.demo / "models"

    # Label, the model as served, the model whose evaluation it must equal.
    rows = [("float", "float", "float-again")]
    for bits in (8, 4, 2):
        rows.append((f"PTQ {bits} bits", f"ptq-{bits}", f"float-prepared-{bits}"))
    for bits in (8, 4, 2):
        rows.append((f"QAT {bits} bits", f"quantized-{bits}", f"qat-{bits}"))

    print(f"{'model':<12}{'log loss':>10}{'AUC':>9}{'table bytes':>14}{'of float':>10}   converted = QAT evaluation")
    losses, total_differing, float_bytes = {}, 0, table_bytes(arguments.eqat, models / "float")
    for label, served, evaluated in rows:
        metrics = json.loads((results / f"{served}.json").read_text())
        differing = differing_bits(predictions(results / f"{served}.safetensors"),
                                   predictions(results / f"{evaluated}.safetensors"))
        size = table_bytes(arguments.eqat, models / served)
        losses[label] = metrics["loss"]
        total_differing += differing
        print(f"{label:<12}{metrics['loss']:>10.4f}{metrics['auc']:>9.4f}{size:>14,}{size / float_bytes:>10.1%}   "
              f"{differing} differing bits")

    lost = losses["PTQ 2 bits"] - losses["float"]
    recovered = (losses["PTQ 2 bits"] - losses["QAT 2 bits"]) / lost
    drift = losses["QAT 4 bits"] - losses["float"]
    print(f"\nAt 2 bits quantizing after training loses {lost:.4f}; QAT recovers {recovered:.0%} of it. "
          f"At 4 bits QAT differs from float by {drift:+.4f}.")
    if not arguments.check:
        return 0
    broken = [text for holds, text in (
        (total_differing == 0, "a packed model's predictions differ from its model's"),
        (lost > 0.003, "quantizing to 2 bits after training does not visibly hurt"),
        (drift < 0.001, "QAT at 4 bits is not within 0.001 of float"),
        (recovered >= 0.5, "QAT at 2 bits recovers less than half"),
    ) if not holds]
    for text in broken:
        print(f"report.py: {text}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
