// What the passes that change Linear modules share: whose output only one kind of node reads, how scale and shift go
// into weight and bias, and how far that moves results.
//
// Bound. With u = 2^-24 and g(n) = n u / (1 - n u), a float32 sum of K products and a bias, in any order and with or
// without fused products, is within g(K + K / 128 + 2) (sum |x_i w_i| + |b|) of the exact one (Higham 2002,
// section 3.1; sums are cut into stretches of at least 128 terms, whose results are added once more). What follows it,
// scale and shift, rounds at most 6 times, and each folded weight and bias is rounded once or twice. So, with n = K + K
// / 128 + 16, both the original and the folded form are within
//   g(n) (|scale| (sum |x_i w_i| + |b| + |pre|) + |post|)
// of the exact result, where pre is what is subtracted before scaling and post what is added after it: they differ by
// at most twice that. Underflow adds at most 2^-149 for each operation.
#ifndef EQAT_MODEL_FREEZE_LINEAR_FOLDING_H_
#define EQAT_MODEL_FREEZE_LINEAR_FOLDING_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/freeze/workspace.h"

namespace eqat::model {

// A call of a Linear and the only node that reads its value.
struct LinearReader {
  size_t linear = 0;
  size_t reader = 0;
};

// Every free Linear, by module name, with all its calls, if each of them has exactly one reader: only then can the
// module change for all of them alike.
std::map<std::string, std::vector<LinearReader>> LinearsWithOneReader(const Workspace& workspace);

// y = scale * (y - pre) + post for each output of a Linear, in double.
struct ColumnTransform {
  std::vector<double> scale, pre, post;  // [out_features]
  bool moves_bias = true;                // false: pre and post are 0
};

// Applies `transform` to the Linear `module` and adds the bound, which names node `node`. Changes nothing and returns
// false if a result is not finite.
bool FoldIntoLinear(Workspace& workspace, const std::string& module, const ColumnTransform& transform,
                    const std::string& pass, const std::string& node);

// How far two ways to compute a Linear with these parameters and `transform` after it can be apart.
FoldBound BoundOfFold(const nn::Linear& linear, const ColumnTransform& transform);
ColumnTransform IdentityTransform(int64_t columns);

// Removes nodes, each of which has the value of the node that it is paired with.
void ReplaceReaders(Workspace& workspace, const std::map<std::string, std::string>& replaced_by);

}  // namespace eqat::model

#endif  // EQAT_MODEL_FREEZE_LINEAR_FOLDING_H_
