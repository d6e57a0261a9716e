#include "float_modules/embedding_functional.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/pool_kernels.h"
#include "float_modules/dot.h"
#include "float_modules/gradient_kernels.h"

namespace eqat::nn {
namespace {

constexpr int64_t kTableRows = 64;
// Rows of a table are in no cache: while one is copied those to come are fetched, the beginning of long ones.
constexpr int64_t kRowsAhead = 32;
constexpr int64_t kFetchedFloats = 256;
constexpr int64_t kFloatsPerCacheLine = 16;
constexpr int64_t kPositionBlock = 256;
constexpr int64_t kBagBlock = 4096;

// f32(acc + x * x) but for a rare double rounding: torch's kernel fuses the two.
float AddSquare(float acc, float x) {
  return static_cast<float>(static_cast<double>(acc) + static_cast<double>(x) * static_cast<double>(x));
}

// In the order of torch's vectorised kernel: eight running sums, added up in order, then the rest. Overflows to
// infinity and loses small values exactly where float32 does.
float Norm2(absl::Span<const float> row) {
  constexpr size_t kLanes = 8;
  float lanes[kLanes] = {};
  const size_t whole = row.size() - row.size() % kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = AddSquare(lanes[lane], row[i + lane]);
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (size_t i = whole; i < row.size(); ++i) sum = AddSquare(sum, row[i]);
  return std::sqrt(sum);
}

// max or min of |x|; a NaN in the row is the result.
template <typename Replaces>
float ExtremeMagnitude(absl::Span<const float> row, Replaces replaces) {
  float extreme = row.empty() ? 0.0f : std::abs(row[0]);
  for (const float x : row) {
    const float magnitude = std::abs(x);
    if (std::isnan(magnitude)) return magnitude;
    if (replaces(magnitude, extreme)) extreme = magnitude;
  }
  return extreme;
}

float GeneralNorm(absl::Span<const float> row, float p) {
  float sum = 0;
  for (const float x : row) sum += std::pow(std::abs(x), p);
  return std::pow(sum, 1.0f / p);
}

PoolArgs MakePoolArgs(const Bags& bags, TableView rows, absl::Span<const int64_t> ids, int64_t padding_id,
                      const EmbeddingBagOptions& options) {
  PoolArgs args;
  args.rows = rows;
  args.ids = ids.data();
  args.offsets = bags.offsets().data();
  args.num_bags = bags.num_bags();
  if (bags.has_per_sample_weights()) args.weights = bags.per_sample_weights().data();
  args.mode = options.mode;
  args.has_padding = options.padding_idx.has_value();
  args.padding_id = padding_id;
  return args;
}

void Pool(const PoolArgs& args, MutableTableView out, std::vector<int64_t>* max_positions) {
  const bool records_positions = max_positions != nullptr && args.mode == PoolMode::kMax;
  if (max_positions != nullptr) max_positions->assign(records_positions ? out.rows * out.cols : 0, -1);
  PoolRows(args, out, records_positions ? max_positions->data() : nullptr);
}

// Whether every position is a bag of its own, in order.
bool IsOneEach(const Bags& bags) {
  const absl::Span<const int64_t> offsets = bags.offsets();
  if (bags.num_bags() != static_cast<int64_t>(bags.indices().size())) return false;
  for (int64_t bag = 0; bag < bags.num_bags(); ++bag) {
    if (offsets[bag] != bag) return false;
  }
  return true;
}

// The bag of each position; empty where position k is bag k, as in every batch of a plain Embedding.
std::vector<int64_t> BagOfPositions(const Bags& bags) {
  const absl::Span<const int64_t> offsets = bags.offsets();
  std::vector<int64_t> bag_of;
  if (IsOneEach(bags)) return bag_of;
  bag_of.resize(bags.indices().size());
  ParallelFor(bags.num_bags(), kBagBlock, [&](int64_t begin, int64_t end) {
    for (int64_t bag = begin; bag < end; ++bag) {
      std::fill(bag_of.begin() + offsets[bag], bag_of.begin() + offsets[bag + 1], bag);
    }
  });
  return bag_of;
}

// f32(1 / rows counted) of every bag; bags with nothing to count are never asked for.
std::vector<float> MeanFactors(const Bags& bags, std::optional<int64_t> padding_idx) {
  std::vector<float> factors(bags.num_bags());
  ParallelFor(bags.num_bags(), kBagBlock, [&](int64_t begin, int64_t end) {
    for (int64_t bag = begin; bag < end; ++bag) {
      int64_t counted = bags.offsets()[bag + 1] - bags.offsets()[bag];
      if (padding_idx.has_value()) {
        const auto indices = bags.indices().subspan(bags.offsets()[bag], counted);
        counted -= std::count(indices.begin(), indices.end(), *padding_idx);
      }
      factors[bag] = static_cast<float>(1.0 / static_cast<double>(counted));
    }
  });
  return factors;
}

int64_t SlotOfPadding(const DistinctRows& distinct, std::optional<int64_t> padding_idx) {
  return padding_idx.has_value() ? distinct.SlotOf(*padding_idx) : -1;
}

// Those that the forward kept for positions, for `rows`: all distinct ones but that of `skipped_slot`.
RowBounds BoundsOfRows(const LookupContext& context, const std::vector<int64_t>& rows, int64_t skipped_slot) {
  RowBounds bounds;
  bounds.forward = context.bounds.forward;
  bounds.rows = rows;
  bounds.min_vals.resize(rows.size());
  bounds.max_vals.resize(rows.size());
  const DistinctRows& distinct = context.grouped();
  ParallelFor(static_cast<int64_t>(rows.size()), kPositionBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t slot = skipped_slot >= 0 && i >= skipped_slot ? i + 1 : i;
      const int64_t position = distinct.PositionsOf(slot).front();
      bounds.min_vals[i] = context.bounds.min_vals[position];
      bounds.max_vals[i] = context.bounds.max_vals[position];
    }
  });
  return bounds;
}

}  // namespace

