#include "train/data_spec.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/json_reader.h"

namespace eqat::train {
namespace {

using io::Json;
using io::ObjectReader;

constexpr int64_t kMaxBuckets = int64_t{1} << 48;

std::string Resolve(const std::string& spec_path, const std::string& file) {
  return (std::filesystem::path(spec_path).parent_path() / file).string();
}

absl::StatusOr<ColumnRef> ParseColumn(const Json& json, const std::string& file, const std::string& pointer,
                                      bool header) {
  if (json.is_string() && header) return ColumnRef(json.get<std::string>());
  if (json.is_number_integer() && json >= 0 && json <= std::numeric_limits<int32_t>::max()) {
    return ColumnRef(json.get<int64_t>());
  }
  return io::JsonError(file, pointer, "is no column", &json,
                       header ? "a name from the header line or a position from 0"
                              : "a position from 0 (the files have no header line)");
}

absl::StatusOr<ColumnRef> ReadColumn(ObjectReader& object, absl::string_view key, bool header) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, object.Any(key));
  return ParseColumn(*json, object.file(), object.PointerTo(key), header);
}

absl::StatusOr<std::string> ReadInput(ObjectReader& object) {
  EQAT_ASSIGN_OR_RETURN(std::string input, object.String("input"));
  if (input.empty()) return object.Error("input", "is empty", "the name of a placeholder of the model");
  return input;
}

absl::StatusOr<DenseSpec> ParseDense(const Json& json, const std::string& file, const std::string& pointer,
                                     bool header) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, file, pointer));
  DenseSpec spec;
  EQAT_ASSIGN_OR_RETURN(spec.input, ReadInput(object));
  EQAT_ASSIGN_OR_RETURN(const Json* columns, object.Array("columns"));
  if (columns->empty()) return object.Error("columns", "is empty", "at least one column");
  for (size_t i = 0; i < columns->size(); ++i) {
    EQAT_ASSIGN_OR_RETURN(ColumnRef column,
                          ParseColumn((*columns)[i], file, absl::StrCat(object.PointerTo("columns"), "/", i), header));
    spec.columns.push_back(std::move(column));
  }
  constexpr double kMaxFloat = std::numeric_limits<float>::max();
  EQAT_ASSIGN_OR_RETURN(std::optional<double> missing,
                        object.OptionalDouble("missing", {.minimum = -kMaxFloat, .maximum = kMaxFloat}));
  if (missing) spec.missing = static_cast<float>(*missing);
  EQAT_ASSIGN_OR_RETURN(std::optional<int> transform, object.OptionalChoice("transform", {"none", "log1p"}));
  spec.transform = static_cast<Transform>(transform.value_or(0));
  if (spec.transform == Transform::kLog1p && spec.missing && !(*spec.missing > -1.0f)) {
    return object.Error("missing", "has no log1p", "a number above -1");
  }
  EQAT_RETURN_IF_ERROR(object.Finish());
  return spec;
}

absl::Status ParseEncoding(ObjectReader& object, const std::string& spec_path, CategoricalSpec& spec) {
  EQAT_ASSIGN_OR_RETURN(int encoding, object.Choice("encoding", {"vocabulary", "hash", "hexadecimal", "integer"}));
  spec.encoding = static_cast<Encoding>(encoding);
  if (spec.encoding != Encoding::kVocabulary) {
    EQAT_ASSIGN_OR_RETURN(spec.buckets, object.Int("buckets", {.minimum = 1, .maximum = kMaxBuckets}));
    return absl::OkStatus();
  }
  EQAT_ASSIGN_OR_RETURN(std::string vocabulary, object.String("vocabulary"));
  if (vocabulary.empty()) return object.Error("vocabulary", "is empty", "a path");
  spec.vocabulary = Resolve(spec_path, vocabulary);
  EQAT_ASSIGN_OR_RETURN(const Json* unknown, object.OptionalAny("unknown"));
  if (unknown != nullptr && !unknown->is_null()) {
    EQAT_ASSIGN_OR_RETURN(spec.unknown, object.Int("unknown", {.minimum = 0, .maximum = kMaxBuckets}));
  }
  return absl::OkStatus();
}

absl::Status ParseMultiValued(ObjectReader& object, bool header, CategoricalSpec& spec) {
  EQAT_ASSIGN_OR_RETURN(std::optional<bool> multi_valued, object.OptionalBool("multi_valued"));
  spec.multi_valued = multi_valued.value_or(false);
  if (object.Has("weights_column")) {
    EQAT_ASSIGN_OR_RETURN(spec.weights_column, ReadColumn(object, "weights_column", header));
  }
  if (!spec.multi_valued) {
    EQAT_ASSIGN_OR_RETURN(spec.missing, object.OptionalInt("missing", {.minimum = 0, .maximum = kMaxBuckets}));
    return absl::OkStatus();
  }
  EQAT_ASSIGN_OR_RETURN(std::optional<std::string> separator, object.OptionalString("separator"));
  if (!separator) return absl::OkStatus();
  if (separator->size() != 1 || *separator == "\t" || *separator == "\n" || *separator == "\r") {
    return object.Error("separator", "is no separator", "one byte that is neither a tab nor a line end");
  }
  spec.separator = separator->front();
  return absl::OkStatus();
}

