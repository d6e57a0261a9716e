"""Writes float_golden.h: torch.nn modules run once, forward and backward.

    /usr/bin/python3 make_float_golden.py > float_golden.h

Embedding and EmbeddingBag in every mode with and without padding_idx, per_sample_weights, include_last_offset and
max_norm; row norms; Linear; BatchNorm1d over two training steps and an evaluation; ReLU and Sigmoid; DLRM's
interaction; printed forms. Bags with scale_grad_by_freq are left out: torch divides by wrong counts there.

The reference must be a build that dispatches to AVX2 or better: there the weighted sum without padding_idx is fused.
"""

import dataclasses
import math
import struct
from typing import List, Optional, Tuple

import torch


@dataclasses.dataclass
class Lookup:
    name: str
    mode: Optional[str] = None  # None: Embedding
    rows: int = 7
    cols: int = 5
    padding_idx: Optional[int] = None
    weighted: bool = False
    include_last_offset: bool = False
    scale_grad_by_freq: bool = False
    max_norm: Optional[float] = None
    norm_type: float = 2.0
    sparse: bool = False
    shape: Tuple[int, ...] = (14,)
    offsets: Optional[List[int]] = None
    int32: bool = False


OFFSETS = [0, 0, 3, 4, 9, 9, 12]  # with empty bags; the last one runs to 14

LOOKUPS = [
    Lookup("embedding"),
    Lookup("embedding_int32_odd_width", cols=13, int32=True),
    Lookup("embedding_padding", padding_idx=2),
    Lookup("embedding_sparse_padding", padding_idx=2, sparse=True),
    Lookup("embedding_3d", shape=(2, 3, 2), padding_idx=6),
    Lookup("embedding_frequency", scale_grad_by_freq=True, padding_idx=1),
    Lookup("embedding_max_norm", max_norm=1.5, cols=16),
    Lookup("embedding_max_norm_1", max_norm=2.0, norm_type=1.0, padding_idx=0),
    Lookup("embedding_max_norm_inf", max_norm=0.5, norm_type=math.inf),
    Lookup("embedding_one_column", cols=1),
]
for mode in ("sum", "mean", "max"):
    LOOKUPS += [
        Lookup(f"{mode}", mode, offsets=OFFSETS),
        Lookup(f"{mode}_padding", mode, offsets=OFFSETS, padding_idx=2, rows=4),
        Lookup(f"{mode}_wide", mode, offsets=OFFSETS, cols=37),
        Lookup(f"{mode}_last_offset", mode, offsets=[0, 2, 2, 9, 14], include_last_offset=True, cols=8),
        Lookup(f"{mode}_2d", mode, shape=(3, 4)),
        Lookup(f"{mode}_2d_padding", mode, shape=(4, 3), padding_idx=0, rows=2),
        Lookup(f"{mode}_max_norm", mode, offsets=OFFSETS, max_norm=1.0, padding_idx=3, cols=8),
        Lookup(f"{mode}_int32", mode, offsets=OFFSETS, int32=True, cols=3),
        Lookup(f"{mode}_empty_input", mode, shape=(0,), offsets=[0, 0, 0]),
        Lookup(f"{mode}_long_bag", mode, shape=(100,), offsets=[0, 3], rows=30, cols=16),
    ]
LOOKUPS += [
    Lookup("weighted", "sum", offsets=OFFSETS, weighted=True),
    Lookup("weighted_wide", "sum", offsets=OFFSETS, weighted=True, cols=37),
    Lookup("weighted_padding", "sum", offsets=OFFSETS, weighted=True, padding_idx=2, rows=4, cols=9),
    Lookup("weighted_last_offset", "sum", offsets=[0, 5, 5, 14], weighted=True, include_last_offset=True),
    Lookup("weighted_2d", "sum", shape=(3, 4), weighted=True),
    Lookup("weighted_2d_padding", "sum", shape=(3, 4), weighted=True, padding_idx=1, rows=3),
    Lookup("weighted_max_norm", "sum", offsets=OFFSETS, weighted=True, max_norm=0.75, norm_type=3.0),
    Lookup("weighted_empty_input", "sum", shape=(0,), offsets=[0, 0], weighted=True),
    Lookup("sum_sparse", "sum", offsets=OFFSETS, sparse=True, padding_idx=1, rows=3),
    Lookup("mean_sparse", "mean", offsets=OFFSETS, sparse=True),
]

