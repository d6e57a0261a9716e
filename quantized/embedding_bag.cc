#include "quantized/embedding_bag.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/distinct_rows.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/pool_kernels.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "float_modules/embedding_functional.h"

namespace eqat::quantized {
namespace {

// Floats of the rows that are dequantized at a time: 64 KiB, which a core's second-level cache holds.
constexpr int64_t kChunkFloats = 1 << 14;

std::string WhereOf(const std::string& name, const char* type) { return name.empty() ? type : name; }

// The checks that both modules make of what they are created from.
absl::Status CheckTable(const quant::QuantizedTable& table, const nn::EmbeddingOptions& options,
                        absl::string_view where) {
  if (options.max_norm) {
    return InvalidArgument(where, "max_norm is not for quantized rows", absl::StrCat(*options.max_norm),
                           "none: conversion applies it");
  }
  if (table.rows() != options.num_embeddings || table.cols() != options.embedding_dim) {
    return InvalidArgument(where, "quantized table has the wrong shape", ShapeText({table.rows(), table.cols()}),
                           ShapeText({options.num_embeddings, options.embedding_dim}));
  }
  return absl::OkStatus();
}

std::string TableText(const quant::QuantizedTable& table) {
  return absl::StrCat("num_embeddings=", table.rows(), ", embedding_dim=", table.cols(),
                      ", dtype=", quant::TraitsOf(table.dtype()).name, ", qscheme=per_channel_affine_float_qparams");
}

std::string PaddingText(const nn::EmbeddingOptions& options) {
  return options.padding_idx ? absl::StrCat(", padding_idx=", *options.padding_idx) : "";
}

// Rows as floats, and for each position of some bags which of them it looks up.
struct DequantizedRows {
  std::unique_ptr<float[]> values;  // [rows, table.cols()]
  int64_t rows = 0;
  std::vector<int64_t> ids;
  int64_t padding_id = -1;
};

DequantizedRows Dequantize(const quant::QuantizedTable& table, absl::Span<const int64_t> rows) {
  DequantizedRows result;
  result.rows = static_cast<int64_t>(rows.size());
  result.values = std::make_unique_for_overwrite<float[]>(result.rows * table.cols());
  table.DequantizeRows(rows, MutableTableView(result.values.get(), result.rows, table.cols()));
  return result;
}

// One row for every position.
DequantizedRows DequantizeEach(const quant::QuantizedTable& table, absl::Span<const int64_t> indices,
                               std::optional<int64_t> padding_idx) {
  DequantizedRows result = Dequantize(table, indices);
  result.ids.resize(indices.size());
  for (size_t k = 0; k < indices.size(); ++k) {
    const bool is_padding = indices[k] == padding_idx;
    if (is_padding && result.padding_id < 0) result.padding_id = static_cast<int64_t>(k);
    result.ids[k] = is_padding ? result.padding_id : static_cast<int64_t>(k);
  }
  return result;
}

// One row for every distinct index.
DequantizedRows DequantizeDistinct(const quant::QuantizedTable& table, absl::Span<const int64_t> indices,
                                   std::optional<int64_t> padding_idx) {
  const DistinctRows distinct(indices);
  DequantizedRows result = Dequantize(table, distinct.rows());
  result.ids.assign(distinct.slots().begin(), distinct.slots().end());
  if (padding_idx) result.padding_id = distinct.SlotOf(*padding_idx);
  return result;
}

// Cuts bags into runs of at most `max_positions` positions; a longer bag is a run of its own. [runs + 1] bags.
std::vector<int64_t> RunsOfBags(absl::Span<const int64_t> offsets, int64_t max_positions) {
  const int64_t num_bags = static_cast<int64_t>(offsets.size()) - 1;
  std::vector<int64_t> begins = {0};
  for (int64_t bag = 1; bag < num_bags; ++bag) {
    if (offsets[bag + 1] - offsets[begins.back()] > max_positions) begins.push_back(bag);
  }
  begins.push_back(num_bags);
  return begins;
}

// Pools bags [begin_bag, end_bag). Few positions are dequantized one by one, without looking for repeats: the rows stay
// in cache. A single long bag may repeat rows many times over, and is worth dequantizing each once.
void PoolRun(const quant::QuantizedTable& table, const nn::EmbeddingBagOptions& options, const Bags& bags,
             int64_t begin_bag, int64_t end_bag, int64_t max_positions, MutableTableView out) {
  const int64_t begin = bags.offsets()[begin_bag];
  const int64_t count = bags.offsets()[end_bag] - begin;
  const absl::Span<const int64_t> indices = bags.indices().subspan(begin, count);
  const DequantizedRows rows = count <= max_positions ? DequantizeEach(table, indices, options.padding_idx)
                                                      : DequantizeDistinct(table, indices, options.padding_idx);
  std::vector<int64_t> offsets;
  for (int64_t bag = begin_bag; bag <= end_bag; ++bag) offsets.push_back(bags.offsets()[bag] - begin);

  PoolArgs args;
  args.rows = TableView(rows.values.get(), rows.rows, table.cols());
  args.ids = rows.ids.data();
  args.offsets = offsets.data();
  args.num_bags = end_bag - begin_bag;
  args.weights = bags.has_per_sample_weights() ? bags.per_sample_weights().data() + begin : nullptr;
  args.mode = options.mode;
  args.has_padding = options.padding_idx.has_value();
  args.padding_id = rows.padding_id;
  PoolRows(args, MutableTableView(out.Row(begin_bag), args.num_bags, out.cols, out.stride));
}

}  // namespace

EmbeddingBag::EmbeddingBag(quant::QuantizedTable&& table, nn::EmbeddingBagOptions options, std::string name)
    : table_(std::move(table)), options_(std::move(options)), name_(std::move(name)) {}

absl::StatusOr<EmbeddingBag> EmbeddingBag::Create(quant::QuantizedTable&& table, nn::EmbeddingBagOptions options,
                                                  std::string name) {
  const std::string where = WhereOf(name, "quantized.EmbeddingBag");
  EQAT_RETURN_IF_ERROR(nn::Canonicalize(options, where));
  EQAT_RETURN_IF_ERROR(CheckTable(table, options, where));
  return EmbeddingBag(std::move(table), std::move(options), std::move(name));
}

absl::StatusOr<int64_t> EmbeddingBag::NumOutputs(const LookupInput& input) const {
  return NumBags(input, options_.include_last_offset, options_.mode, WhereOf(name_, "quantized.EmbeddingBag"));
}

absl::Status EmbeddingBag::Lookup(const LookupInput& input, MutableTableView out) const {
  const std::string where = WhereOf(name_, "quantized.EmbeddingBag");
  EQAT_ASSIGN_OR_RETURN(const Bags bags,
                        MakeBags(input, options_.num_embeddings, options_.include_last_offset, options_.mode, where));
  EQAT_RETURN_IF_ERROR(nn::CheckShape(out, bags.num_bags(), options_.embedding_dim, where, "output"));
  if (bags.num_bags() == 0) return absl::OkStatus();

  const int64_t max_positions = std::max<int64_t>(1, kChunkFloats / std::max<int64_t>(1, table_.cols()));
  const std::vector<int64_t> begins = RunsOfBags(bags.offsets(), max_positions);
  ParallelFor(static_cast<int64_t>(begins.size()) - 1, 1, [&](int64_t run, int64_t /*end*/) {
    PoolRun(table_, options_, bags, begins[run], begins[run + 1], max_positions, out);
  });
  return absl::OkStatus();
}

std::string EmbeddingBag::ToString() const {
  return absl::StrCat("QuantizedEmbeddingBag(", TableText(table_), ", mode=", PoolModeName(options_.mode),
                      PaddingText(options_), ")");
}

Embedding::Embedding(quant::QuantizedTable&& table, nn::EmbeddingOptions options, std::string name)
    : table_(std::move(table)), options_(std::move(options)), name_(std::move(name)) {}

absl::StatusOr<Embedding> Embedding::Create(quant::QuantizedTable&& table, nn::EmbeddingOptions options,
                                            std::string name) {
  const std::string where = WhereOf(name, "quantized.Embedding");
  EQAT_RETURN_IF_ERROR(nn::Canonicalize(options, where));
  EQAT_RETURN_IF_ERROR(CheckTable(table, options, where));
  return Embedding(std::move(table), std::move(options), std::move(name));
}

absl::StatusOr<int64_t> Embedding::NumOutputs(const LookupInput& input) const {
  return NumBagsOfOne(input, WhereOf(name_, "quantized.Embedding"));
}

absl::Status Embedding::Lookup(const LookupInput& input, MutableTableView out) const {
  const std::string where = WhereOf(name_, "quantized.Embedding");
  EQAT_ASSIGN_OR_RETURN(const Bags bags, BagsOfOne(input, options_.num_embeddings, where));
  EQAT_RETURN_IF_ERROR(nn::CheckShape(out, bags.num_bags(), options_.embedding_dim, where, "output"));
  table_.DequantizeRows(bags.indices(), out);
  return absl::OkStatus();
}

std::string Embedding::ToString() const {
  return absl::StrCat("QuantizedEmbedding(", TableText(table_), PaddingText(options_), ")");
}

}  // namespace eqat::quantized
