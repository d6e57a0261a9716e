#include "quant/kernels/packed_pool_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/parallel_for.h"
#include "core/rng.h"
#include "core/zeroed_memory.h"
#include "gtest/gtest.h"
#include "quant/kernels/pack_kernels.h"
#include "tests/support/simd_targets.h"
#include "tests/support/special_floats.h"

namespace eqat::quant::kernels {
namespace {

using ::eqat::testing::ForEachSimdTarget;
using ::eqat::testing::kFloatInfinity;

// The same bits; which NaN a sum of infinities gives is left open.
bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

// Mostly what trained rows have, and everything that needs more care: zero points outside the codes, near zero, at and
// beside the powers of two where float arithmetic begins and ends to be exact, scales that make values or their parts
// underflow or overflow.
QParams SomeQParams(const Rng& rng, int64_t row, int bits) {
  const float codes = std::ldexp(1.0f, bits);
  QParams qparams = {std::ldexp(1.0f + static_cast<float>(rng.Uniform(8 * row)), -7),
                     codes * (0.5f + 0.2f * rng.Normal(8 * row + 1))};
  const int power = static_cast<int>(rng.Below(8 * row + 2, bits + 6)) - 4;
  const float edge = std::ldexp(rng.Below(8 * row + 3, 2) == 0 ? 1.0f : -1.0f, power);
  const float edges[] = {0.0f,
                         -0.0f,
                         edge,
                         std::nextafter(edge, 0.0f),
                         std::nextafter(edge, kFloatInfinity),
                         edge * static_cast<float>(rng.Uniform(8 * row + 4)),
                         std::nearbyint(qparams.zero_point),
                         1e-30f,
                         3e7f,
                         -1e30f};
  const uint64_t choice = rng.Below(8 * row + 5, 20);
  if (choice < std::size(edges)) qparams.zero_point = edges[choice];
  const float scales[] = {
      0.0f,   -0.0f, 1e-45f, 1.17549435e-38f, 3e-38f, 0x1.0p-100f, std::nextafter(0x1.0p-100f, 0.0f),
      1e-30f, 1e37f, 3e38f};
  const uint64_t scale_choice = rng.Below(8 * row + 6, 40);
  if (scale_choice < std::size(scales)) qparams.scale = scales[scale_choice];
  return qparams;
}

// A table with its parameters behind the codes of each row or beside all of them, at an odd address, and nothing
// readable behind the last row.
struct PackedTable {
  PackedTable(int64_t rows, int64_t cols, int bits, bool is_signed, bool together, uint64_t seed) {
    const Rng rng(seed, 1);
    const int64_t row_bytes = PackedRowBytes(cols, bits);
    const int64_t params_at = (row_bytes + 3) / 4 * 4;
    view.rows = rows;
    view.cols = cols;
    view.bits = bits;
    view.is_signed = is_signed;
    view.code_stride = together ? params_at + 8 : row_bytes;
    view.param_stride = together ? view.code_stride : 8;
    // Rows that hold their parameters are aligned as those are, others start anywhere.
    const int64_t start = together ? 4 : 1;
    memory = std::vector<uint8_t>(start + rows * view.code_stride);
    qparams.resize(rows);
    view.codes = memory.data() + start;
    view.params = together ? view.codes + params_at : reinterpret_cast<const uint8_t*>(qparams.data());
    std::vector<int32_t> codes(cols);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t col = 0; col < cols; ++col)
        codes[col] = static_cast<int32_t>(rng.Below(row * cols + col, 1 << bits));
      uint8_t* const packed = memory.data() + start + row * view.code_stride;
      PackRow(codes.data(), cols, bits, packed);
      qparams[row] = SomeQParams(rng, row + (int64_t{1} << 40), bits);
      if (together) std::memcpy(packed + params_at, &qparams[row], sizeof(QParams));
    }
  }

  // The same rows with their values tabulated.
  PackedRows WithValues() {
    PackedRows with_values = view;
    values = AllocateZeroed(view.rows * PackedRows::kValues * static_cast<int64_t>(sizeof(float)));
    TabulateValues(view, static_cast<float*>(values.get()));
    with_values.values = static_cast<const float*>(values.get());
    return with_values;
  }

  std::vector<uint8_t> memory;
  std::vector<QParams> qparams;
  std::shared_ptr<void> values;
  PackedRows view;
};

