#include "cli/import_command.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/byte_size.h"
#include "cli/interrupt.h"
#include "cli/path_checks.h"
#include "cli/progress_bar.h"
#include "cli/text_table.h"
#include "configs/qconfig_json.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "formats/format_list.h"
#include "formats/import.h"

namespace eqat::cli {
namespace {

constexpr char kBag[] = "nn.EmbeddingBag";
// What the memory limit is for besides rows: the program with its libraries and a text on its way. And rows are there
// as float32 and as they stand in the file, in up to 8 bytes a number.
constexpr int64_t kProgramBytes = int64_t{20} << 20;
constexpr int64_t kCopies = 3;

struct ImportArguments {
  std::string file, out, type = "nn.Embedding", mode, qconfig, memory_limit = "256M";
  formats::ImportOptions options;
};

absl::StatusOr<formats::ImportOptions> OptionsFrom(const ImportArguments& arguments) {
  formats::ImportOptions options = arguments.options;
  options.buffer_bytes = (*ParseByteSize(arguments.memory_limit) - kProgramBytes) / kCopies;
  if (!arguments.qconfig.empty()) {
    EQAT_ASSIGN_OR_RETURN(options.qconfig, configs::ReadQConfigMapping(arguments.qconfig));
  }
  if (arguments.type == kBag) {
    options.bag_mode = PoolMode::kMean;
    for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
      if (arguments.mode == std::string(PoolModeName(mode))) options.bag_mode = mode;
    }
  } else if (!arguments.mode.empty()) {
    return InvalidArgument("--mode", "is for bags alone", arguments.mode, "--type nn.EmbeddingBag");
  }
  return options;
}

std::string ReportText(const formats::ImportReport& report) {
  TextTable table({{"table"},
                   {"dtype"},
                   {"module"},
                   {"rows", TextTable::Align::kRight},
                   {"dim", TextTable::Align::kRight},
                   {"bits", TextTable::Align::kRight},
                   {"bytes", TextTable::Align::kRight}});
  for (const formats::ImportedTable& imported : report.tables) {
    table.AddRow({imported.table, imported.dtype, imported.module, absl::StrCat(imported.rows),
                  absl::StrCat(imported.cols), absl::StrCat(imported.bits), SizeText(imported.bytes)});
  }
  std::string text = absl::StrCat("format: ", report.format, "\n", table.ToString());
  if (report.words > 0) absl::StrAppend(&text, "words: ", report.words, ", in vocabulary.txt\n");
  if (!report.left.empty()) {
    absl::StrAppend(&text, "left in the file: ", report.left.size(), report.left.size() == 1 ? " tensor" : " tensors",
                    "\n");
  }
  for (const std::string& note : report.notes) absl::StrAppend(&text, "note: ", note, "\n");
  return text;
}

absl::StatusOr<std::string> RunImport(const ImportArguments& arguments, const CommonOptions& common) {
  EQAT_RETURN_IF_ERROR(CheckModelOut(arguments.out, arguments.file));
  EQAT_ASSIGN_OR_RETURN(const formats::ImportOptions options, OptionsFrom(arguments));
  const InterruptGuard interrupt;
  ProgressBar bar("importing", "rows", ProgressBar::StyleFor(common.progress));
  const auto progress = [&](const std::string& table, int64_t done, int64_t total) {
    bar.Update(done, total, table);
    return interrupt.interrupted() ? absl::CancelledError("import: interrupted; nothing was written")
                                   : absl::OkStatus();
  };
  EQAT_ASSIGN_OR_RETURN(const formats::ImportReport report,
                        formats::Import(arguments.file, arguments.out, options, progress));
  return ReportText(report);
}

}  // namespace

Action DeclareImport(CLI::App& verb) {
  auto arguments = std::make_shared<ImportArguments>();
  formats::ImportOptions& options = arguments->options;
  verb.add_option("FILE", arguments->file, "File of another program")->required()->type_name("");
  verb.add_option("--format", options.format, "Its format, see `eqat formats` (default: by its content)")
      ->type_name("F")
      ->check(CLI::IsMember(formats::ReadableFormats()).description(""));
  verb.add_option("--out", arguments->out, "Model directory to write")->required()->type_name("DIR");
  verb.add_option("--table", options.tables, "Table to take, or a pattern with * and ?; may be repeated")
      ->type_name("NAME")
      ->allow_extra_args(false);
  verb.add_option("--module", options.module, "Name of the module (default: the table's, without .weight)")
      ->type_name("NAME");
  verb.add_option("--type", arguments->type, "nn.Embedding (default) or nn.EmbeddingBag")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"nn.Embedding", kBag}).description(""));
  verb.add_option("--mode", arguments->mode, "Pooling of a bag: sum, mean (default) or max")
      ->type_name("MODE")
      ->check(CLI::IsMember({"sum", "mean", "max"}).description(""));
  verb.add_option("--padding-idx", options.padding_idx, "Row that stands for nothing")->type_name("N");
  verb.add_option("--qconfig", arguments->qconfig, "Quantize on the way, by the recipes of this JSON file")
      ->type_name("FILE");
  AddMemoryLimit(verb, arguments->memory_limit, "Memory to take, at least 32M (default: 256M)");
  verb.footer(
      "Takes tables out of safetensors, NumPy, PyTorch, word2vec, GloVe and fastText files. Numbers become float32 "
      "and\n"
      "must be finite; words become vocabulary.txt, one a line, the first being row 0. Tables larger than memory pass\n"
      "through a buffer; with --qconfig they are quantized on the way, with the codes that `eqat ptq` would give, and "
      "only\n"
      "codes are written. Nothing in a file is ever run: of a PyTorch file, tensors alone are read.\n"
      "\n"
      "Reads FILE; writes DIR/model.json, DIR/model.safetensors and, with words, DIR/vocabulary.txt.\n"
      "Examples:\n"
      "  eqat import wiki.vec --out words\n"
      "  eqat import model.pt --table '*.weight' --out tables\n"
      "  eqat import big.safetensors --qconfig configs/embedding_4bit.json --memory-limit 512M --out small\n"
      "  eqat import model.bin --format fasttext --type nn.EmbeddingBag --out subwords");
  return [arguments](const CommonOptions& common) { return RunImport(*arguments, common); };
}

}  // namespace eqat::cli