absl::StatusOr<CategoricalSpec> ParseCategorical(const Json& json, const std::string& file, const std::string& pointer,
                                                 bool header) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, file, pointer));
  CategoricalSpec spec;
  EQAT_ASSIGN_OR_RETURN(spec.input, ReadInput(object));
  EQAT_ASSIGN_OR_RETURN(spec.column, ReadColumn(object, "column", header));
  EQAT_RETURN_IF_ERROR(ParseEncoding(object, file, spec));
  EQAT_RETURN_IF_ERROR(ParseMultiValued(object, header, spec));
  EQAT_RETURN_IF_ERROR(object.Finish());
  return spec;
}

absl::Status ParseFiles(ObjectReader& object, DataSpec& spec) {
  EQAT_ASSIGN_OR_RETURN(const Json* files, object.Array("files"));
  if (files->empty()) return object.Error("files", "is empty", "at least one path");
  for (size_t i = 0; i < files->size(); ++i) {
    const Json& file = (*files)[i];
    if (!file.is_string() || file.get_ref<const std::string&>().empty()) {
      return io::JsonError(spec.path, absl::StrCat(object.PointerTo("files"), "/", i), "is no path", &file, "a string");
    }
    spec.files.push_back(Resolve(spec.path, file.get<std::string>()));
  }
  return absl::OkStatus();
}

absl::Status ParseLabel(ObjectReader& object, DataSpec& spec) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, object.Object("label"));
  EQAT_ASSIGN_OR_RETURN(ObjectReader label, ObjectReader::Of(*json, spec.path, object.PointerTo("label")));
  EQAT_ASSIGN_OR_RETURN(spec.label, ReadColumn(label, "column", spec.header));
  return label.Finish();
}

absl::Status ParseInputs(ObjectReader& object, DataSpec& spec) {
  EQAT_ASSIGN_OR_RETURN(const Json* dense, object.OptionalArray("dense"));
  for (size_t i = 0; dense != nullptr && i < dense->size(); ++i) {
    EQAT_ASSIGN_OR_RETURN(DenseSpec parsed, ParseDense((*dense)[i], spec.path,
                                                       absl::StrCat(object.PointerTo("dense"), "/", i), spec.header));
    spec.dense.push_back(std::move(parsed));
  }
  EQAT_ASSIGN_OR_RETURN(const Json* categorical, object.OptionalArray("categorical"));
  for (size_t i = 0; categorical != nullptr && i < categorical->size(); ++i) {
    EQAT_ASSIGN_OR_RETURN(CategoricalSpec parsed,
                          ParseCategorical((*categorical)[i], spec.path,
                                           absl::StrCat(object.PointerTo("categorical"), "/", i), spec.header));
    spec.categorical.push_back(std::move(parsed));
  }
  std::set<std::string> inputs;
  for (const DenseSpec& column : spec.dense) {
    if (!inputs.insert(column.input).second) return InvalidArgument(spec.path, "input is given twice", column.input);
  }
  for (const CategoricalSpec& column : spec.categorical) {
    if (!inputs.insert(column.input).second) return InvalidArgument(spec.path, "input is given twice", column.input);
  }
  if (inputs.empty()) return InvalidArgument(spec.path, "no inputs", "", "entries in \"dense\" or \"categorical\"");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DataSpec> ReadDataSpec(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(Json json, io::ReadJsonFile(path));
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, path, ""));
  DataSpec spec;
  spec.path = path;
  EQAT_RETURN_IF_ERROR(object.Int("version", {.minimum = 1, .maximum = 1}).status());
  EQAT_RETURN_IF_ERROR(ParseFiles(object, spec));
  EQAT_ASSIGN_OR_RETURN(std::optional<bool> header, object.OptionalBool("header"));
  spec.header = header.value_or(true);
  EQAT_ASSIGN_OR_RETURN(std::optional<int> bad_lines, object.OptionalChoice("bad_lines", {"error", "skip"}));
  spec.bad_lines = static_cast<BadLines>(bad_lines.value_or(0));
  EQAT_RETURN_IF_ERROR(ParseLabel(object, spec));
  EQAT_RETURN_IF_ERROR(ParseInputs(object, spec));
  EQAT_RETURN_IF_ERROR(object.Finish());
  return spec;
}

}  // namespace eqat::train
