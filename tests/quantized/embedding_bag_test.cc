#include "quantized/embedding_bag.h"

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/parallel_for.h"
#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/types/dtype.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/status_matchers.h"

namespace eqat::quantized {
namespace {

using ::eqat::testing::Batch;
using ::eqat::testing::BitsOf;
using ::eqat::testing::Matrix;
using ::eqat::testing::NaiveLookup;
using ::eqat::testing::RandomBatch;
using ::eqat::testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

// Codes and parameters of a table, and the rows they stand for by the formula.
struct Quantized {
  quant::QuantizedTable table;
  Matrix rows;
};

Quantized RandomTable(int64_t rows, int64_t cols, quant::Dtype dtype, uint64_t seed) {
  const Rng rng(seed, 1);
  const quant::DtypeTraits& traits = quant::TraitsOf(dtype);
  Matrix values(rows, cols);
  const auto codes_of_rows = [&](int64_t begin, int64_t end, int32_t* codes, quant::QParams* qparams) {
    for (int64_t row = begin; row < end; ++row) {
      quant::QParams& params = qparams[row - begin];
      params.scale = 0.001f + std::fabs(rng.Normal(2 * row));
      params.zero_point = 20.0f * rng.Normal(2 * row + 1);
      for (int64_t col = 0; col < cols; ++col) {
        const uint64_t draw = rng.Below(1'000'000 + row * cols + col, traits.quant_max - traits.quant_min + 1);
        const int32_t code = traits.quant_min + static_cast<int32_t>(draw);
        codes[(row - begin) * cols + col] = code;
        values.Row(row)[col] = static_cast<float>((static_cast<double>(code) - params.zero_point) * params.scale);
      }
    }
    return absl::OkStatus();
  };
  quant::QuantizedTable table = *quant::QuantizedTable::Build(rows, cols, dtype, codes_of_rows);
  return {std::move(table), std::move(values)};
}

// One row of negative zeros: (0 - 1) * 0.
quant::QuantizedTable NegativeZeroRow() {
  return *quant::QuantizedTable::FromPacked(1, 2, quant::Dtype::kQUInt8, std::vector<uint8_t>{0, 0}, nullptr, {0.0f},
                                            {1.0f});
}

template <typename Options>
Options OptionsFor(const quant::QuantizedTable& table, Options options = {}) {
  options.num_embeddings = table.rows();
  options.embedding_dim = table.cols();
  return options;
}

template <typename Module>
std::vector<uint32_t> LookedUp(const Module& module, const Batch& batch) {
  Matrix out(*module.NumOutputs(batch.input()), module.embedding_dim());
  const absl::Status status = module.Lookup(batch.input(), out.mutable_view());
  EXPECT_TRUE(status.ok()) << status;
  return BitsOf(out.values);
}

template <typename Module, typename Options>
void ExpectAgreesWithFormula(Quantized quantized, Options options, bool weighted, uint64_t seed) {
  options = OptionsFor(quantized.table, options);
  EQAT_ASSERT_OK_AND_ASSIGN(const Module module, Module::Create(std::move(quantized.table), options, "item"));
  for (uint64_t i = 0; i < 8; ++i) {
    SCOPED_TRACE(::testing::Message() << "batch " << i);
    const Batch batch = RandomBatch(options.num_embeddings, options, weighted, Rng(seed, i));
    ASSERT_EQ(LookedUp(module, batch), BitsOf(NaiveLookup(quantized.rows, options, batch).values));
  }
}

TEST(QuantizedEmbedding, CopiesDequantizedRowsForEveryDtypeAndWidth) {
  for (const quant::DtypeTraits& traits : quant::kDtypes) {
    for (const int64_t cols : {0, 1, 7, 16, 33}) {
      SCOPED_TRACE(::testing::Message() << traits.name << ", " << cols << " columns");
      nn::EmbeddingOptions options;
      if (cols == 7) options.padding_idx = 3;  // read like any other row
      ExpectAgreesWithFormula<Embedding>(RandomTable(9, cols, traits.dtype, cols), options, /*weighted=*/false, cols);
    }
  }
}

TEST(QuantizedEmbeddingBag, PoolsDequantizedRowsForEveryOption) {
  for (const quant::DtypeTraits& traits : quant::kDtypes) {
    for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
      for (const bool padded : {false, true}) {
        for (const bool include_last_offset : {false, true}) {
          for (const bool weighted : {false, true}) {
            if (weighted && mode != PoolMode::kSum) continue;
            SCOPED_TRACE(::testing::Message()
                         << traits.name << ", mode " << std::string(PoolModeName(mode)) << ", padding " << padded
                         << ", include_last_offset " << include_last_offset << ", weighted " << weighted);
            nn::EmbeddingBagOptions options;
            options.mode = mode;
            if (padded) options.padding_idx = 5;
            options.include_last_offset = include_last_offset;
            ExpectAgreesWithFormula<EmbeddingBag>(RandomTable(7, 19, traits.dtype, 4), options, weighted, 8);
          }
        }
      }
    }
  }
}

// Many bags of many lengths, among them some that are dequantized by distinct rows.
Batch LargeBatch(int64_t rows, bool weighted) {
  const Rng rng(31, 1);
  Batch batch;
  batch.offsets.emplace();
  int64_t end = 0;
  for (int64_t bag = 0; bag < 400; ++bag) {
    batch.offsets->push_back(end);
    end += bag % 97 == 5 ? 3000 : static_cast<int64_t>(rng.Below(bag, 30));
  }
  for (int64_t k = 0; k < end; ++k) batch.indices.push_back(static_cast<int64_t>(rng.Below(1000 + k, rows)));
  if (weighted) {
    batch.per_sample_weights.emplace();
    for (int64_t k = 0; k < end; ++k) batch.per_sample_weights->push_back(rng.Normal(k));
  }
  return batch;
}

TEST(QuantizedEmbeddingBag, PoolsLargeBatchesForAnyNumberOfThreads) {
  for (const bool padded : {false, true}) {
    for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
      const bool weighted = mode == PoolMode::kSum;
      SCOPED_TRACE(::testing::Message() << "mode " << std::string(PoolModeName(mode)) << ", padding " << padded);
      Quantized quantized = RandomTable(50, 24, quant::Dtype::kQUInt4x2, 6);
      nn::EmbeddingBagOptions options = OptionsFor<nn::EmbeddingBagOptions>(quantized.table);
      options.mode = mode;
      if (padded) options.padding_idx = 11;
      const Batch batch = LargeBatch(options.num_embeddings, weighted);
      const std::vector<uint32_t> expected = BitsOf(NaiveLookup(quantized.rows, options, batch).values);
      EQAT_ASSERT_OK_AND_ASSIGN(const EmbeddingBag module, EmbeddingBag::Create(std::move(quantized.table), options));
      for (const int threads : {1, 2, 5}) {
        SetNumThreads(threads);
        EXPECT_EQ(LookedUp(module, batch), expected) << threads;
      }
      SetNumThreads(0);
    }
  }
}

