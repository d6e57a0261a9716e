// A running error analysis of a graph: for every value how far a float32 evaluation, of the graph as it is or with its
// constants folded, can be from the exact one.
//
// With u = 2^-24 and g(n) = n u / (1 - n u): a Linear of K terms errs by at most g(K + K / 128 + 16) (sum |x w| + |b|)
// beside what its input's error becomes; an operation behind it by g(K + K / 128 + 16) times the sizes of its operands,
// which covers one rounding of the result as well as those of the folded weights and bias (model/freeze/
// linear_folding.h derives this). Errors of operands go through as |d result / d operand| * error.
#ifndef EQAT_TESTS_MODEL_FREEZE_ERROR_ANALYSIS_H_
#define EQAT_TESTS_MODEL_FREEZE_ERROR_ANALYSIS_H_

#include <vector>

#include "model/model.h"

namespace eqat::model {

// For each element of the output a bound of |float32 result - exact result|; infinity where it has none (a division by
// what may be 0, batch statistics).
std::vector<double> OutputErrorBounds(const Model& model, const Feed& feed);

}  // namespace eqat::model

#endif  // EQAT_TESTS_MODEL_FREEZE_ERROR_ANALYSIS_H_
