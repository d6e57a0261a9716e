// eqat_bench: what a look-up and a training step cost, per look-up. Names:
//
//   <op>/<variant>/rows:<N>/dim:<D>/bags:<B>/pool:<L>/ids:<uniform|zipf>/threads:<T>
//
// op `forward`: look-ups alone; variants nn, qat8, qat4, qat2 (a training forward), quantized8, quantized4, quantized2.
// op `step`: forward, backward and SGD update; variants nn_sgd, qat8_sgd, qat4_sgd.
// Batches rotate, so that rows of a table larger than the caches come from memory. Every result is compared with the
// slow reference before anything is timed.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/parallel_for.h"
#include "core/pool_kernels.h"
#include "core/rng.h"
#include "qat/embedding_bag.h"
#include "quant/types/qconfig.h"

namespace {

constexpr int kBatches = 64;
constexpr float kLearningRate = 0.01f;

struct Shape {
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t bags = 0;
  int64_t pool = 0;
  bool zipf = false;
  int threads = 1;

  int64_t lookups() const { return bags * pool; }
  std::string Text() const {
    return absl::StrCat("rows:", rows, "/dim:", dim, "/bags:", bags, "/pool:", pool, "/ids:", zipf ? "zipf" : "uniform",
                        "/threads:", threads);
  }
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "eqat_bench: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

void OrDie(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "eqat_bench: %s\n", status.ToString().c_str());
  std::exit(1);
}

// Zipf with exponent 1.05 by inversion of the continuous law, ranks scattered over the table.
int64_t ZipfId(double uniform, int64_t rows) {
  constexpr double kExponent = 1.05;
  const double top = std::pow(static_cast<double>(rows), 1.0 - kExponent);
  const double rank = std::pow(1.0 - uniform * (1.0 - top), 1.0 / (1.0 - kExponent)) - 1.0;
  const auto whole = static_cast<uint64_t>(rank);
  return static_cast<int64_t>((whole * 0x9e3779b97f4a7c15ull) % static_cast<uint64_t>(rows));
}

struct Batches {
  std::vector<std::vector<int64_t>> indices;
  std::vector<int64_t> offsets;

