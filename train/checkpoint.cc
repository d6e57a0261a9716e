#include "train/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "model/model_directory.h"
#include "train/fingerprint.h"

namespace eqat::train {
namespace {

using io::Json;
using io::ObjectReader;

constexpr char kFormat[] = "eqat.trainer";
constexpr char kTrainerJson[] = "trainer.json";
constexpr char kMetrics[] = "metrics.jsonl";
constexpr char kOptimizer[] = "optimizer.safetensors";

std::string FileIn(const std::string& directory, const char* name) {
  return (std::filesystem::path(directory) / name).string();
}

std::string HexText(uint64_t value) { return absl::StrCat(absl::Hex(value, absl::kZeroPad16)); }

absl::StatusOr<uint64_t> ReadHex(ObjectReader& object, absl::string_view key) {
  EQAT_ASSIGN_OR_RETURN(const std::string text, object.String(key));
  uint64_t value = 0;
  if (text.size() == 16 && absl::SimpleHexAtoi(text, &value)) return value;
  return object.Error(key, "is no fingerprint", "16 hexadecimal digits");
}

Json TrainerJson(const RunIdentity& identity, const RunProgress& progress) {
  Json json;
  json["format"] = kFormat;
  json["version"] = 1;
  json["step"] = progress.step;
  json["total_steps"] = identity.total_steps;
  json["config"] = identity.config;
  json["data"] = {{"fingerprint", HexText(identity.data_fingerprint)},
                  {"rows", identity.data_rows},
                  {"skipped_lines", identity.skipped_lines}};
  json["model"] = {{"fingerprint", HexText(identity.model_fingerprint)}};
  json["loss"] = {{"sum", progress.loss_sum}, {"count", progress.loss_count}};
  if (progress.last_loss) json["loss"]["last"] = *progress.last_loss;
  json["metrics_lines"] = progress.metrics_lines;
  return json;
}

absl::Status ReadData(ObjectReader& parent, RunIdentity& identity) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, parent.Object("data"));
  EQAT_ASSIGN_OR_RETURN(ObjectReader data, ObjectReader::Of(*json, parent.file(), parent.PointerTo("data")));
  EQAT_ASSIGN_OR_RETURN(identity.data_fingerprint, ReadHex(data, "fingerprint"));
  EQAT_ASSIGN_OR_RETURN(identity.data_rows, data.Int("rows", {.minimum = 1}));
  EQAT_ASSIGN_OR_RETURN(identity.skipped_lines, data.Int("skipped_lines", {.minimum = 0}));
  return data.Finish();
}

absl::Status ReadModelFingerprint(ObjectReader& parent, RunIdentity& identity) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, parent.Object("model"));
  EQAT_ASSIGN_OR_RETURN(ObjectReader model, ObjectReader::Of(*json, parent.file(), parent.PointerTo("model")));
  EQAT_ASSIGN_OR_RETURN(identity.model_fingerprint, ReadHex(model, "fingerprint"));
  return model.Finish();
}

absl::Status ReadLoss(ObjectReader& parent, RunProgress& progress) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, parent.Object("loss"));
  EQAT_ASSIGN_OR_RETURN(ObjectReader loss, ObjectReader::Of(*json, parent.file(), parent.PointerTo("loss")));
  EQAT_ASSIGN_OR_RETURN(progress.loss_sum, loss.Double("sum"));
  EQAT_ASSIGN_OR_RETURN(progress.loss_count, loss.Int("count", {.minimum = 0}));
  EQAT_ASSIGN_OR_RETURN(progress.last_loss, loss.OptionalDouble("last"));
  return loss.Finish();
}

absl::StatusOr<Checkpoint> ParseTrainerJson(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const Json json, io::ReadJsonFile(path));
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, path, ""));
  EQAT_RETURN_IF_ERROR(object.Choice("format", {kFormat}).status());
  EQAT_RETURN_IF_ERROR(object.Int("version", {.minimum = 1, .maximum = 1}).status());
  Checkpoint checkpoint;
  RunIdentity& identity = checkpoint.identity;
  EQAT_ASSIGN_OR_RETURN(identity.total_steps, object.Int("total_steps", {.minimum = 1}));
  EQAT_ASSIGN_OR_RETURN(checkpoint.progress.step, object.Int("step", {.minimum = 0, .maximum = identity.total_steps}));
  EQAT_ASSIGN_OR_RETURN(const Json* config, object.Object("config"));
  identity.config = *config;
  EQAT_RETURN_IF_ERROR(ReadData(object, identity));
  EQAT_RETURN_IF_ERROR(ReadModelFingerprint(object, identity));
  EQAT_RETURN_IF_ERROR(ReadLoss(object, checkpoint.progress));
  EQAT_ASSIGN_OR_RETURN(checkpoint.progress.metrics_lines, object.Int("metrics_lines", {.minimum = 0}));
  EQAT_RETURN_IF_ERROR(object.Finish());
  return checkpoint;
}

