#!/usr/bin/env python3
"""Times PyTorch beside eqat: a training step of EmbeddingBag, float and QAT, and training of the package-links model.

    bench/compare_torch.py [--build BUILD] [--env DIR] [--out FILE.json] [--only 9,10,16] [--rounds 5] [--bounds]

Installs the newest torch from PyPI into an environment of its own (DIR, default BUILD/torch-env; gigabytes) the first
time, and says which it found.

Step: forward, backward and SGD update of a [rows, 64] table, sum of 512 bags of 20 uniform ids, one thread on one core.
PyTorch: nn.EmbeddingBag(sparse=True), and torch.ao.nn.qat.EmbeddingBag with default_embedding_qat_qconfig. eqat:
step/nn_sgd and step/qat8_sgd of eqat_bench. Batches rotate on both sides. Times are those of the processor, so that turns
of other processes do not count.

Package links (2 threads each): the float model of examples/package_links with sparse gradients, Adagrad, batches of 512.
An epoch each: for eqat a quarter of what `eqat train` takes longer for five epochs than for one, for PyTorch a loop over
batches that are tensors before the clock starts (eqat makes its batches within that time). The two take turns, and the
median of the turns' ratios counts. Beside it stands the rate of the whole `eqat train` with one epoch: start, reading and
parsing the rows, training, writing the model.

Writes what it measured as JSON (default BUILD/compare_torch.json, read by bench/plot_step_time.py) and prints a table, then
the bounds; --bounds prints those alone. Exit code 1 if one is missed.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

import torch_env
from package_links import ROOT, PackageLinks, bound_row

DIM, BAGS, POOL = 64, 512, 20
STEP_ROWS = (10_000, 100_000, 1_000_000)
MOST_BATCHES = 64
LEARNING_RATE = 0.01
BATCH_SIZE = 512
LINKS_THREADS = 2
LINKS_EPOCHS = 5


def torch_step(torch, rows, make_bag, seconds):
    """Median milliseconds of a step of make_bag() on batches that rotate."""
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randint(0, rows, (BAGS * POOL,), generator=generator) for _ in range(MOST_BATCHES)]
    offsets = torch.arange(0, BAGS * POOL, POOL)
    grad_output = torch.randn(BAGS, DIM, generator=generator)
    bag = make_bag()
    optimizer = torch.optim.SGD(bag.parameters(), lr=LEARNING_RATE)
    times = []
    began = time.process_time()
    for iteration in range(1_000_000):
        start = time.process_time()
        optimizer.zero_grad()
        bag(batches[iteration % MOST_BATCHES], offsets).backward(grad_output)
        optimizer.step()
        times.append(time.process_time() - start)
        if len(times) >= 4 and time.process_time() - began > seconds:
            break
    return statistics.median(times[1:]) * 1e3


def torch_steps(torch, rows):
    from torch.ao.nn.qat import EmbeddingBag as QatEmbeddingBag
    from torch.ao.quantization import default_embedding_qat_qconfig

    return {
        "PyTorch float": torch_step(torch, rows, lambda: torch.nn.EmbeddingBag(rows, DIM, mode="sum", sparse=True), 3),
        "PyTorch QAT": torch_step(
            torch, rows,
            lambda: QatEmbeddingBag(rows, DIM, mode="sum", qconfig=default_embedding_qat_qconfig).train(), 3),
    }


def eqat_steps(build, rows):
    variants = {"nn_sgd": "eqat float", "qat8_sgd": "eqat QAT"}
    pattern = f"^step/({'|'.join(variants)})/rows:{rows}/dim:{DIM}/bags:{BAGS}/pool:{POOL}/ids:uniform/threads:1$"
    output = subprocess.run([os.path.join(build, "bench", "eqat_bench"), f"--benchmark_filter={pattern}",
                             "--benchmark_format=json", "--benchmark_repetitions=5", "--benchmark_min_time=0.3"],
                            check=True, capture_output=True, text=True).stdout
    times = {name: [] for name in variants.values()}
    for line in json.loads(output)["benchmarks"]:
        if line["run_type"] == "iteration":
            times[variants[line["name"].split("/")[1]]].append(line["cpu_time"] * 1e-6)
    return {name: statistics.median(of_name) for name, of_name in times.items()}


def one_core(function, *arguments):
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        return function(*arguments)
    finally:
        os.sched_setaffinity(0, cores)


def read_links(torch, links):
    """The rows of train.0 as batches: label, [ids of a field] or (ids, offsets) of a bag, by field."""
    import gzip
    import zlib

    with open(links.train_spec, encoding="utf-8") as file:
        fields = json.load(file)["categorical"]
    words = {}
    for field in fields:
        if field["encoding"] == "vocabulary":
            with open(os.path.join(links.data, field["vocabulary"]), encoding="utf-8") as file:
                words[field["column"]] = {word: i for i, word in enumerate(file.read().splitlines())}

    def encode(field, value):
        if field["encoding"] == "hash":
            return zlib.crc32(value.encode()) % field["buckets"]
        return words[field["column"]][value]

    sizes = [(field["buckets"] if "buckets" in field else len(words[field["column"]]), "multi_valued" in field)
             for field in fields]
    rows = []
    with gzip.open(os.path.join(links.data, "train.0.tsv.gz"), "rt", encoding="utf-8") as file:
        columns = {name: i for i, name in enumerate(next(file).rstrip("\n").split("\t"))}
        for line in file:
            values = line.rstrip("\n").split("\t")
            row = [float(values[columns["label"]])]
            for field in fields:
                value = values[columns[field["column"]]]
                if "multi_valued" in field:
                    row.append([encode(field, part) for part in value.split(field["separator"]) if part])
                else:
                    row.append(encode(field, value))
            rows.append(row)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).tolist()
    batches = []
    for begin in range(0, len(order), BATCH_SIZE):
        chunk = [rows[i] for i in order[begin:begin + BATCH_SIZE]]
        features = []
        for column, (_, is_bag) in enumerate(sizes, start=1):
            if not is_bag:
                features.append((torch.tensor([row[column] for row in chunk]),))
                continue
            lengths = torch.tensor([0] + [len(row[column]) for row in chunk[:-1]])
            ids = [i for row in chunk for i in row[column]]
            features.append((torch.tensor(ids, dtype=torch.int64), torch.cumsum(lengths, 0)))
        batches.append((torch.tensor([[row[0]] for row in chunk]), features))
    return sizes, batches


def make_links_model(torch, sizes):
    class Links(torch.nn.Module):
        def __init__(self, dim=16, hidden=64):
            super().__init__()
            self.tables = torch.nn.ModuleList(
                torch.nn.EmbeddingBag(rows, dim, mode="mean", sparse=True) if is_bag else
                torch.nn.Embedding(rows, dim, sparse=True) for rows, is_bag in sizes)
            for table in self.tables:
                torch.nn.init.normal_(table.weight, std=0.05)
            pairs = torch.tril_indices(len(sizes), len(sizes), offset=-1)
            self.register_buffer("pairs", pairs)
            self.top = torch.nn.Sequential(torch.nn.Linear(len(sizes) * dim + pairs.shape[1], hidden), torch.nn.ReLU(),
                                           torch.nn.Linear(hidden, 1))

        def forward(self, features):
            rows = torch.stack([table(*feature) for table, feature in zip(self.tables, features)], dim=1)
            dots = torch.bmm(rows, rows.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
            return self.top(torch.cat([rows.flatten(1), dots], dim=1))

    return Links()


def torch_links(torch, sizes, batches):
    """Rows per second of one epoch, and the mean loss of its last tenth."""
    torch.manual_seed(1)
    model = make_links_model(torch, sizes)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05)
    loss_of = torch.nn.BCEWithLogitsLoss()
    losses = []
    start = time.perf_counter()
    for label, features in batches:
        optimizer.zero_grad()
        loss = loss_of(model(features), label)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    seconds = time.perf_counter() - start
    tail = losses[-max(1, len(losses) // 10):]
    return sum(len(label) for label, _ in batches) / seconds, float(sum(tail) / len(tail))


def eqat_loss(folder):
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as file:
        return json.loads(file.read().splitlines()[-1])["loss"]


def compare_links(torch, build, rounds):
    links = PackageLinks(build)
    configs = {}
    for epochs in (1, LINKS_EPOCHS):
        configs[epochs] = os.path.join(build, "bench-data", f"adagrad.{epochs}.json")
        with open(configs[epochs], "w", encoding="utf-8") as file:
            json.dump({"version": 1, "batch_size": BATCH_SIZE, "epochs": epochs,
                       "optimizer": {"type": "Adagrad", "lr": 0.05}}, file)
    torch.set_num_threads(LINKS_THREADS)
    torch.sparse.check_sparse_tensor_invariants.disable()  # otherwise Adagrad warns that they are off
    sizes, batches = read_links(torch, links)
    eqat_rates, command_rates, torch_rates = [], [], []
    for _ in range(rounds):  # in turns; one epoch last, as its loss is compared with PyTorch's
        several = links.seconds(links.float_model, configs[LINKS_EPOCHS], LINKS_THREADS)
        one = links.seconds(links.float_model, configs[1], LINKS_THREADS)
        eqat_rates.append(links.num_rows * (LINKS_EPOCHS - 1) / (several - one))
        command_rates.append(links.num_rows / one)
        torch_rate, loss = torch_links(torch, sizes, batches)
        torch_rates.append(torch_rate)
    return {"rows": links.num_rows, "threads": LINKS_THREADS, "batch_size": BATCH_SIZE, "optimizer": "Adagrad",
            "eqat_rows_per_second": statistics.median(eqat_rates), "eqat_loss": eqat_loss(links.trained),
            "eqat_command_rows_per_second": statistics.median(command_rates),
            "torch_rows_per_second": statistics.median(torch_rates), "torch_loss": loss,
            "ratio": statistics.median(ours / theirs for ours, theirs in zip(eqat_rates, torch_rates)),
            "command_ratio": statistics.median(ours / theirs for ours, theirs in zip(command_rates, torch_rates))}


def print_table(results):
    print(f"{results['torch']}\n")
    if results["steps"]:
        names = list(results["steps"][0]["ms"])
        print(f"step of {BAGS} x {POOL} look-ups, dim {DIM}, SGD, one thread, ms")
        print(f"{'rows':>10s}" + "".join(f"{name:>16s}" for name in names))
        for line in results["steps"]:
            print(f"{line['rows']:>10,d}" + "".join(f"{line['ms'][name]:16.3f}" for name in names))
        print()
    if results["links"]:
        links = results["links"]
        print(f"package links, float, Adagrad, an epoch of {links['rows']:,} rows, {links['threads']} threads")
        print(f"{'':>10s}{'rows/s':>16s}{'last loss':>16s}")
        for name in ("eqat", "torch"):
            print(f"{name:>10s}{links[name + '_rows_per_second']:16,.0f}{links[name + '_loss']:16.4f}")
        print(f"whole `eqat train`: {links['eqat_command_rows_per_second']:,.0f} rows/s, {links['command_ratio']:.2f} times "
              "PyTorch's epoch\n")


def print_bounds(results, only):
    met = []
    if results["steps"]:
        largest = max(results["steps"], key=lambda line: line["rows"])
        ms = largest["ms"]
        shape = f"rows:{largest['rows']}/dim:{DIM}/bags:{BAGS}/pool:{POOL}"
        for number, name, limit in ((9, "PyTorch QAT", 1000), (10, "PyTorch float", 2)):
            if number in only:
                met.append(bound_row(number, f"step {name} / eqat qat8_sgd, {shape}", ms[name] / ms["eqat QAT"], limit,
                                     f"{ms[name]:.2f} / {ms['eqat QAT']:.3f} ms"))
    if results["links"]:
        links = results["links"]
        met.append(bound_row(16, "eqat train on package links, an epoch, rows/s, eqat / PyTorch, 2 threads",
                             links["ratio"], 5,
                             f"{links['eqat_rows_per_second']:,.0f} / {links['torch_rows_per_second']:,.0f} rows/s; "
                             f"whole command {links['command_ratio']:.2f}"))
    return all(met)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--env", help="default BUILD/torch-env")
    parser.add_argument("--out", help="default BUILD/compare_torch.json")
    parser.add_argument("--only", default="9,10,16", help="bounds to measure")
    parser.add_argument("--rounds", type=int, default=5,
                        help="of eqat's and PyTorch's epoch, in turns; the median of their ratios counts")
    parser.add_argument("--bounds", action="store_true", help="print the bounds alone")
    arguments = parser.parse_args()
    only = {int(number) for number in re.findall(r"\d+", arguments.only)}
    torch_env.enter(arguments.env or os.path.join(arguments.build, "torch-env"))
    import torch

    results = {"torch": f"torch {torch.__version__} of {os.path.dirname(torch.__file__)}, "
                        f"{torch.backends.cpu.get_cpu_capability()}, "
                        f"{'with' if torch.backends.quantized.supported_engines.count('fbgemm') else 'without'} FBGEMM",
               "steps": [], "links": None}
    print(results["torch"], file=sys.stderr)
    if only & {9, 10}:
        torch.set_num_threads(1)
        for rows in STEP_ROWS:
            ms = one_core(eqat_steps, arguments.build, rows) | one_core(torch_steps, torch, rows)
            results["steps"].append({"rows": rows, "ms": ms})
    if 16 in only:
        results["links"] = compare_links(torch, arguments.build, arguments.rounds)
    out = arguments.out or os.path.join(arguments.build, "compare_torch.json")
    with open(out, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
        file.write("\n")
    if not arguments.bounds:
        print_table(results)
    return 0 if print_bounds(results, only) else 1


if __name__ == "__main__":
    sys.exit(main())
