"""Writes optimizer_golden.h: a table and its gradients over 100 steps, and where torch's optimizers take it.

    /usr/bin/python3 make_optimizer_golden.py > optimizer_golden.h

Every case trains one table [ROWS, COLS] on a gradient of random rows, given densely (zeros elsewhere) or sparsely. The
gradients are small integers over 64, so that they are written exactly and shared by all cases. RowWiseAdagrad is in no
torch: its formula is worked out in numpy (float32).
"""

import json
import struct

import numpy
import torch

ROWS = 7
COLS = 5
STEPS = 100

CASES = [
    # name, optimizer, keyword arguments as in torch, sparse
    ("sgd", "SGD", dict(lr=0.1), False),
    ("sgd_sparse", "SGD", dict(lr=0.1), True),
    ("sgd_momentum", "SGD", dict(lr=0.05, momentum=0.9), False),
    ("sgd_momentum_sparse", "SGD", dict(lr=0.05, momentum=0.9), True),
    ("sgd_dampening", "SGD", dict(lr=0.05, momentum=0.8, dampening=0.3), False),
    ("sgd_dampening_sparse", "SGD", dict(lr=0.05, momentum=0.8, dampening=0.3), True),
    ("sgd_nesterov", "SGD", dict(lr=0.05, momentum=0.9, nesterov=True), False),
    ("sgd_nesterov_sparse", "SGD", dict(lr=0.05, momentum=0.9, nesterov=True), True),
    ("sgd_weight_decay", "SGD", dict(lr=0.1, weight_decay=0.02), False),
    ("sgd_all", "SGD", dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.02), False),
    ("adagrad", "Adagrad", dict(lr=0.1), False),
    ("adagrad_sparse", "Adagrad", dict(lr=0.1), True),
    ("adagrad_lr_decay", "Adagrad", dict(lr=0.1, lr_decay=0.05, initial_accumulator_value=0.1), False),
    ("adagrad_lr_decay_sparse", "Adagrad", dict(lr=0.1, lr_decay=0.05, initial_accumulator_value=0.1), True),
    ("adagrad_weight_decay", "Adagrad", dict(lr=0.1, weight_decay=0.02), False),
    ("rowwise_adagrad", "RowWiseAdagrad", dict(lr=0.1, eps=1e-8), False),
    ("rowwise_adagrad_initial", "RowWiseAdagrad", dict(lr=0.1, eps=1e-8, initial_accumulator_value=0.5), True),
    ("adam", "Adam", dict(lr=0.01), False),
    ("adam_weight_decay", "Adam", dict(lr=0.01, betas=(0.8, 0.99), weight_decay=0.02, eps=1e-6), False),
    ("sparse_adam", "SparseAdam", dict(lr=0.01), True),
    ("sparse_adam_betas", "SparseAdam", dict(lr=0.01, betas=(0.8, 0.99), eps=1e-6), True),
]


class RowWiseAdagrad:
    def __init__(self, table, lr, eps, initial_accumulator_value=0.0):
        self.table, self.lr, self.eps = table, numpy.float32(lr), numpy.float32(eps)
        self.sum = numpy.full(ROWS, initial_accumulator_value, numpy.float32)

    def step(self, rows, values):
        for row, gradient in zip(rows, values):
            self.sum[row] += numpy.mean(gradient * gradient, dtype=numpy.float32)
            self.table[row] -= self.lr * gradient / (numpy.sqrt(self.sum[row]) + self.eps)


def make_gradients(generator):
    gradients = []
    for _ in range(STEPS):
        # Row 0 is looked up often, row 6 hardly ever.
        rows = [row for row in range(ROWS) if torch.rand((), generator=generator) < (ROWS - row) / (ROWS + 2)]
        rows = rows or [ROWS - 1]  # torch's sparse Adagrad fails on a gradient without rows
        values = torch.randint(-64, 65, (len(rows), COLS), generator=generator).float() / 64
        gradients.append((rows, values))
    return gradients


def train(optimizer_name, arguments, sparse, initial, gradients):
    if optimizer_name == "RowWiseAdagrad":
        table = initial.numpy().copy()
        optimizer = RowWiseAdagrad(table, **arguments)
        for rows, values in gradients:
            optimizer.step(rows, values.numpy())
        return torch.from_numpy(table)
    table = torch.nn.Parameter(initial.clone())
    optimizer = getattr(torch.optim, optimizer_name)([table], **arguments)
    for rows, values in gradients:
        gradient = torch.sparse_coo_tensor([rows], values, (ROWS, COLS))
        table.grad = gradient if sparse else gradient.to_dense()
        optimizer.step()
    return table.detach()


def bits(tensor):
    return ", ".join("0x%08x" % struct.unpack("<I", struct.pack("<f", v))[0] for v in tensor.reshape(-1).tolist())


def json_text(optimizer_name, arguments):
    return json.dumps({"type": optimizer_name, **arguments}).replace('"', '\\"')


def main():
    generator = torch.Generator().manual_seed(1)
    initial = torch.randint(-128, 129, (ROWS, COLS), generator=generator).float() / 64
    gradients = make_gradients(generator)
    print("// Written by tests/golden/make_optimizer_golden.py with torch %s. Floats are bit patterns." % torch.__version__)
    print("#ifndef EQAT_TESTS_GOLDEN_OPTIMIZER_GOLDEN_H_\n#define EQAT_TESTS_GOLDEN_OPTIMIZER_GOLDEN_H_\n")
    print("#include <cstdint>\n#include <vector>\n")
    print("namespace eqat::testing {\n")
    print("struct OptimizerGoldenStep {\n  std::vector<int64_t> rows;\n"
          "  std::vector<int> values;  // of the gradient, times 64\n};\n")
    print("struct OptimizerGoldenCase {\n  const char* name;\n  const char* json;\n  bool sparse;\n"
          "  std::vector<uint32_t> table;  // after the last step\n};\n")
    print("inline constexpr int64_t kOptimizerGoldenRows = %d;\ninline constexpr int64_t kOptimizerGoldenCols = %d;\n"
          % (ROWS, COLS))
    print("// clang-format off")
    print("inline const std::vector<uint32_t> kOptimizerGoldenTable = {%s};\n" % bits(initial))
    print("inline const std::vector<OptimizerGoldenStep> kOptimizerGoldenSteps = {")
    for rows, values in gradients:
        print("    {{%s}, {%s}}," % (", ".join(map(str, rows)),
                                     ", ".join(str(int(v)) for v in (values * 64).reshape(-1).tolist())))
    print("};\n")
    print("inline const std::vector<OptimizerGoldenCase> kOptimizerGoldenCases = {")
    for name, optimizer_name, arguments, sparse in CASES:
        table = train(optimizer_name, arguments, sparse, initial, gradients)
        print('    {"%s", "%s", %s,\n     {%s}},' % (name, json_text(optimizer_name, arguments),
                                                  "true" if sparse else "false", bits(table)))
    print("};")
    print("// clang-format on\n")
    print("}  // namespace eqat::testing\n\n#endif  // EQAT_TESTS_GOLDEN_OPTIMIZER_GOLDEN_H_")


if __name__ == "__main__":
    main()
