#include "quantized/embedding_bag.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/distinct_rows.h"
#include "core/error.h"
#include "core/pool_kernels.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "float_modules/embedding_functional.h"
#include "quant/kernels/packed_pool_kernels.h"

namespace eqat::quantized {
namespace {

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
                      ", dtype=", quant::TraitsOf(table.dtype()).name,
                      table.deploy() != nullptr ? absl::StrCat(", deploy=", table.deploy()->name)
                                                : ", qscheme=per_channel_affine_float_qparams");
}

std::string PaddingText(const nn::EmbeddingOptions& options) {
  return options.padding_idx ? absl::StrCat(", padding_idx=", *options.padding_idx) : "";
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
  if (table_.deploy() != nullptr) {
    const DistinctRows distinct(bags.indices());
    std::vector<float> values(distinct.size() * options_.embedding_dim);
    const MutableTableView rows(values.data(), distinct.size(), options_.embedding_dim);
    table_.DequantizeRows(distinct.rows(), rows);
    nn::PoolDistinct(bags, distinct, rows, options_, out);
    return absl::OkStatus();
  }
  PoolArgs args;
  args.ids = bags.indices().data();
  args.offsets = bags.offsets().data();
  args.num_bags = bags.num_bags();
  args.weights = bags.has_per_sample_weights() ? bags.per_sample_weights().data() : nullptr;
  args.mode = options_.mode;
  args.has_padding = options_.padding_idx.has_value();
  args.padding_id = options_.padding_idx.value_or(-1);
  quant::kernels::PoolPackedRows(table_.packed_rows(), args, out);
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