TEST(QuantizedEmbedding, KeepsNegativeZeroWhereASumDoesNot) {
  const Batch batch = {.indices = {0}, .shape = {1, 1}};
  quant::QuantizedTable table = NegativeZeroRow();
  const nn::EmbeddingOptions options = OptionsFor<nn::EmbeddingOptions>(table);
  EQAT_ASSERT_OK_AND_ASSIGN(const Embedding embedding, Embedding::Create(std::move(table), options));
  EXPECT_THAT(LookedUp(embedding, batch), Each(0x80000000u));

  table = NegativeZeroRow();
  nn::EmbeddingBagOptions bag_options = OptionsFor<nn::EmbeddingBagOptions>(table);
  bag_options.mode = PoolMode::kSum;
  EQAT_ASSERT_OK_AND_ASSIGN(const EmbeddingBag bag, EmbeddingBag::Create(std::move(table), bag_options));
  EXPECT_THAT(LookedUp(bag, batch), Each(0u));
}

TEST(QuantizedEmbeddingBag, AllowsEmptyBatchesAndTables) {
  Quantized quantized = RandomTable(0, 5, quant::Dtype::kQUInt8, 1);
  const nn::EmbeddingBagOptions options = OptionsFor<nn::EmbeddingBagOptions>(quantized.table);
  EQAT_ASSERT_OK_AND_ASSIGN(const EmbeddingBag module, EmbeddingBag::Create(std::move(quantized.table), options));
  EXPECT_EQ(*module.NumOutputs(Batch{.shape = {3, 0}}.input()), 3);
  EXPECT_EQ(LookedUp(module, Batch{.shape = {3, 0}}), std::vector<uint32_t>(15, 0u));
  EXPECT_EQ(LookedUp(module, Batch{.offsets = std::vector<int64_t>{}}).size(), 0u);
}

