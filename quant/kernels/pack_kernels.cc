#include "quant/kernels/pack_kernels.h"

#include <algorithm>

namespace eqat::quant::kernels {
namespace {

template <int kBits>
void PackWholeBytes(const int32_t* codes, size_t bytes, uint8_t* packed) {
  constexpr int kPerByte = 8 / kBits;
  constexpr uint32_t kMask = (1u << kBits) - 1;
  for (size_t b = 0; b < bytes; ++b) {
    uint32_t byte = 0;
    for (int k = 0; k < kPerByte; ++k) byte |= (static_cast<uint32_t>(codes[b * kPerByte + k]) & kMask) << (k * kBits);
    packed[b] = static_cast<uint8_t>(byte);
  }
}

template <int kBits>
void UnpackWholeBytes(const uint8_t* packed, size_t bytes, int32_t* codes) {
  constexpr int kPerByte = 8 / kBits;
  constexpr int kMask = (1 << kBits) - 1;
  for (size_t b = 0; b < bytes; ++b) {
    for (int k = 0; k < kPerByte; ++k) codes[b * kPerByte + k] = (packed[b] >> (k * kBits)) & kMask;
  }
}

// Eight codes fill `bits` whole bytes: the group is one little-endian number.
void PackGroups(const int32_t* codes, size_t groups, int bits, uint8_t* packed) {
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (size_t g = 0; g < groups; ++g) {
    uint64_t number = 0;
    for (int k = 0; k < 8; ++k) number |= (static_cast<uint64_t>(codes[g * 8 + k]) & mask) << (k * bits);
    for (int b = 0; b < bits; ++b) packed[g * bits + b] = static_cast<uint8_t>(number >> (8 * b));
  }
}

void UnpackGroups(const uint8_t* packed, size_t groups, int bits, int32_t* codes) {
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (size_t g = 0; g < groups; ++g) {
    uint64_t number = 0;
    for (int b = 0; b < bits; ++b) number |= static_cast<uint64_t>(packed[g * bits + b]) << (8 * b);
    for (int k = 0; k < 8; ++k) codes[g * 8 + k] = static_cast<int32_t>((number >> (k * bits)) & mask);
  }
}

}  // namespace

void PackRow(const int32_t* codes, size_t n, int bits, uint8_t* packed) {
  const size_t groups = n / 8;
  switch (bits) {
    case 8:
      PackWholeBytes<8>(codes, groups * 8, packed);
      break;
    case 4:
      PackWholeBytes<4>(codes, groups * 4, packed);
      break;
    case 2:
      PackWholeBytes<2>(codes, groups * 2, packed);
      break;
    default:
      PackGroups(codes, groups, bits, packed);
  }
  reference::PackRow(codes + groups * 8, n % 8, bits, packed + groups * bits);
}

void UnpackRow(const uint8_t* packed, size_t n, int bits, int32_t* codes) {
  const size_t groups = n / 8;
  switch (bits) {
    case 8:
      UnpackWholeBytes<8>(packed, groups * 8, codes);
      break;
    case 4:
      UnpackWholeBytes<4>(packed, groups * 4, codes);
      break;
    case 2:
      UnpackWholeBytes<2>(packed, groups * 2, codes);
      break;
    default:
      UnpackGroups(packed, groups, bits, codes);
  }
  reference::UnpackRow(packed + groups * bits, n % 8, bits, codes + groups * 8);
}

namespace reference {

void PackRow(const int32_t* codes, size_t n, int bits, uint8_t* packed) {
  std::fill_n(packed, PackedRowBytes(static_cast<int64_t>(n), bits), uint8_t{0});
  for (size_t position = 0; position < n * bits; ++position) {
    const uint32_t bit = (static_cast<uint32_t>(codes[position / bits]) >> (position % bits)) & 1;
    packed[position / 8] |= static_cast<uint8_t>(bit << (position % 8));
  }
}

void UnpackRow(const uint8_t* packed, size_t n, int bits, int32_t* codes) {
  std::fill_n(codes, n, 0);
  for (size_t position = 0; position < n * bits; ++position) {
    const int32_t bit = (packed[position / 8] >> (position % 8)) & 1;
    codes[position / bits] |= bit << (position % bits);
  }
}

}  // namespace reference
}  // namespace eqat::quant::kernels