NORMS = [2.0, 1.0, 3.0, 0.5, math.inf, -math.inf, 0.0, -1.0]

PRINTED = [
    torch.nn.Embedding(10, 3),
    torch.nn.Embedding(10, 3, padding_idx=-1, max_norm=2.5, norm_type=3.0, scale_grad_by_freq=True, sparse=True),
    torch.nn.Embedding(10, 3, max_norm=1.0, norm_type=math.inf),
    torch.nn.Embedding(10, 3, max_norm=1e16, norm_type=0.1),
    torch.nn.Embedding(10, 3, max_norm=1e-5, norm_type=1234567.0),
    torch.nn.EmbeddingBag(10, 3),
    torch.nn.EmbeddingBag(10, 3, mode="max", padding_idx=0, include_last_offset=True),
    torch.nn.EmbeddingBag(10, 3, max_norm=0.1, norm_type=1.0, scale_grad_by_freq=True, mode="sum", sparse=True,
                          padding_idx=4),
]


def bits(tensor):
    values = tensor.detach().contiguous().view(-1).tolist()
    return "{" + ", ".join("0x%08x" % struct.unpack("<I", struct.pack("<f", v)) for v in values) + "}"


def ints(values):
    return "{" + ", ".join(str(v) for v in values) + "}"


def boolean(value):
    return "true" if value else "false"


def number(value):
    if math.isinf(value):
        return "kInfinity" if value > 0 else "-kInfinity"
    return repr(float(value))


def dense(grad):
    return grad.to_dense() if grad.is_sparse else grad


def print_lookup(case):
    options = dict(padding_idx=case.padding_idx, max_norm=case.max_norm, norm_type=case.norm_type,
                   scale_grad_by_freq=case.scale_grad_by_freq, sparse=case.sparse)
    weight = torch.randn(case.rows, case.cols)
    before = weight.clone()
    indices = torch.randint(case.rows, case.shape, dtype=torch.int32 if case.int32 else torch.int64)
    weights = torch.randn(case.shape, requires_grad=True) if case.weighted else None
    if case.mode is None:
        module = torch.nn.Embedding(case.rows, case.cols, _weight=weight, **options)
        output = module(indices)
    else:
        module = torch.nn.EmbeddingBag(case.rows, case.cols, _weight=weight, mode=case.mode,
                                       include_last_offset=case.include_last_offset, **options)
        offsets = None if case.offsets is None else torch.tensor(case.offsets, dtype=indices.dtype)
        output = module(indices, offsets, weights)
    grad_output = torch.randn_like(output)
    output.backward(grad_output)
    max_norm = "std::nullopt" if case.max_norm is None else number(case.max_norm)
    padding = -1 if case.padding_idx is None else case.padding_idx
    print(f'    {{"{case.name}", "{case.mode or ""}", {case.rows}, {case.cols}, {padding}, '
          f"{boolean(case.include_last_offset)}, {boolean(case.scale_grad_by_freq)}, {boolean(case.sparse)}, "
          f"{boolean(case.int32)}, {max_norm}, {number(case.norm_type)},")
    print(f"     {ints(case.shape)}, {ints(indices.view(-1).tolist())}, {ints(case.offsets or [])}, "
          f"{bits(weights) if case.weighted else '{}'},")
    for tensor in (before, weight, output, grad_output, dense(module.weight.grad)):
        print(f"     {bits(tensor)},")
    print(f"     {bits(weights.grad) if case.weighted else '{}'}}},")


