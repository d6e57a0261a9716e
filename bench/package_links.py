#!/usr/bin/env python3
"""Times `eqat train` on the package-links example: rows per second with QAT tables of 8 bits against float tables.

    bench/package_links.py [--build BUILD] [--rounds 5] [--threads N] [--bounds]

The time is that of the whole command: reading and parsing the rows, one epoch over the first half of them (train.0), and
writing the model. Both models take turns. --bounds prints the line of bench/ratios.sh alone; exit code 1 if the bound is
missed. Data and models are made once, in BUILD/bench-data. Only Python's standard library is needed.
"""
import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLE = os.path.join(ROOT, "examples", "package_links")
QAT_AGAINST_FLOAT = 0.85


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def bound_row(number, what, ratio, limit, detail):
    """A lower bound's line in the columns of eqat_ratios; returns whether it is met."""
    met = ratio >= limit
    verdict = "met" if met else "MISSED"
    print(f"{number:3d}  {what:<86s} {ratio:9.3f}  {f'>= {limit:g}':<8s} {verdict:<7s} {detail}", flush=True)
    return met


class PackageLinks:
    """Rows and models of the example, made by its own scripts in BUILD/bench-data."""

    def __init__(self, build):
        self.eqat = os.path.join(build, "cli", "eqat")
        make_model = os.path.join(build, "examples", "package_links", "make_model")
        for program in (self.eqat, make_model):
            if not os.path.exists(program):
                sys.exit(f"{program} is missing: build first (cmake --preset release && cmake --build --preset release)")
        folder = os.path.join(build, "bench-data")
        self.data = os.path.join(folder, "rows")
        self.float_model = os.path.join(folder, "float")
        self.qat_model = os.path.join(folder, "qat8")
        self.trained = os.path.join(folder, "trained")
        self.train_spec = os.path.join(self.data, "train.0.json")
        if not os.path.exists(self.train_spec):  # the script's last file but two
            run(os.path.join(EXAMPLE, "make_rows.py"), "--out", self.data)
        for model in (self.float_model, self.qat_model):
            shutil.rmtree(model, ignore_errors=True)
        run(make_model, self.data, self.float_model)
        run(self.eqat, "prepare", self.float_model, "--qconfig", os.path.join(ROOT, "configs", "embedding_8bit.json"),
            "--out", self.qat_model)
        with gzip.open(os.path.join(self.data, "train.0.tsv.gz")) as lines:
            self.num_rows = sum(1 for _ in lines) - 1

    def seconds(self, model, config, threads):
        """Of the whole `eqat train`."""
        shutil.rmtree(self.trained, ignore_errors=True)
        start = time.perf_counter()
        run(self.eqat, "train", model, "--data", self.train_spec, "--config", config, "--out", self.trained,
            "--threads", threads)
        return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--bounds", action="store_true")
    arguments = parser.parse_args()

    links = PackageLinks(arguments.build)
    config = os.path.join(EXAMPLE, "train.json")
    rates = {links.float_model: [], links.qat_model: []}
    for _ in range(arguments.rounds):
        for model, of_model in rates.items():
            of_model.append(links.num_rows / links.seconds(model, config, arguments.threads))
    float_rate, qat_rate = (statistics.median(of_model) for of_model in rates.values())
    ratio = statistics.median(qat / of_float for of_float, qat in zip(*rates.values()))
    if not arguments.bounds:
        print(f"eqat train on package links, {links.num_rows} rows, {arguments.threads} threads, rows per second:")
        print(f"  float      {float_rate:10,.0f}\n  QAT 8 bits {qat_rate:10,.0f}\n")
    met = bound_row(15, "eqat train on package links, rows/s, QAT 8 bits / float", ratio, QAT_AGAINST_FLOAT,
                    f"{qat_rate:,.0f} / {float_rate:,.0f} rows/s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