struct PackedBatch {
  PackedBatch(int64_t rows, int64_t num_bags, uint64_t seed) {
    const Rng rng(seed, 2);
    for (int64_t bag = 0; bag < num_bags; ++bag) {
      const int64_t length = bag % 5 == 0 ? 0 : static_cast<int64_t>(rng.Below(bag, 9));
      offsets.push_back(offsets.back() + length);
    }
    for (int64_t k = 0; k < offsets.back(); ++k) {
      ids.push_back(static_cast<int64_t>(rng.Below(num_bags + k, rows)));
      weights.push_back(k % 11 == 0 ? -0.0f : rng.Normal((int64_t{1} << 40) + k));
    }
  }

  PoolArgs args() const {
    PoolArgs args;
    args.ids = ids.data();
    args.offsets = offsets.data();
    args.num_bags = static_cast<int64_t>(offsets.size()) - 1;
    return args;
  }

  std::vector<int64_t> ids;
  std::vector<int64_t> offsets = {0};
  std::vector<float> weights;
};

// What `write` writes into a view that starts at an odd address and has gaps: all of its memory, gaps included.
template <typename Write>
std::vector<float> Written(int64_t rows, int64_t cols, const Write& write) {
  const int64_t stride = cols + 2;
  std::vector<float> memory(rows * stride + 1, 77.0f);
  write(MutableTableView(memory.data() + 1, rows, cols, stride));
  return memory;
}

void ExpectSameBits(const std::vector<float>& actual, const std::vector<float>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(SameBits(actual[i], expected[i]))
        << "element " << i << ": " << actual[i] << " instead of " << expected[i];
  }
}

void ExpectPoolsAsReference(const PackedRows& table, const PoolArgs& args) {
  ExpectSameBits(
      Written(args.num_bags, table.cols, [&](MutableTableView out) { PoolPackedRows(table, args, out); }),
      Written(args.num_bags, table.cols, [&](MutableTableView out) { reference::PoolPackedRows(table, args, out); }));
}

void ExpectAllReductionsAgree(const PackedRows& table, const PackedBatch& batch) {
  for (const int64_t padding_id : {-1, 2}) {
    SCOPED_TRACE(::testing::Message() << "padding " << padding_id);
    PoolArgs args = batch.args();
    args.padding_id = padding_id;
    for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
      SCOPED_TRACE(std::string(PoolModeName(mode)));
      args.mode = mode;
      ExpectPoolsAsReference(table, args);
    }
    args.mode = PoolMode::kSum;
    args.weights = batch.weights.data();
    for (const bool has_padding : {padding_id >= 0, true}) {
      SCOPED_TRACE(::testing::Message() << "weighted sum, has_padding " << has_padding);
      args.has_padding = has_padding;
      ExpectPoolsAsReference(table, args);
    }
  }
}

void ExpectDequantizesAsReference(const PackedRows& table, const std::vector<int64_t>& ids) {
  const int64_t n = static_cast<int64_t>(ids.size());
  ExpectSameBits(Written(n, table.cols, [&](MutableTableView out) { DequantizePackedRows(table, ids.data(), n, out); }),
                 Written(n, table.cols,
                         [&](MutableTableView out) { reference::DequantizePackedRows(table, ids.data(), n, out); }));
}

struct Codes {
  int bits;
  bool is_signed;
};
constexpr Codes kCodes[] = {{1, false}, {2, false}, {3, false}, {4, false}, {5, false},
                            {6, false}, {7, false}, {8, false}, {8, true}};

// Instrumented code takes ten times as long: there every width of up to two vectors, and every third beyond.
#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kWideColsStep = 3;
#else
constexpr int64_t kWideColsStep = 1;
#endif

TEST(PackedPoolKernels, AgreeWithTheReferenceOnEveryTargetForEveryWidth) {
  const PackedBatch batch(/*rows=*/30, /*num_bags=*/12, /*seed=*/1);
  ForEachSimdTarget([&] {
    for (const Codes& codes : kCodes) {
      for (int64_t cols = 0; cols <= 130; cols += cols < 32 ? 1 : kWideColsStep) {
        SCOPED_TRACE(::testing::Message()
                     << codes.bits << " bits, signed " << codes.is_signed << ", " << cols << " columns");
        PackedTable table(/*rows=*/30, cols, codes.bits, codes.is_signed, /*together=*/cols % 2 == 0, cols);
        ExpectAllReductionsAgree(table.view, batch);
        ExpectDequantizesAsReference(table.view, batch.ids);
        if (codes.bits <= 4) ExpectAllReductionsAgree(table.WithValues(), batch);
        if (::testing::Test::HasFailure()) return;
      }
    }
  });
}

