// ForEachSimdTarget: runs a test once on every SIMD target that this build contains and this processor has.
#ifndef EQAT_TESTS_SUPPORT_SIMD_TARGETS_H_
#define EQAT_TESTS_SUPPORT_SIMD_TARGETS_H_

#include <cstdint>

#include "gtest/gtest.h"
#include "hwy/highway.h"

namespace eqat::testing {

// 0 gives the choice back to the processor.
inline void UseSimdTargets(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

template <typename Body>
void ForEachSimdTarget(const Body& body) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    UseSimdTargets(target);
    body();
  }
  UseSimdTargets(0);
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_SUPPORT_SIMD_TARGETS_H_
