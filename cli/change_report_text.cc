#include "cli/change_report_text.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/text_table.h"
#include "core/error.h"

namespace eqat::cli {

std::string ChangeReportText(const model::ChangeReport& report, absl::string_view after_title) {
  using Align = TextTable::Align;
  TextTable table({{"module"},
                   {"type"},
                   {"rule"},
                   {"bits", Align::kRight},
                   {"before", Align::kRight},
                   {std::string(after_title), Align::kRight},
                   {"left as it is because"}});
  int64_t before = 0, after = 0, changed = 0;
  for (const model::ModuleChange& change : report) {
    const bool is_changed = change.type_before != change.type_after;
    table.AddRow({change.module,
                  is_changed ? absl::StrCat(change.type_before, " -> ", change.type_after) : change.type_before,
                  change.rule, absl::StrCat(change.bits), SizeText(change.bytes_before), SizeText(change.bytes_after),
                  change.reason});
    before += change.bytes_before;
    after += change.bytes_after;
    changed += is_changed ? 1 : 0;
  }
  table.AddRule();
  table.AddRow({"total", absl::StrCat(changed, " of ", report.size(), " modules changed"), "", "", SizeText(before),
                SizeText(after), ""});
  return table.ToString();
}

absl::Status AtQConfigFile(const std::string& path, const absl::Status& status) {
  return absl::StartsWith(status.message(), "/") ? AtPlace(path, status) : status;
}

}  // namespace eqat::cli
