// Model directories: model.json (modules, options, graph) and model.safetensors (tensors named as torch's state_dict),
// read strictly and replaced atomically. Training state lies beside them in optimizer.safetensors and trainer.json, the
// training's own files. Layout: docs/model_directory.md.
//
// Errors name file, JSON pointer or tensor: missing, duplicate and extra tensors, wrong dtype or shape, unknown keys.
#ifndef EQAT_MODEL_MODEL_DIRECTORY_H_
#define EQAT_MODEL_MODEL_DIRECTORY_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "model/model.h"

namespace eqat::model {

inline constexpr char kModelJson[] = "model.json";
inline constexpr char kModelTensors[] = "model.safetensors";
// The words that the first rows of a table stand for, one a line, where an imported file had some.
inline constexpr char kVocabularyFile[] = "vocabulary.txt";

// Every file a model directory may hold.
std::vector<std::string> ModelDirectoryFiles();

// The metadata of model.safetensors.
std::map<std::string, std::string> ModelTensorsMetadata();

absl::StatusOr<Model> LoadModel(const std::string& path);

struct SaveOptions {
  io::TensorDtype weight_dtype = io::TensorDtype::kF32;  // F32, F16 or BF16, for float tables only
};

// Writes model.json and model.safetensors into an open directory writer (the caller adds its files and commits).
absl::Status WriteModel(const Model& model, const SaveOptions& options, io::AtomicDirectoryWriter& directory);
// WriteModel alone, committed.
absl::Status SaveModel(const Model& model, const std::string& path, const SaveOptions& options = {});

}  // namespace eqat::model

#endif  // EQAT_MODEL_MODEL_DIRECTORY_H_
