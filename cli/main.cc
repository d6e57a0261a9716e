#include "cli/convert_command.h"
#include "cli/eval_command.h"
#include "cli/export_command.h"
#include "cli/formats_command.h"
#include "cli/freeze_command.h"
#include "cli/import_command.h"
#include "cli/inspect_command.h"
#include "cli/prepare_command.h"
#include "cli/program.h"
#include "cli/ptq_command.h"
#include "cli/run_command.h"
#include "cli/to_float_command.h"
#include "cli/train_command.h"

int main(int argc, char** argv) {
  using namespace eqat::cli;  // NOLINT: nothing but the table below
  static constexpr Verb kVerbs[] = {
      {"prepare", "Turn the tables of a float model into quantization-aware ones", DeclarePrepare},
      {"train", "Train a float or a quantization-aware model", DeclareTrain},
      {"eval", "Loss, accuracy and AUC of a model of any kind", DeclareEval},
      {"convert", "Turn quantization-aware tables into packed codes", DeclareConvert},
      {"freeze", "Turn a trained model into the smallest graph that computes the same", DeclareFreeze},
      {"ptq", "Quantize a trained float model in one step, for comparison", DeclarePtq},
      {"to-float", "Turn quantization-aware tables back into float ones", DeclareToFloat},
      {"run", "Send one batch through a model or one of its modules", DeclareRun},
      {"inspect", "Show what a model directory or a tensor file holds", DeclareInspect},
      {"import", "Turn tables of another program's file into a model directory", DeclareImport},
      {"export", "Write a model's tables for another program", DeclareExport},
      {"formats", "List the formats that can be imported and exported", DeclareFormats},
  };
  return RunProgram(kVerbs, argc, argv);
}
