// Tables as nodes of an ONNX graph: look-ups that read the rows of the batch, and the pooling of bags in eqat's order.
#ifndef EQAT_FORMATS_ONNX_TABLES_H_
#define EQAT_FORMATS_ONNX_TABLES_H_

#include <string>

#include "formats/source_table.h"
#include "io/onnx_graph.h"
#include "quant/quantized_table.h"

namespace eqat::formats {

// Adds look-ups of `ids` (I64 [n]); each returns the rows, float32 [n, cols]. Several look-ups of a table share its
// tensors.
//
// Portable: Gather of codes, scales and offsets, unpacked with BitShift and Mod, computed in float64 and rounded once.
// For tables in any arithmetic, and float tables. Opset 13.
std::string AddPortableLookup(const SourceTable& table, const std::string& ids, io::OnnxGraph& graph);
// DequantizeLinear of a table deployed as onnx_qdq. 8 bits: of the gathered rows, opset 13; 4 bits: of the whole table
// in UINT4, then Gather, opset 21.
std::string AddQdqLookup(const std::string& name, const quant::QuantizedTable& table, const std::string& ids,
                         io::OnnxGraph& graph);
// com.microsoft.GatherBlockQuantized of a table deployed as onnx_block.
std::string AddBlockLookup(const std::string& name, const quant::QuantizedTable& table, const std::string& ids,
                           io::OnnxGraph& graph);

// Pools `rows` [n, cols], which belong to `ids` [n], by `offsets` as the bag's options say: [bags, cols]. One turn of a
// Loop for each position in a bag, so that rows are added in their order.
std::string AddPooling(const SourceTable& table, const std::string& ids, const std::string& offsets,
                       const std::string& rows, io::OnnxGraph& graph);

// The offsets, for AddPooling, of bags that are the rows of the matrix `ids`, laid end to end.
std::string AddRectangleOffsets(const SourceTable& table, const std::string& ids, io::OnnxGraph& graph);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_ONNX_TABLES_H_