def print_norms():
    for cols in (1, 3, 7, 8, 9, 16, 37, 64, 100):
        row = torch.randn(cols)
        norms = torch.stack([row.norm(p) for p in NORMS])
        print(f"    {{{bits(row)},\n     {bits(norms)}}},")


def print_linear(rows, inputs, outputs, bias):
    module = torch.nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(rows, inputs, requires_grad=True)
    output = module(x)
    grad_output = torch.randn_like(output)
    output.backward(grad_output)
    print(f"    {{{rows}, {inputs}, {outputs}, {boolean(bias)},")
    for tensor in (x, module.weight, module.bias, output, grad_output, x.grad, module.weight.grad):
        print(f"     {'{}' if tensor is None else bits(tensor)},")
    print(f"     {bits(module.bias.grad) if bias else '{}'}}},")


def print_batch_norm(eps, momentum, affine, track, columns=5, rows=(6, 4)):
    module = torch.nn.BatchNorm1d(columns, eps=eps, momentum=momentum, affine=affine, track_running_stats=track)
    if affine:
        torch.nn.init.normal_(module.weight)
        torch.nn.init.normal_(module.bias)
    momentum_text = "std::nullopt" if momentum is None else number(momentum)
    print(f"    {{{columns}, {eps!r}, {momentum_text}, {boolean(affine)}, {boolean(track)},")
    print(f"     {bits(module.weight) if affine else '{}'}, {bits(module.bias) if affine else '{}'},\n     {{")
    for training, count in ((True, rows[0]), (True, rows[1]), (False, 3)):
        module.train(training)
        module.zero_grad()
        x = (torch.randn(count, columns) * 2 + 3).requires_grad_()
        output = module(x)
        grad_output = torch.randn_like(output)
        output.backward(grad_output)
        state = module.state_dict()
        print(f"      {{{boolean(training)}, {count}, {bits(x)}, {bits(output)},\n       {bits(grad_output)}, "
              f"{bits(x.grad)},")
        print(f"       {bits(module.weight.grad) if affine else '{}'}, {bits(module.bias.grad) if affine else '{}'},")
        if track:
            print(f"       {bits(state['running_mean'])}, {bits(state['running_var'])}, "
                  f"{int(state['num_batches_tracked'])}}},")
        else:
            print("       {}, {}, 0},")
    print("     }},")


def print_activation(name, function):
    x = torch.cat([torch.randn(20) * 4, torch.tensor([0.0, -0.0, 100.0, -100.0, 1e-8])]).requires_grad_()
    output = function(x)
    grad_output = torch.randn_like(output)
    output.backward(grad_output)
    print(f'    {{"{name}",')
    for tensor in (x, output, grad_output):
        print(f"     {bits(tensor)},")
    print(f"     {bits(x.grad)}}},")


def print_interaction(features, rows, dim):
    x = torch.randn(features, rows, dim, requires_grad=True)
    stacked = x.transpose(0, 1)
    products = torch.bmm(stacked, stacked.transpose(1, 2))
    i = [i for i in range(features) for _ in range(i)]
    j = [j for i in range(features) for j in range(i)]
    output = products[:, i, j]
    grad_output = torch.randn_like(output)
    output.backward(grad_output)
    print(f"    {{{features}, {rows}, {dim},")
    for tensor in (x, output, grad_output):
        print(f"     {bits(tensor)},")
    print(f"     {bits(x.grad)}}},")