template <typename Module, typename Options>
void ExpectRefusesTables(const std::string& type) {
  Quantized quantized = RandomTable(4, 3, quant::Dtype::kQUInt8, 1);
  Options options = OptionsFor<Options>(quantized.table);

  Options wrong_shape = options;
  wrong_shape.num_embeddings = 5;
  EXPECT_THAT(Module::Create(std::move(quantized.table), wrong_shape, "item"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "item: quantized table has the wrong shape (got [4, 3], expected [5, 3])"));
  Options with_max_norm = options;
  with_max_norm.max_norm = 1.5;
  EXPECT_THAT(Module::Create(std::move(quantized.table), with_max_norm),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       type + ": max_norm is not for quantized rows (got 1.5, expected none: conversion applies it)"));
  Options bad_padding = options;
  bad_padding.padding_idx = 4;
  EXPECT_THAT(Module::Create(std::move(quantized.table), bad_padding, "item"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("padding_idx")));

  // Every refusal has left the table where it was.
  EXPECT_EQ(quantized.table.rows(), 4);
  EXPECT_NE(quantized.table.packed_rows().codes, nullptr);
  Options wrapped = options;
  wrapped.padding_idx = -1;
  EQAT_ASSERT_OK_AND_ASSIGN(const Module module, Module::Create(std::move(quantized.table), wrapped, "item"));
  EXPECT_EQ(module.options().padding_idx, 3);
  EXPECT_EQ(module.name(), "item");
  EXPECT_EQ(module.weight().cols(), 3);
}

TEST(QuantizedEmbedding, RefusesTablesThatDoNotFit) {
  ExpectRefusesTables<Embedding, nn::EmbeddingOptions>("quantized.Embedding");
}

TEST(QuantizedEmbeddingBag, RefusesTablesThatDoNotFit) {
  ExpectRefusesTables<EmbeddingBag, nn::EmbeddingBagOptions>("quantized.EmbeddingBag");
}

template <typename Module, typename Options>
void ExpectRefusesBatches(const Batch& malformed) {
  Quantized quantized = RandomTable(4, 3, quant::Dtype::kQUInt8, 1);
  const Options options = OptionsFor<Options>(quantized.table);
  EQAT_ASSERT_OK_AND_ASSIGN(const Module module, Module::Create(std::move(quantized.table), options, "item"));
  Matrix out(1, 3);
  out.values = {7.0f, 7.0f, 7.0f};

  const Batch out_of_range = {.indices = {4}, .shape = {1, 1}};
  EXPECT_EQ(*module.NumOutputs(out_of_range.input()), 1);
  EXPECT_THAT(
      module.Lookup(out_of_range.input(), out.mutable_view()),
      StatusIs(absl::StatusCode::kOutOfRange, "item: index out of range at position 0 (got 4, expected 0 to 3)"));
  const Batch two = {.indices = {1, 2}, .shape = {2, 1}};
  EXPECT_THAT(module.Lookup(two.input(), out.mutable_view()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item: output has the wrong shape")));
  EXPECT_THAT(module.Lookup(malformed.input(), out.mutable_view()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item: ")));
  EXPECT_THAT(module.NumOutputs(malformed.input()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item: ")));
  EXPECT_THAT(out.values, Each(7.0f));
}

TEST(QuantizedEmbedding, RefusesMalformedBatches) {
  ExpectRefusesBatches<Embedding, nn::EmbeddingOptions>({.indices = {1}, .offsets = {{0}}});
}

TEST(QuantizedEmbeddingBag, RefusesMalformedBatches) {
  ExpectRefusesBatches<EmbeddingBag, nn::EmbeddingBagOptions>({.indices = {1}, .offsets = {{1}}});
}

TEST(QuantizedEmbedding, PrintsItself) {
  Quantized quantized = RandomTable(10, 12, quant::Dtype::kQUInt8, 1);
  nn::EmbeddingOptions options = OptionsFor<nn::EmbeddingOptions>(quantized.table);
  options.padding_idx = 2;
  EXPECT_EQ(Embedding::Create(std::move(quantized.table), options)->ToString(),
            "QuantizedEmbedding(num_embeddings=10, embedding_dim=12, dtype=quint8, "
            "qscheme=per_channel_affine_float_qparams, padding_idx=2)");
}

TEST(QuantizedEmbeddingBag, PrintsItself) {
  Quantized quantized = RandomTable(10, 12, quant::Dtype::kQUInt4x2, 1);
  const nn::EmbeddingBagOptions options = OptionsFor<nn::EmbeddingBagOptions>(quantized.table);
  EXPECT_EQ(EmbeddingBag::Create(std::move(quantized.table), options)->ToString(),
            "QuantizedEmbeddingBag(num_embeddings=10, embedding_dim=12, dtype=quint4x2, "
            "qscheme=per_channel_affine_float_qparams, mode=mean)");
}

}  // namespace
}  // namespace eqat::quantized
