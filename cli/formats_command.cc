#include "cli/formats_command.h"

#include <string>

#include "cli/text_table.h"
#include "formats/format_list.h"

namespace eqat::cli {
namespace {

std::string AccessText(formats::Access access) {
  switch (access) {
    case formats::Access::kRead:
      return "import";
    case formats::Access::kWrite:
      return "export";
    case formats::Access::kReadWrite:
      return "import, export";
  }
  return "";
}

std::string OrDash(std::string_view text) { return text.empty() ? "-" : std::string(text); }

std::string FormatsText() {
  TextTable table({{"format"}, {"direction"}, {"ending"}, {"recognised by"}, {"what it is"}});
  for (const formats::Format& format : formats::Formats()) {
    table.AddRow({std::string(format.name), AccessText(format.access), OrDash(format.ending),
                  OrDash(format.recognised_by), std::string(format.summary)});
  }
  return table.ToString();
}

}  // namespace

Action DeclareFormats(CLI::App& verb) {
  verb.footer(
      "Reads nothing and writes a table to standard output: a format's name for --format, whether it is imported or\n"
      "exported, how its files end, how `eqat import` recognises it when --format is not given, and what it holds.\n"
      "Examples:\n"
      "  eqat formats");
  return [](const CommonOptions&) -> absl::StatusOr<std::string> { return FormatsText(); };
}

}  // namespace eqat::cli