TEST(PackedPoolKernels, FloatArithmeticIsExactWhereItIsUsed) {
  constexpr int64_t kRows = 4000;
  std::vector<int64_t> ids(kRows);
  for (int64_t row = 0; row < kRows; ++row) ids[row] = row;
  ForEachSimdTarget([&] {
    for (const Codes& codes : kCodes) {
      SCOPED_TRACE(::testing::Message() << codes.bits << " bits, signed " << codes.is_signed);
      const PackedTable table(kRows, /*cols=*/64, codes.bits, codes.is_signed, /*together=*/true, /*seed=*/7);
      ExpectDequantizesAsReference(table.view, ids);
      if (::testing::Test::HasFailure()) return;
    }
  });
}

TEST(PackedPoolKernels, UseDoubleWhereFloatWouldRoundTwice) {
  const struct {
    int bits;
    uint8_t code;
    QParams qparams;
    float value;
  } kCases[] = {
      // Zero points below a quarter of the codes, whose tail has more than one bit.
      {8, 25, {0x1.9b3dbap-7f, 0x1.8f25d4p+4f}, 0x1.5e793ep-11f},
      {8, 34, {0x1.be5f74p-7f, 0x1.0fff76p+5f}, 0x1.e13eeap-19f},
      {4, 2, {0x1.94bba6p-7f, 0x1.de04b6p+0f}, 0x1.adcbcap-10f},
      {4, 1, {0x1.61e7b4p-7f, 0x1.02506cp+0f}, -0x1.997e8ep-14f},
  };
  ForEachSimdTarget([&] {
    for (const auto& c : kCases) {
      SCOPED_TRACE(c.value);
      constexpr int64_t kCols = 64;
      const std::vector<int32_t> codes(kCols, c.code);
      std::vector<uint8_t> packed(PackedRowBytes(kCols, c.bits));
      PackRow(codes.data(), kCols, c.bits, packed.data());
      PackedRows table;
      table.codes = packed.data();
      table.params = reinterpret_cast<const uint8_t*>(&c.qparams);
      table.rows = 1;
      table.cols = kCols;
      table.bits = c.bits;
      const int64_t id = 0;
      std::vector<float> out(kCols);
      DequantizePackedRows(table, &id, 1, MutableTableView(out.data(), 1, kCols));
      EXPECT_EQ(out, std::vector<float>(kCols, c.value));
    }
  });
}

TEST(PackedPoolKernels, AgreeWithTheReferenceForAnyNumberOfThreads) {
  const PackedBatch batch(/*rows=*/500, /*num_bags=*/1500, /*seed=*/5);
  for (const Codes& codes : kCodes) {
    SCOPED_TRACE(::testing::Message() << codes.bits << " bits, signed " << codes.is_signed);
    const PackedTable table(/*rows=*/500, /*cols=*/67, codes.bits, codes.is_signed, /*together=*/true, /*seed=*/5);
    for (const int threads : {1, 2, 5}) {
      SCOPED_TRACE(threads);
      SetNumThreads(threads);
      ExpectAllReductionsAgree(table.view, batch);
      ExpectDequantizesAsReference(table.view, batch.ids);
    }
  }
  SetNumThreads(0);
}

TEST(PackedPoolKernels, PoolALongBagOfRepeats) {
  // Larger than what is taken to be in cache, so that rows are fetched ahead.
  const PackedTable table(/*rows=*/10'000, /*cols=*/64, /*bits=*/4, /*is_signed=*/false, /*together=*/true, /*seed=*/3);
  std::vector<int64_t> ids(100'000);
  for (size_t k = 0; k < ids.size(); ++k) ids[k] = static_cast<int64_t>(k % 3 * 4999);
  const int64_t offsets[] = {0, static_cast<int64_t>(ids.size())};
  PoolArgs args;
  args.ids = ids.data();
  args.offsets = offsets;
  args.num_bags = 1;
  ExpectPoolsAsReference(table.view, args);
}

TEST(PackedPoolKernels, AllowNoBagsAndNoRows) {
  const int64_t offsets[] = {0, 0};
  PoolArgs args;
  args.offsets = offsets;
  const PackedRows no_rows = {.cols = 64};
  PoolPackedRows(no_rows, args, MutableTableView());
  DequantizePackedRows(no_rows, nullptr, 0, MutableTableView());
  args.num_bags = 1;
  ExpectPoolsAsReference(no_rows, args);  // one empty bag
}

}  // namespace
}  // namespace eqat::quant::kernels