  explicit Batches(const Shape& shape) : indices(kBatches) {
    const eqat::Rng rng(7, 1);
    uint64_t position = 0;
    for (std::vector<int64_t>& batch : indices) {
      for (int64_t i = 0; i < shape.lookups(); ++i, ++position) {
        batch.push_back(shape.zipf ? ZipfId(rng.Uniform(position), shape.rows)
                                   : static_cast<int64_t>(rng.Below(position, shape.rows)));
      }
    }
    for (int64_t bag = 0; bag < shape.bags; ++bag) offsets.push_back(bag * shape.pool);
  }
  eqat::LookupInput Input(int64_t iteration) const {
    return {.indices = indices[iteration % kBatches], .offsets = offsets};
  }
};

eqat::nn::EmbeddingBag MakeFloat(const Shape& shape) {
  eqat::nn::EmbeddingBagOptions options;
  options.num_embeddings = shape.rows;
  options.embedding_dim = shape.dim;
  options.mode = eqat::PoolMode::kSum;
  options.sparse = true;
  return OrDie(eqat::nn::EmbeddingBag::Create(options, 1, "table"));
}

eqat::qat::EmbeddingBag MakeQat(const Shape& shape, int bits) {
  eqat::nn::EmbeddingBag table = MakeFloat(shape);
  table.set_qconfig(eqat::quant::QConfigPreset(
      bits == 8 ? "default_embedding_qat_qconfig" : absl::StrCat("default_embedding_qat_qconfig_", bits, "bit")));
  return OrDie(eqat::qat::EmbeddingBag::FromFloat(std::move(table)));
}

void SetCounters(benchmark::State& state, const Shape& shape, double row_bytes) {
  using benchmark::Counter;
  const auto lookups = static_cast<double>(shape.lookups() * static_cast<int64_t>(state.iterations()));
  state.counters["ns_per_lookup"] = Counter(lookups * 1e-9, Counter::kIsRate | Counter::kInvert);
  state.counters["bytes_per_second"] = Counter(lookups * row_bytes, Counter::kIsRate);
}

// Pools the rows that `lookup` returns one by one with the reference, and compares with what it returns for the bags.
void CheckAgainstReference(const eqat::EmbeddingLookup& table, const Shape& shape, const Batches& batches) {
  const std::vector<int64_t>& ids = batches.indices[0];
  std::vector<float> rows(ids.size() * shape.dim), want(shape.bags * shape.dim), got(want.size());
  std::vector<int64_t> ones(ids.size()), positions(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) ones[i] = positions[i] = static_cast<int64_t>(i);
  OrDie(table.Lookup({.indices = ids, .offsets = ones},
                     eqat::MutableTableView(rows.data(), static_cast<int64_t>(ids.size()), shape.dim)));
  std::vector<int64_t> ends = batches.offsets;
  ends.push_back(static_cast<int64_t>(ids.size()));
  eqat::PoolArgs args;
  args.rows = eqat::TableView(rows.data(), static_cast<int64_t>(ids.size()), shape.dim);
  args.ids = positions.data();
  args.offsets = ends.data();
  args.num_bags = shape.bags;
  eqat::PoolRowsReference(args, eqat::MutableTableView(want.data(), shape.bags, shape.dim));
  OrDie(table.Lookup(batches.Input(0), eqat::MutableTableView(got.data(), shape.bags, shape.dim)));
  if (std::memcmp(want.data(), got.data(), want.size() * sizeof(float)) != 0) {
    OrDie(absl::InternalError(absl::StrCat("result differs from the reference: ", shape.Text())));
  }
}

void ForwardNn(benchmark::State& state, Shape shape) {
  eqat::SetNumThreads(shape.threads);
  const Batches batches(shape);
  const eqat::nn::EmbeddingBag table = MakeFloat(shape);
  CheckAgainstReference(table, shape, batches);
  std::vector<float> out(shape.bags * shape.dim);
  int64_t iteration = 0;
  for (auto _ : state) {
    OrDie(table.Lookup(batches.Input(iteration++), eqat::MutableTableView(out.data(), shape.bags, shape.dim)));
  }
  SetCounters(state, shape, 4.0 * static_cast<double>(shape.dim));
}

void ForwardQat(benchmark::State& state, Shape shape, int bits) {
  eqat::SetNumThreads(shape.threads);
  const Batches batches(shape);
  eqat::qat::EmbeddingBag table = MakeQat(shape, bits);
  CheckAgainstReference(table, shape, batches);
  std::vector<float> out(shape.bags * shape.dim);
  eqat::nn::LookupContext context;
  int64_t iteration = 0;
  for (auto _ : state) {
    OrDie(
        table.Forward(batches.Input(iteration++), eqat::MutableTableView(out.data(), shape.bags, shape.dim), &context));
  }
  SetCounters(state, shape, 4.0 * static_cast<double>(shape.dim));
}

void ForwardQuantized(benchmark::State& state, Shape shape, int bits) {
  eqat::SetNumThreads(shape.threads);
  const Batches batches(shape);
  const eqat::quantized::EmbeddingBag table = OrDie(MakeQat(shape, bits).Convert());
  CheckAgainstReference(table, shape, batches);
  std::vector<float> out(shape.bags * shape.dim);
  int64_t iteration = 0;
  for (auto _ : state) {
    OrDie(table.Lookup(batches.Input(iteration++), eqat::MutableTableView(out.data(), shape.bags, shape.dim)));
  }
  SetCounters(state, shape, static_cast<double>(table.weight().row_bytes()) + 8.0);
}

void ApplySgd(const eqat::nn::SparseGrad& grad, eqat::Table& weight) {
  for (size_t i = 0; i < grad.rows.size(); ++i) {
    float* row = weight.Row(grad.rows[i]);
    const float* values = grad.view().Row(static_cast<int64_t>(i));
    for (int64_t j = 0; j < weight.cols(); ++j) row[j] -= kLearningRate * values[j];
  }
}

template <typename Bag>
void Step(benchmark::State& state, const Shape& shape, Bag table) {
  eqat::SetNumThreads(shape.threads);
  const Batches batches(shape);
  CheckAgainstReference(table, shape, batches);
  std::vector<float> out(shape.bags * shape.dim);
  const std::vector<float> grad_output(out.size(), 1e-3f);
  eqat::nn::LookupContext context;
  int64_t iteration = 0;
  for (auto _ : state) {
    OrDie(
        table.Forward(batches.Input(iteration++), eqat::MutableTableView(out.data(), shape.bags, shape.dim), &context));
    const eqat::nn::EmbeddingGradients grads =
        OrDie(table.Backward(context, eqat::TableView(grad_output.data(), shape.bags, shape.dim)));
    if constexpr (requires { table.WillModifyRows(grads.weight.rows); }) table.WillModifyRows(grads.weight.rows);
    ApplySgd(grads.weight, table.mutable_weight());
  }
  SetCounters(state, shape, 4.0 * static_cast<double>(shape.dim));
}

void Register(const Shape& shape) {
  const std::string text = shape.Text();
  const auto add = [&text](const std::string& name, auto function) {
    benchmark::RegisterBenchmark(absl::StrCat(name, "/", text).c_str(), function)->UseRealTime();
  };
  add("forward/nn", [shape](benchmark::State& state) { ForwardNn(state, shape); });
  for (const int bits : {8, 4, 2}) {
    add(absl::StrCat("forward/qat", bits), [=](benchmark::State& state) { ForwardQat(state, shape, bits); });
    add(absl::StrCat("forward/quantized", bits),
        [=](benchmark::State& state) { ForwardQuantized(state, shape, bits); });
  }
  add("step/nn_sgd", [shape](benchmark::State& state) { Step(state, shape, MakeFloat(shape)); });
  for (const int bits : {8, 4}) {
    add(absl::StrCat("step/qat", bits, "_sgd"),
        [=](benchmark::State& state) { Step(state, shape, MakeQat(shape, bits)); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const int64_t rows : {int64_t{1024}, int64_t{100'000}, int64_t{1'000'000}, int64_t{10'000'000}}) {
    for (const bool zipf : {false, true}) {
      for (const int threads : {1, 2}) {
        Register({.rows = rows, .dim = 64, .bags = 512, .pool = 20, .zipf = zipf, .threads = threads});
      }
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
