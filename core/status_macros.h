// EQAT_RETURN_IF_ERROR and EQAT_ASSIGN_OR_RETURN, with the names of absl/status/status_macros.h, which the packaged
// Abseil lacks.
#ifndef EQAT_CORE_STATUS_MACROS_H_
#define EQAT_CORE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define EQAT_RETURN_IF_ERROR(expression)                                \
  do {                                                                  \
    if (::absl::Status eqat_status = (expression); !eqat_status.ok()) { \
      return eqat_status;                                               \
    }                                                                   \
  } while (false)

#define EQAT_STATUS_CONCAT_INNER(a, b) a##b
#define EQAT_STATUS_CONCAT(a, b) EQAT_STATUS_CONCAT_INNER(a, b)

// EQAT_ASSIGN_OR_RETURN(auto x, F()): `x` is moved out of the StatusOr, or its status is returned.
#define EQAT_ASSIGN_OR_RETURN(declaration, expression) \
  EQAT_ASSIGN_OR_RETURN_INNER(EQAT_STATUS_CONCAT(eqat_status_or_, __LINE__), declaration, expression)
#define EQAT_ASSIGN_OR_RETURN_INNER(name, declaration, expression) \
  auto name = (expression);                                        \
  if (!name.ok()) return std::move(name).status();                 \
  declaration = *std::move(name)

#endif  // EQAT_CORE_STATUS_MACROS_H_
