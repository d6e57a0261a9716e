// The one shape of every error message: "WHERE: WHAT (got GOT, expected EXPECTED)".
//
//   return InvalidArgument("item.weight", "embedding_dim is negative", got = absl::StrCat(dim), "at least 0");
//
// `where` names what the user can find: a file with line or JSON pointer, a module or tensor, a position in a batch.
// Nested code prefixes its own place with AtPlace.
#ifndef EQAT_CORE_ERROR_H_
#define EQAT_CORE_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace eqat {

// "WHERE: WHAT (got GOT, expected EXPECTED)"; an empty `got` or `expected` leaves its part out.
std::string ErrorText(absl::string_view where, absl::string_view what, absl::string_view got = "",
                      absl::string_view expected = "");

// A caller's value, a malformed file or configuration.
absl::Status InvalidArgument(absl::string_view where, absl::string_view what, absl::string_view got = "",
                             absl::string_view expected = "");
// An index, offset or row outside its range.
absl::Status OutOfRange(absl::string_view where, absl::string_view what, absl::string_view got = "",
                        absl::string_view expected = "");
// Right call, wrong state: no qconfig, observer has seen nothing, NaN in a table.
absl::Status FailedPrecondition(absl::string_view where, absl::string_view what, absl::string_view got = "",
                                absl::string_view expected = "");
absl::Status NotFound(absl::string_view where, absl::string_view what, absl::string_view got = "",
                      absl::string_view expected = "");
// A file whose content contradicts itself.
absl::Status DataLoss(absl::string_view where, absl::string_view what, absl::string_view got = "",
                      absl::string_view expected = "");
// A size that overflows 64-bit arithmetic or that memory cannot hold.
absl::Status ResourceExhausted(absl::string_view where, absl::string_view what, absl::string_view got = "",
                               absl::string_view expected = "");
absl::Status Unimplemented(absl::string_view where, absl::string_view what, absl::string_view got = "",
                           absl::string_view expected = "");

// `status` with "place: " in front of its message; OK stays OK.
absl::Status AtPlace(absl::string_view place, const absl::Status& status);

}  // namespace eqat

#endif  // EQAT_CORE_ERROR_H_
