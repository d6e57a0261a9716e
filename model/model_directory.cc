#include "model/model_directory.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/json_reader.h"
#include "model/model_json.h"
#include "model/module_state.h"

namespace eqat::model {
namespace {

struct OpenedFiles {
  ModelSpec spec;
  std::string json_path;
  io::SafetensorsReader tensors;
  std::string vocabulary;
};

absl::StatusOr<OpenedFiles> OpenFiles(const std::string& directory) {
  const std::string json_path = absl::StrCat(directory, "/", kModelJson);
  EQAT_ASSIGN_OR_RETURN(const io::Json json, io::ReadJsonFile(json_path));
  EQAT_ASSIGN_OR_RETURN(ModelSpec spec, ParseModel(json, json_path));
  EQAT_ASSIGN_OR_RETURN(io::SafetensorsReader tensors,
                        io::SafetensorsReader::Open(absl::StrCat(directory, "/", kModelTensors)));
  absl::StatusOr<std::string> vocabulary = io::ReadFile(absl::StrCat(directory, "/", kVocabularyFile));
  if (absl::IsNotFound(vocabulary.status())) vocabulary = "";
  EQAT_RETURN_IF_ERROR(vocabulary.status());
  return OpenedFiles{std::move(spec), json_path, std::move(tensors), *std::move(vocabulary)};
}

// Both files of one state of the directory, also while another process replaces it.
absl::StatusOr<OpenedFiles> OpenConsistently(const std::string& path) {
  std::optional<OpenedFiles> files;
  EQAT_RETURN_IF_ERROR(io::ReadDirectory(path, [&files](const std::string& directory) -> absl::Status {
    EQAT_ASSIGN_OR_RETURN(files, OpenFiles(directory));
    return absl::OkStatus();
  }));
  return *std::move(files);
}

absl::Status MarkFrozen(std::optional<std::vector<std::string>> preserved, Model& model) {
  if (!preserved) return absl::OkStatus();
  for (const std::string& name : *preserved) {
    if (model.Find(name) == nullptr) return InvalidArgument("/preserved", "no module of this name", name);
  }
  model.MarkFrozen(*std::move(preserved));
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> ModelDirectoryFiles() {
  return {kModelJson, kModelTensors, "optimizer.safetensors", "trainer.json", "metrics.jsonl", kVocabularyFile};
}

std::map<std::string, std::string> ModelTensorsMetadata() { return {{"format", "eqat.model"}, {"version", "1"}}; }

absl::StatusOr<Model> LoadModel(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(OpenedFiles files, OpenConsistently(path));
  TensorSource source(std::move(files.tensors));
  Model model;
  for (auto& [name, spec] : files.spec.modules) {
    EQAT_ASSIGN_OR_RETURN(Module module, BuildModule(name, std::move(spec), source));
    EQAT_RETURN_IF_ERROR(model.AddModule(name, std::move(module)));
  }
  EQAT_RETURN_IF_ERROR(source.Finish());
  if (files.spec.training) model.Train();
  EQAT_RETURN_IF_ERROR(AtPlace(files.json_path, MarkFrozen(std::move(files.spec.preserved), model)));
  model.SetVocabulary(std::move(files.vocabulary));
  if (files.spec.graph) {
    if (absl::Status status = model.SetGraph(*std::move(files.spec.graph)); !status.ok()) {
      return AtPlace(files.json_path, status);
    }
  }
  return model;
}

absl::Status WriteModel(const Model& model, const SaveOptions& options, io::AtomicDirectoryWriter& directory) {
  TensorSink sink;
  for (const std::string& name : model.module_names()) {
    EQAT_RETURN_IF_ERROR(AppendState(name, *model.Find(name), options.weight_dtype, sink));
  }
  EQAT_RETURN_IF_ERROR(
      io::WriteSafetensors(directory.PathOf(kModelTensors), std::move(sink.tensors), ModelTensorsMetadata()));
  if (!model.vocabulary().empty()) EQAT_RETURN_IF_ERROR(directory.WriteFile(kVocabularyFile, model.vocabulary()));
  return directory.WriteFile(kModelJson, io::JsonText(ToJson(model)));
}

absl::Status SaveModel(const Model& model, const std::string& path, const SaveOptions& options) {
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<io::AtomicDirectoryWriter> directory,
                        io::AtomicDirectoryWriter::Create(path, ModelDirectoryFiles()));
  EQAT_RETURN_IF_ERROR(WriteModel(model, options, *directory));
  return directory->Commit();
}

}  // namespace eqat::model