// The first member of `saved` or `now` that differs, for a message.
std::string DifferingKey(const Json& saved, const Json& now) {
  for (const auto& [key, value] : saved.items()) {
    if (!now.contains(key) || now.at(key) != value) return key;
  }
  for (const auto& [key, value] : now.items()) {
    if (!saved.contains(key)) return key;
  }
  return "";
}

std::string MemberText(const Json& json, const std::string& key) {
  return json.contains(key) ? io::JsonExcerpt(json.at(key)) : "nothing";
}

}  // namespace

absl::Status WriteOptimizer(const Optimizer& optimizer, const std::string& path) {
  const std::vector<Optimizer::StateTensor> state = optimizer.State();
  std::vector<io::TensorToWrite> tensors;
  for (const Optimizer::StateTensor& tensor : state) {
    tensors.push_back({tensor.name, io::TensorDtype::kF32, tensor.shape, io::AsBytes(tensor.values)});
  }
  return io::WriteSafetensors(
      path, std::move(tensors),
      {{"format", "eqat.optimizer"}, {"version", "1"}, {"type", std::string(OptimizerName(optimizer.config().kind))}});
}

absl::Status WriteCheckpoint(const std::string& path, const model::Model& model, const Optimizer& optimizer,
                             const RunIdentity& identity, const RunProgress& progress) {
  EQAT_ASSIGN_OR_RETURN(std::unique_ptr<io::AtomicDirectoryWriter> directory,
                        io::AtomicDirectoryWriter::Create(path, model::ModelDirectoryFiles()));
  EQAT_RETURN_IF_ERROR(model::WriteModel(model, {}, *directory));
  EQAT_RETURN_IF_ERROR(WriteOptimizer(optimizer, directory->PathOf(kOptimizer)));
  EQAT_RETURN_IF_ERROR(directory->WriteFile(kMetrics, progress.metrics));
  EQAT_RETURN_IF_ERROR(directory->WriteFile(kTrainerJson, io::JsonText(TrainerJson(identity, progress))));
  return directory->Commit();
}

absl::StatusOr<std::optional<Checkpoint>> ReadCheckpoint(const std::string& directory) {
  const std::string path = FileIn(directory, kTrainerJson);
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return std::nullopt;
  EQAT_ASSIGN_OR_RETURN(Checkpoint checkpoint, ParseTrainerJson(path));
  RunProgress& progress = checkpoint.progress;
  EQAT_ASSIGN_OR_RETURN(progress.metrics, io::ReadFile(FileIn(directory, kMetrics)));
  const int64_t lines = std::count(progress.metrics.begin(), progress.metrics.end(), '\n');
  if (lines != progress.metrics_lines) {
    return DataLoss(FileIn(directory, kMetrics), "number of lines is not what trainer.json says", absl::StrCat(lines),
                    absl::StrCat(progress.metrics_lines));
  }
  return checkpoint;
}

absl::StatusOr<Optimizer> ReadOptimizer(const std::string& directory, const OptimizerConfig& config,
                                        model::Model& model) {
  EQAT_ASSIGN_OR_RETURN(Optimizer optimizer, Optimizer::Create(config, model.Parameters()));
  EQAT_ASSIGN_OR_RETURN(const io::SafetensorsReader reader, io::SafetensorsReader::Open(FileIn(directory, kOptimizer)));
  EQAT_RETURN_IF_ERROR(optimizer.SetState(reader));
  return optimizer;
}

absl::Status CheckSameRun(const std::string& directory, const RunIdentity& saved, const RunIdentity& now) {
  const std::string where = FileIn(directory, kTrainerJson);
  if (const std::string key = DifferingKey(saved.config, now.config); !key.empty()) {
    return InvalidArgument(where, absl::StrCat("checkpoint of a run with another config: ", key),
                           MemberText(now.config, key), MemberText(saved.config, key));
  }
  if (saved.data_fingerprint != now.data_fingerprint || saved.data_rows != now.data_rows ||
      saved.total_steps != now.total_steps) {
    return InvalidArgument(where, "checkpoint of a run on other data",
                           absl::StrCat(now.data_rows, " rows, fingerprint ", HexText(now.data_fingerprint)),
                           absl::StrCat(saved.data_rows, " rows, fingerprint ", HexText(saved.data_fingerprint)));
  }
  if (saved.model_fingerprint != now.model_fingerprint) {
    return InvalidArgument(where, "checkpoint of a run that started from another model", HexText(now.model_fingerprint),
                           HexText(saved.model_fingerprint));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ModelFingerprint(const std::string& directory) {
  Fingerprint fingerprint;
  for (const char* name : {"model.json", "model.safetensors"}) {
    EQAT_ASSIGN_OR_RETURN(const std::shared_ptr<io::MappedFile> file, io::MappedFile::Open(FileIn(directory, name)));
    fingerprint.AddBytes(absl::MakeConstSpan(file->data(), static_cast<size_t>(file->size())));
  }
  return fingerprint.value();
}

}  // namespace eqat::train
