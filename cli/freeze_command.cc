#include "cli/freeze_command.h"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/graph_picture.h"
#include "cli/path_checks.h"
#include "cli/text_table.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "model/freeze/freeze.h"
#include "model/model_directory.h"
#include "train/checkpoint.h"

namespace eqat::cli {
namespace {

struct FreezeArguments {
  std::string model, out;
  std::vector<std::string> preserve;
  std::string numerics = "on", tables = "packed", dump_after;
};

const std::map<std::string, model::FrozenTables>& Tables() {
  static const auto* const tables = new std::map<std::string, model::FrozenTables>{
      {"packed", model::FrozenTables::kPacked}, {"float", model::FrozenTables::kFloat}};
  return *tables;
}

// A run that has not come to its end left a model that is still being trained.
absl::Status CheckNotInTraining(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const std::string directory, io::OpenDirectory(path));
  EQAT_ASSIGN_OR_RETURN(const std::optional<train::Checkpoint> checkpoint, train::ReadCheckpoint(directory));
  if (!checkpoint || checkpoint->progress.step >= checkpoint->identity.total_steps) return absl::OkStatus();
  return FailedPrecondition(
      path, "the model is in the middle of its training",
      absl::StrCat("step ", checkpoint->progress.step, " of ", checkpoint->identity.total_steps),
      "a finished run (`eqat train --resume` goes on), or a copy without trainer.json to freeze it as it is");
}

// What passes did, run by run; of the runs that found nothing, each pass's first alone.
std::string RunsText(const model::FreezeReport& report) {
  constexpr auto kRight = TextTable::Align::kRight;
  TextTable table(
      {{"pass"}, {"changes", kRight}, {"nodes", kRight}, {"after", kRight}, {"bytes", kRight}, {"after", kRight}});
  std::set<std::string> shown;
  for (const model::PassRun& run : report.runs) {
    if (!shown.insert(run.pass).second && run.changes == 0) continue;
    table.AddRow({run.pass, absl::StrCat(run.changes), absl::StrCat(run.nodes_before), absl::StrCat(run.nodes_after),
                  SizeText(run.bytes_before), SizeText(run.bytes_after)});
  }
  table.AddRule();
  const model::PassRun &first = report.runs.front(), &last = report.runs.back();
  table.AddRow({"total", "", absl::StrCat(first.nodes_before), absl::StrCat(last.nodes_after),
                SizeText(first.bytes_before), SizeText(last.bytes_after)});
  return table.ToString();
}

std::string BoundsText(const model::FreezeReport& report) {
  if (report.bounds.empty()) return "\nEvery output keeps every bit.\n";
  TextTable table({{"pass"}, {"node"}, {"its values move by at most"}});
  for (const model::FoldBound& bound : report.bounds) {
    table.AddRow({bound.pass, bound.node, absl::StrFormat("%.2g * max|x| + %.2g", bound.slope, bound.offset)});
  }
  return absl::StrCat("\n", table.ToString(), "\nx: the values that reach the Linear. Lines of one node add up.\n");
}

absl::StatusOr<std::string> RunFreeze(const FreezeArguments& arguments) {
  EQAT_RETURN_IF_ERROR(CheckModelOut(arguments.out, arguments.model));
  EQAT_ASSIGN_OR_RETURN(model::Model model, model::LoadModel(arguments.model));
  EQAT_RETURN_IF_ERROR(CheckNotInTraining(arguments.model));
  std::string dumps;
  model::FreezeOptions options;
  options.preserve = arguments.preserve;
  options.optimize_numerics = arguments.numerics == "on";
  options.tables = Tables().at(arguments.tables);
  options.after_pass = [&](const std::string& pass, const model::Graph& graph) {
    if (pass == arguments.dump_after) absl::StrAppend(&dumps, "after ", pass, ":\n", GraphText(graph), "\n");
  };
  EQAT_ASSIGN_OR_RETURN(const model::FrozenModel frozen, model::Freeze(std::move(model), options));
  EQAT_RETURN_IF_ERROR(model::SaveModel(frozen.model, arguments.out));
  return absl::StrCat(dumps, RunsText(frozen.report), BoundsText(frozen.report));
}

}  // namespace

Action DeclareFreeze(CLI::App& verb) {
  auto arguments = std::make_shared<FreezeArguments>();
  verb.add_option("MODEL", arguments->model, "Directory of a trained model")->required()->type_name("");
  verb.add_option("--out", arguments->out, "Directory to write")->required()->type_name("DIR");
  verb.add_option("--preserve", arguments->preserve,
                  "A module or tensor that stays as it is, to be replaced later (may be repeated)")
      ->type_name("NAME")
      ->allow_extra_args(false);
  verb.add_option("--optimize-numerics", arguments->numerics,
                  "Also fold constants into Linear layers, within bounds that are printed (default: on)")
      ->type_name("on|off")
      ->check(CLI::IsMember({"on", "off"}));
  verb.add_option("--tables", arguments->tables,
                  "What a qat table becomes: packed codes, or its fake-quantized values in float (default: packed)")
      ->type_name("packed|float")
      ->check(CLI::IsMember(Tables()));
  verb.add_option("--dump-after", arguments->dump_after, "Print the graph after each run of this pass")
      ->type_name("PASS")
      ->check(CLI::IsMember(model::FreezePasses()));
  verb.footer(absl::StrCat(
      "Turns a trained model into the smallest graph that computes the same: calls of nested models are inlined,\n"
      "parameters become constants, dropout goes, what is never read is dropped, and batch norm and arithmetic with\n"
      "constants are folded into the Linear before them. The outputs keep every bit with --optimize-numerics off, and\n"
      "stay within the bounds printed otherwise. A model in training mode (\"training\": true in model.json, or a\n"
      "trainer.json whose run has not ended) is refused. Freezing a frozen model changes nothing.\n"
      "\n"
      "Passes, in order: ",
      absl::StrJoin(model::FreezePasses(), ", "),
      "\n"
      "(docs/freeze.md describes them; `eqat inspect DIR --graph` shows the result).\n"
      "\n"
      "Reads MODEL/model.json, MODEL/model.safetensors and, if it is there, MODEL/trainer.json; writes the first two\n"
      "to --out.\n"
      "Examples:\n"
      "  eqat freeze trained_model --out frozen\n"
      "  eqat freeze trained_model --out frozen --optimize-numerics off --preserve top.2\n"
      "  eqat freeze trained_model --out frozen --dump-after peephole"));
  return [arguments](const CommonOptions&) { return RunFreeze(*arguments); };
}

}  // namespace eqat::cli