absl::Status CheckShape(TableView view, int64_t rows, int64_t cols, absl::string_view where, absl::string_view what) {
  if (view.rows == rows && view.cols == cols) return absl::OkStatus();
  return InvalidArgument(where, absl::StrCat(what, " has the wrong shape"),
                         absl::StrCat("[", view.rows, ", ", view.cols, "]"), absl::StrCat("[", rows, ", ", cols, "]"));
}

double RowNorm(absl::Span<const float> row, double p) {
  if (p == 2.0) return Norm2(row);
  if (std::isinf(p)) {
    return p > 0 ? ExtremeMagnitude(row, [](float x, float extreme) { return x > extreme; })
                 : ExtremeMagnitude(row, [](float x, float extreme) { return x < extreme; });
  }
  if (p == 0.0) return static_cast<double>(std::count_if(row.begin(), row.end(), [](float x) { return x != 0; }));
  return GeneralNorm(row, static_cast<float>(p));
}

bool RenormRow(absl::Span<float> row, double max_norm, double norm_type) {
  const double norm = RowNorm(row, norm_type);
  if (!(norm > max_norm)) return false;
  const float scale = static_cast<float>(max_norm / (norm + 1e-7));
  for (float& x : row) x *= scale;
  return true;
}

void RenormRows(absl::Span<const int64_t> ids, double max_norm, double norm_type, MutableTableView table) {
  ParallelFor(static_cast<int64_t>(ids.size()), kTableRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      RenormRow(absl::MakeSpan(table.Row(ids[i]), table.cols), max_norm, norm_type);
    }
  });
}

void RenormAllRows(double max_norm, double norm_type, MutableTableView rows) {
  ParallelFor(rows.rows, kTableRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) RenormRow(absl::MakeSpan(rows.Row(i), rows.cols), max_norm, norm_type);
  });
}