STRUCTS = """
// Row-major; what a case does not have is empty.
struct LookupGolden {
  const char* name;
  const char* mode;  // empty: Embedding
  int64_t rows, cols;
  int64_t padding_idx;  // -1: none
  bool include_last_offset, scale_grad_by_freq, sparse, int32;
  std::optional<double> max_norm;
  double norm_type;
  std::vector<int64_t> shape, indices, offsets;
  std::vector<uint32_t> per_sample_weights;
  std::vector<uint32_t> weight, weight_after, output, grad_output, grad_weight;
  std::vector<uint32_t> grad_per_sample_weights;
};

struct NormGolden {
  std::vector<uint32_t> row;
  std::vector<uint32_t> norms;  // for each of kGoldenNormTypes
};

struct LinearGolden {
  int64_t rows, in_features, out_features;
  bool has_bias;
  std::vector<uint32_t> x, weight, bias, output, grad_output, grad_x, grad_weight, grad_bias;
};

struct BatchNormGoldenStep {
  bool training;
  int64_t rows;
  std::vector<uint32_t> x, output, grad_output, grad_x, grad_weight, grad_bias;
  std::vector<uint32_t> running_mean, running_var;  // after the forward
  int64_t num_batches_tracked;
};

struct BatchNormGolden {
  int64_t num_features;
  double eps;
  std::optional<double> momentum;
  bool affine, track_running_stats;
  std::vector<uint32_t> weight, bias;
  std::vector<BatchNormGoldenStep> steps;
};

struct ActivationGolden {
  const char* name;
  std::vector<uint32_t> x, output, grad_output, grad_x;
};

struct InteractionGolden {
  int64_t features, rows, dim;
  std::vector<uint32_t> x, output, grad_output, grad_x;  // x [features, rows, dim]
};
"""


def print_list(struct_name, print_cases):
    print(f"inline const std::vector<{struct_name}>& {struct_name}s() {{")
    print(f"  static const std::vector<{struct_name}>* const cases = new std::vector<{struct_name}>{{")
    print_cases()
    print("  };\n  return *cases;\n}\n")


def print_lookups():
    for case in LOOKUPS:
        print_lookup(case)


def print_linears():
    for rows, inputs, outputs, bias in ((1, 3, 2, True), (5, 7, 4, False), (33, 16, 1, True), (40, 13, 9, True)):
        print_linear(rows, inputs, outputs, bias)


def print_batch_norms():
    print_batch_norm(1e-5, 0.1, True, True)
    print_batch_norm(1e-3, None, True, True)
    print_batch_norm(1e-5, 0.3, False, True)
    print_batch_norm(1e-5, 0.1, True, False)


def print_activations():
    print_activation("relu", torch.relu)
    print_activation("sigmoid", torch.sigmoid)


def print_interactions():
    print_interaction(2, 3, 4)
    print_interaction(5, 4, 13)


def main():
    torch.manual_seed(20240607)
    torch.set_num_threads(1)
    print(f"// Written by tests/golden/make_float_golden.py with torch {torch.__version__}. Floats are bit patterns.")
    print("#ifndef EQAT_TESTS_GOLDEN_FLOAT_GOLDEN_H_\n#define EQAT_TESTS_GOLDEN_FLOAT_GOLDEN_H_\n")
    print("#include <cstdint>\n#include <limits>\n#include <optional>\n#include <vector>\n")
    print("namespace eqat::testing {\n\n// clang-format off\n"
          "inline constexpr double kInfinity = std::numeric_limits<double>::infinity();")
    print(STRUCTS)
    print_list("LookupGolden", print_lookups)
    print(f"inline constexpr double kGoldenNormTypes[] = {{{', '.join(number(p) for p in NORMS)}}};")
    print_list("NormGolden", print_norms)
    print_list("LinearGolden", print_linears)
    print_list("BatchNormGolden", print_batch_norms)
    print_list("ActivationGolden", print_activations)
    print_list("InteractionGolden", print_interactions)
    print("inline constexpr const char* kGoldenPrintedForms[] = {")
    for module in PRINTED:
        print(f'    "{module}",')
    print("};\n// clang-format on\n\n}  // namespace eqat::testing\n\n#endif  // EQAT_TESTS_GOLDEN_FLOAT_GOLDEN_H_")


if __name__ == "__main__":
    main()
