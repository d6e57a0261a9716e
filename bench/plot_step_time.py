#!/usr/bin/env python3
"""Draws the step times that compare_torch.py measured against the rows of the table, both axes logarithmic.

    bench/plot_step_time.py [--build BUILD] [--env DIR] [FILE.json [OUT.svg]]

Defaults: BUILD/compare_torch.json and docs/step_time.svg. Uses the environment of compare_torch.py.
"""
import argparse
import json
import os

import torch_env

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINES = {  # name: color, marker, line style
    "PyTorch QAT": ("#c44e52", "s", "-"),
    "PyTorch float": ("#c44e52", "o", "--"),
    "eqat QAT": ("#2a5caa", "s", "-"),
    "eqat float": ("#2a5caa", "o", "--"),
}


def draw(results, out):
    import matplotlib
    matplotlib.rcParams["svg.hashsalt"] = "eqat"  # the same bytes for the same times
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.4), layout="constrained")
    rows = [line["rows"] for line in results["steps"]]
    for name, (color, marker, style) in LINES.items():
        times = [line["ms"][name] for line in results["steps"]]
        axes.plot(rows, times, style, color=color, marker=marker, label=name, linewidth=1.8, markersize=5)
    axes.set(xscale="log", yscale="log", xlabel="rows of the table", ylabel="one training step, ms",
             title="Forward, backward, SGD update: 512 bags of 20 look-ups, dim 64, one thread")
    axes.title.set_fontsize(10)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.text(0.995, 0.005, results["torch"].split(" of ")[0], ha="right", va="bottom", fontsize=7, color="#777777")
    figure.savefig(out, metadata={"Date": None} if out.endswith(".svg") else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--env", help="default BUILD/torch-env")
    parser.add_argument("results", nargs="?", help="what compare_torch.py wrote")
    parser.add_argument("out", nargs="?", default=os.path.join(ROOT, "docs", "step_time.svg"))
    arguments = parser.parse_args()
    torch_env.enter(arguments.env or os.path.join(arguments.build, "torch-env"))
    with open(arguments.results or os.path.join(arguments.build, "compare_torch.json"), encoding="utf-8") as file:
        draw(json.load(file), arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    main()