void CopyRows(TableView rows, absl::Span<const int64_t> ids, MutableTableView out) {
  assert(out.rows == static_cast<int64_t>(ids.size()) && out.cols == rows.cols);
  const int64_t fetched = std::min(rows.cols, kFetchedFloats);
  ParallelFor(out.rows, kTableRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const later = rows.Row(ids[std::min(i + kRowsAhead, out.rows - 1)]);
      for (int64_t c = 0; c < fetched; c += kFloatsPerCacheLine) __builtin_prefetch(later + c, 0, 2);
      std::copy_n(rows.Row(ids[i]), rows.cols, out.Row(i));
    }
  });
}

PoolArgs PoolArgsOfTable(const Bags& bags, TableView table, const EmbeddingBagOptions& options) {
  return MakePoolArgs(bags, table, bags.indices(), options.padding_idx.value_or(-1), options);
}

void PoolTable(const Bags& bags, TableView table, const EmbeddingBagOptions& options, MutableTableView out,
               std::vector<int64_t>* max_positions) {
  Pool(PoolArgsOfTable(bags, table, options), out, max_positions);
}

void PoolDistinct(const Bags& bags, const DistinctRows& distinct, TableView rows, const EmbeddingBagOptions& options,
                  MutableTableView out, std::vector<int64_t>* max_positions) {
  const int64_t padding_slot = SlotOfPadding(distinct, options.padding_idx);
  Pool(MakePoolArgs(bags, rows, distinct.slots(), padding_slot, options), out, max_positions);
}

SparseGrad TableGradient(const LookupContext& context, TableView grad_output, PoolMode mode,
                         std::optional<int64_t> padding_idx, bool scale_grad_by_freq) {
  assert(grad_output.rows == context.bags.num_bags());
  const std::vector<int64_t> bag_of = BagOfPositions(context.bags);
  const std::vector<float> mean_factors =
      mode == PoolMode::kMean ? MeanFactors(context.bags, padding_idx) : std::vector<float>();
  GradientArgs args;
  args.grad_output = grad_output;
  args.distinct = &context.grouped();
  if (!bag_of.empty()) args.bag_of = bag_of.data();
  if (mode == PoolMode::kMean) args.bag_factors = mean_factors.data();
  if (context.bags.has_per_sample_weights()) args.position_factors = context.bags.per_sample_weights().data();
  if (mode == PoolMode::kMax) args.max_positions = context.max_positions.data();
  args.scale_by_count = scale_grad_by_freq && mode != PoolMode::kMax;
  if (!context.mask.empty()) args.mask = context.mask.data();
  args.skipped_slot = SlotOfPadding(context.distinct(), padding_idx);

  SparseGrad grad;
  grad.cols = grad_output.cols;
  grad.rows.assign(context.distinct().rows().begin(), context.distinct().rows().end());
  if (args.skipped_slot >= 0) grad.rows.erase(grad.rows.begin() + args.skipped_slot);
  grad.values.resize(grad.rows.size() * grad.cols);
  SumGradients(args, grad.mutable_view());
  if (context.bounds.forward != 0) grad.bounds = BoundsOfRows(context, grad.rows, args.skipped_slot);
  return grad;
}

std::vector<float> PerSampleWeightsGradient(const LookupContext& context, TableView grad_output,
                                            std::optional<int64_t> padding_idx) {
  const int64_t cols = grad_output.cols;
  assert(static_cast<int64_t>(context.rows.size()) == context.distinct().size() * cols);
  const absl::Span<const int64_t> slots = context.distinct().slots();
  const int64_t padding_slot = SlotOfPadding(context.distinct(), padding_idx);
  const std::vector<int64_t> bag_of = BagOfPositions(context.bags);
  std::vector<float> grad(slots.size());
  ParallelFor(static_cast<int64_t>(grad.size()), kPositionBlock, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      if (slots[k] == padding_slot) continue;
      const int64_t bag = bag_of.empty() ? k : bag_of[k];
      grad[k] = Dot(grad_output.Row(bag), context.rows.data() + slots[k] * cols, cols);
    }
  });
  return grad;
}

}  // namespace eqat::nn
