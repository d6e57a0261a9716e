#include "core/error.h"

#include "absl/strings/str_cat.h"

namespace eqat {

std::string ErrorText(absl::string_view where, absl::string_view what, absl::string_view got,
                      absl::string_view expected) {
  std::string text = where.empty() ? std::string(what) : absl::StrCat(where, ": ", what);
  if (got.empty() && expected.empty()) return text;
  absl::StrAppend(&text, " (");
  if (!got.empty()) absl::StrAppend(&text, "got ", got);
  if (!got.empty() && !expected.empty()) absl::StrAppend(&text, ", ");
  if (!expected.empty()) absl::StrAppend(&text, "expected ", expected);
  absl::StrAppend(&text, ")");
  return text;
}

absl::Status InvalidArgument(absl::string_view where, absl::string_view what, absl::string_view got,
                             absl::string_view expected) {
  return absl::InvalidArgumentError(ErrorText(where, what, got, expected));
}

absl::Status OutOfRange(absl::string_view where, absl::string_view what, absl::string_view got,
                        absl::string_view expected) {
  return absl::OutOfRangeError(ErrorText(where, what, got, expected));
}

absl::Status FailedPrecondition(absl::string_view where, absl::string_view what, absl::string_view got,
                                absl::string_view expected) {
  return absl::FailedPreconditionError(ErrorText(where, what, got, expected));
}

absl::Status NotFound(absl::string_view where, absl::string_view what, absl::string_view got,
                      absl::string_view expected) {
  return absl::NotFoundError(ErrorText(where, what, got, expected));
}

absl::Status DataLoss(absl::string_view where, absl::string_view what, absl::string_view got,
                      absl::string_view expected) {
  return absl::DataLossError(ErrorText(where, what, got, expected));
}

absl::Status ResourceExhausted(absl::string_view where, absl::string_view what, absl::string_view got,
                               absl::string_view expected) {
  return absl::ResourceExhaustedError(ErrorText(where, what, got, expected));
}

absl::Status Unimplemented(absl::string_view where, absl::string_view what, absl::string_view got,
                           absl::string_view expected) {
  return absl::UnimplementedError(ErrorText(where, what, got, expected));
}

absl::Status AtPlace(absl::string_view place, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(place, ": ", status.message()));
}

}  // namespace eqat
