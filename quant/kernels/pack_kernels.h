// Packed codes: column j of a row holds bits [j * bits, (j + 1) * bits) of the row's bytes read as one little-endian
// number (low bits first), bits 1 to 8. Rows are padded to whole bytes with zero bits. For 8, 4 and 2 bits this is the
// order of torch's packed rows.
#ifndef EQAT_QUANT_KERNELS_PACK_KERNELS_H_
#define EQAT_QUANT_KERNELS_PACK_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace eqat::quant::kernels {

constexpr int64_t PackedRowBytes(int64_t cols, int bits) { return (cols * bits + 7) / 8; }

// packed: PackedRowBytes(n, bits) bytes. Stores the low `bits` bits of each code.
void PackRow(const int32_t* codes, size_t n, int bits, uint8_t* packed);
// Codes come back as 0 .. 2^bits - 1.
void UnpackRow(const uint8_t* packed, size_t n, int bits, int32_t* codes);

namespace reference {
void PackRow(const int32_t* codes, size_t n, int bits, uint8_t* packed);
void UnpackRow(const uint8_t* packed, size_t n, int bits, int32_t* codes);
}  // namespace reference

}  // namespace eqat::quant::kernels

#endif  // EQAT_QUANT_KERNELS_PACK_KERNELS_H_
