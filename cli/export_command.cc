#include "cli/export_command.h"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/path_checks.h"
#include "cli/text_table.h"
#include "core/status_macros.h"
#include "formats/export.h"
#include "formats/format_list.h"
#include "model/model_directory.h"

namespace eqat::cli {
namespace {

struct ExportArguments {
  std::string model, format, out;
  formats::ExportOptions options;
};

std::string ReportText(const formats::ExportReport& report) {
  using Align = TextTable::Align;
  TextTable table({{"module"},
                   {"rows", Align::kRight},
                   {"columns", Align::kRight},
                   {"from"},
                   {"to"},
                   {"size", Align::kRight},
                   {"values changed", Align::kRight},
                   {"largest change", Align::kRight},
                   {"root mean square", Align::kRight}});
  int64_t bytes = 0, differing = 0;
  for (const formats::ExportedTable& exported : report.tables) {
    const formats::ValueErrors& errors = exported.errors;
    const bool changed = errors.differing > 0;
    table.AddRow({exported.name, absl::StrCat(exported.rows), absl::StrCat(exported.cols), exported.from, exported.to,
                  SizeText(exported.bytes), absl::StrCat(errors.differing),
                  changed ? absl::StrCat(errors.largest) : "0",
                  changed ? absl::StrCat(errors.root_mean_square()) : "0"});
    bytes += exported.bytes;
    differing += errors.differing;
  }
  table.AddRule();
  table.AddRow({"total", "", "", "", "", SizeText(bytes), absl::StrCat(differing), "", ""});
  std::string text = table.ToString();
  for (const auto& [module, reason] : report.left_out) {
    absl::StrAppend(&text, "left out: ", module, " (", reason, ")\n");
  }
  return text;
}

absl::StatusOr<std::string> RunExport(const ExportArguments& arguments) {
  if (!arguments.options.words.empty()) {
    EQAT_RETURN_IF_ERROR(CheckNotInput("--out", arguments.out, arguments.options.words));
  }
  EQAT_RETURN_IF_ERROR(CheckFileOut("--out", arguments.out, arguments.model));
  formats::ExportOptions options = arguments.options;
  const std::string vocabulary = absl::StrCat(arguments.model, "/", model::kVocabularyFile);
  if (arguments.format == "vec" && options.words.empty() && std::filesystem::exists(vocabulary)) {
    options.words = vocabulary;
  }
  EQAT_ASSIGN_OR_RETURN(model::Model model, model::LoadModel(arguments.model));
  EQAT_ASSIGN_OR_RETURN(const formats::ExportReport report,
                        formats::Export(std::move(model), arguments.format, arguments.out, options));
  return ReportText(report);
}

}  // namespace

Action DeclareExport(CLI::App& verb) {
  constexpr int64_t kMaxAlignment = 4096;
  auto arguments = std::make_shared<ExportArguments>();
  formats::ExportOptions& options = arguments->options;
  verb.add_option("MODEL", arguments->model, "Directory of a model; QAT tables are converted on the way")
      ->required()
      ->type_name("");
  verb.add_option("--format", arguments->format,
                  absl::StrCat("One of ", absl::StrJoin(formats::WritableFormats(), ", ")))
      ->required()
      ->type_name("FORMAT")
      ->check(CLI::IsMember(formats::WritableFormats()).description(""));
  verb.add_option("--out", arguments->out, "File to write")->required()->type_name("FILE");
  verb.add_option("--module", options.modules, "Export this table alone; may be given several times (default: all)")
      ->type_name("NAME");
  verb.add_flag("--requantize", options.requantize, "Accept a format that changes values; the changes are printed");
  verb.add_flag("--scale-bias-last", options.params_last, "fbgemm_half: scale and bias behind the codes of a row");
  verb.add_option("--row-alignment", options.row_alignment,
                  "fbgemm_half: pad rows to a multiple of N bytes (default: 1; FBGEMM on a GPU: 16)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, kMaxAlignment).description(""));
  verb.add_option(
          "--words", options.words,
          "vec: text file with the words of the first rows, one a line (default: MODEL/vocabulary.txt, or row numbers)")
      ->type_name("FILE");
  verb.footer(
      "The file computes, in the program it is made for, what the model's evaluation computes. Where the format "
      "cannot\n"
      "hold the model's values, the export is refused; --requantize accepts the change and prints it for each table.\n"
      "Better: name the format in the qconfig (\"deploy\": \"torch\") and train for exactly its arithmetic.\n"
      "\n"
      "Reads MODEL/model.json and MODEL/model.safetensors; writes one file, atomically. docs/formats.md describes it.\n"
      "Examples:\n"
      "  eqat export small_model --format safetensors --out tables.safetensors\n"
      "  eqat export trained_model --format torch_state_dict --out state.pt\n"
      "  eqat export small_model --format torch --out rows.safetensors --requantize\n"
      "  eqat export small_model --format gguf_q8_0 --out tables.gguf --requantize --module item");
  return [arguments](const CommonOptions&) { return RunExport(*arguments); };
}

}  // namespace eqat::cli
