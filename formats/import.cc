#include "formats/import.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "float_modules/embedding_options.h"
#include "formats/foreign_file.h"
#include "formats/format_list.h"
#include "formats/row_sink.h"
#include "formats/vocabulary.h"
#include "io/excerpt.h"
#include "io/fasttext_file.h"
#include "io/file.h"
#include "io/json_reader.h"
#include "io/pytorch_file.h"
#include "io/safetensors.h"
#include "io/word_vectors.h"
#include "io/zip_archive.h"
#include "model/model_directory.h"
#include "model/names.h"
#include "qat/embedding_bag.h"
#include "quant/choose_qparams.h"
#include "quant/kernels/pack_kernels.h"
#include "quant/types/dtype.h"

namespace eqat::formats {
namespace {

constexpr size_t kListed = 20;  // tables that a message lists
constexpr std::string_view kWeight = ".weight";

// "item.weight F32 [6, 4], ..."
std::string Listed(const ForeignFile& file) {
  std::vector<std::string> items;
  for (const ForeignTable& table : file.tables) {
    if (items.size() == kListed) {
      items.push_back(absl::StrCat("and ", file.tables.size() - kListed, " more"));
      break;
    }
    items.push_back(absl::StrCat(io::Excerpt(table.name, 100), " ", table.dtype, " ", ShapeText(table.shape)));
  }
  return items.empty() ? "no tensor at all" : absl::StrJoin(items, ", ");
}

absl::Status NoTable(const std::string& path, const ForeignTable& table) {
  return InvalidArgument(absl::StrCat(path, ": ", io::Excerpt(table.name)), "is no table",
                         absl::StrCat(table.dtype, " ", ShapeText(table.shape)),
                         "two dimensions of F32, F16, BF16 or F64, with columns");
}

// Positions of the tables that the options ask for, each once, in the order of the file.
absl::StatusOr<std::vector<size_t>> Choose(const ForeignFile& file, const std::vector<std::string>& wanted,
                                           const std::string& path) {
  std::set<size_t> chosen;
  if (wanted.empty()) {
    for (size_t i = 0; i < file.tables.size(); ++i) {
      if (file.tables[i].is_default) chosen.insert(i);
    }
    if (chosen.empty()) {
      return InvalidArgument(path, "does not say which table is meant; choose with --table NAME (or a pattern with *)",
                             Listed(file), "one table");
    }
  }
  for (const std::string& want : wanted) {
    const bool is_pattern = want.find_first_of("*?") != want.npos;
    bool found = false;
    for (size_t i = 0; i < file.tables.size(); ++i) {
      const ForeignTable& table = file.tables[i];
      if (is_pattern ? fnmatch(want.c_str(), table.name.c_str(), FNM_NOESCAPE) != 0 : want != table.name) continue;
      if (table.rows == nullptr && is_pattern) continue;
      if (table.rows == nullptr) return NoTable(path, table);
      chosen.insert(i);
      found = true;
    }
    if (!found) return NotFound(path, absl::StrCat("holds no table ", want), Listed(file));
  }
  return std::vector<size_t>(chosen.begin(), chosen.end());
}

std::string ModuleNameOf(const std::string& table) {
  if (table == kWeight.substr(1)) return "embedding";
  const bool has_suffix = table.size() > kWeight.size() && std::string_view(table).ends_with(kWeight);
  return has_suffix ? table.substr(0, table.size() - kWeight.size()) : table;
}

absl::StatusOr<std::vector<ImportedTable>> NameModules(const ForeignFile& file, const std::vector<size_t>& chosen,
                                                       const ImportOptions& options, const std::string& path) {
  if (!options.module.empty() && chosen.size() > 1) {
    return InvalidArgument("--module", "names one module, but several tables are imported",
                           absl::StrCat(chosen.size(), " tables"), "one");
  }
  std::vector<ImportedTable> tables;
  for (const size_t index : chosen) {
    const ForeignTable& table = file.tables[index];
    if (table.shape[1] == 0) return NoTable(path, table);
    ImportedTable imported{.table = table.name,
                           .dtype = table.dtype,
                           .module = options.module.empty() ? ModuleNameOf(table.name) : options.module,
                           .rows = table.shape[0],
                           .cols = table.shape[1]};
    if (!model::IsValidName(imported.module)) {
      return InvalidArgument(absl::StrCat(path, ": ", io::Excerpt(table.name)),
                             "a module cannot be called so; name it with --module", io::Excerpt(imported.module),
                             model::kNameRule);
    }
    const bool is_taken = std::any_of(tables.begin(), tables.end(),
                                      [&](const ImportedTable& other) { return other.module == imported.module; });
    if (is_taken) return InvalidArgument(path, "two tables would become one module", imported.module);
    tables.push_back(std::move(imported));
  }
  return tables;
}

std::string TypeOf(const ImportOptions& options) { return options.bag_mode ? "nn.EmbeddingBag" : "nn.Embedding"; }

// Gives each table the qconfig that the mapping has for it.
absl::Status ResolveQConfigs(const ImportOptions& options, std::vector<ImportedTable>& tables) {
  std::vector<std::pair<std::string, std::string>> modules;
  for (const ImportedTable& table : tables) modules.emplace_back(table.module, TypeOf(options));
  if (options.qconfig) {
    const std::vector<std::string> unmatched = options.qconfig->UnmatchedRules(modules);
    if (!unmatched.empty()) {
      return InvalidArgument("--qconfig", "a rule matches no imported module", absl::StrJoin(unmatched, ", "),
                             absl::StrJoin(modules, ", ", absl::PairFormatter(" of type ")));
    }
  }
  for (ImportedTable& table : tables) {
    table.bytes = table.rows * table.cols * static_cast<int64_t>(sizeof(float));
    if (options.qconfig) table.qconfig = options.qconfig->Resolve(table.module, TypeOf(options)).qconfig;
    if (!table.qconfig) continue;
    table.qconfig->weight.fake_quantize = true;  // an observer alone is enough
    EQAT_RETURN_IF_ERROR(
        AtPlace(table.module, qat::ValidateEmbeddingQConfig(*table.qconfig, TypeOf(options), table.cols)));
    table.bits = quant::TraitsOf(table.qconfig->weight.observer.dtype).bits;
    const quant::DeployTraits* const deploy = quant::DeployOf(table.qconfig->weight);
    const int64_t param_bytes = deploy == nullptr ? sizeof(quant::QParams) : deploy->ParamBytesOf(table.cols);
    table.bytes = table.rows * (quant::kernels::PackedRowBytes(table.cols, table.bits) + param_bytes);
  }
  return absl::OkStatus();
}

absl::StatusOr<io::Json> ModuleJson(const ImportedTable& table, const ImportOptions& options) {
  nn::EmbeddingBagOptions checked;
  checked.num_embeddings = table.rows;
  checked.embedding_dim = table.cols;
  checked.padding_idx = options.padding_idx;
  checked.mode = options.bag_mode.value_or(PoolMode::kMean);
  EQAT_RETURN_IF_ERROR(nn::Canonicalize(checked, table.module));
  io::Json json;
  json["type"] = absl::StrCat(table.qconfig ? "quantized." : "nn.", options.bag_mode ? "EmbeddingBag" : "Embedding");
  json["num_embeddings"] = table.rows;
  json["embedding_dim"] = table.cols;
  if (checked.padding_idx) json["padding_idx"] = *checked.padding_idx;
  if (options.bag_mode) json["mode"] = std::string(PoolModeName(*options.bag_mode));
  if (table.qconfig) {
    json["bits"] = table.bits;
    json["dtype"] = quant::TraitsOf(table.qconfig->weight.observer.dtype).name;
    const quant::DeployTraits* const deploy = quant::DeployOf(table.qconfig->weight);
    if (deploy != nullptr) json["deploy"] = deploy->name;
  }
  return json;
}

absl::StatusOr<io::Json> ModelJson(const std::vector<ImportedTable>& tables, const ImportOptions& options) {
  io::Json json;
  json["format"] = "eqat.model";
  json["version"] = 1;
  for (const ImportedTable& table : tables) {
    EQAT_ASSIGN_OR_RETURN(json["modules"][table.module], ModuleJson(table, options));
  }
  return json;
}

// Moves the rows of the chosen tables into the files of a model directory.
class Transfer {
 public:
  Transfer(const std::string& path, int64_t buffer_bytes, ImportProgress progress)
      : path_(path), buffer_bytes_(buffer_bytes), progress_(progress) {}

  absl::Status Run(const ForeignFile& file, const std::vector<size_t>& chosen, const std::vector<ImportedTable>& tables,
                   io::AtomicDirectoryWriter& directory) {
    std::vector<io::SafetensorsStream::Tensor> tensors;
    std::vector<std::unique_ptr<RowSink>> sinks;
    for (const ImportedTable& table : tables) {
      EQAT_ASSIGN_OR_RETURN(sinks.emplace_back(), MakeRowSink(table.module, table.rows, table.cols, table.qconfig));
      for (io::SafetensorsStream::Tensor& tensor : sinks.back()->tensors()) tensors.push_back(std::move(tensor));
      total_rows_ += table.rows;
    }
    EQAT_ASSIGN_OR_RETURN(out_, io::SafetensorsStream::Create(directory.PathOf(model::kModelTensors),
                                                              std::move(tensors), model::ModelTensorsMetadata()));
    for (size_t i = 0; i < tables.size(); ++i) {
      EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<io::RowSource> rows, file.tables[chosen[i]].rows());
      EQAT_RETURN_IF_ERROR(MoveTable(*rows, tables[i], *sinks[i], directory));
    }
    if (words_ != nullptr) EQAT_RETURN_IF_ERROR(words_->Commit());
    return out_->Commit();
  }

  int64_t words() const { return word_count_; }

 private:
  absl::Status MoveTable(io::RowSource& rows, const ImportedTable& table, RowSink& sink,
                         io::AtomicDirectoryWriter& directory) {
    const int64_t block =
        std::clamp<int64_t>(buffer_bytes_ / sink.buffered_row_bytes(), 1, std::max<int64_t>(table.rows, 1));
    std::vector<float> values(block * table.cols);
    const bool may_have_words = word_count_ == 0;
    for (int64_t begin = 0; begin < table.rows; begin += block) {
      const int64_t count = std::min(block, table.rows - begin);
      std::string words;
      EQAT_RETURN_IF_ERROR(rows.Read(count, values.data(), words));
      EQAT_RETURN_IF_ERROR(io::CheckFiniteRows(absl::StrCat(path_, ": ", io::Excerpt(table.table)), begin, count,
                                               table.cols, values.data()));
      EQAT_RETURN_IF_ERROR(AtPlace(absl::StrCat(path_, ": ", io::Excerpt(table.table)),
                                   sink.Write(begin, TableView(values.data(), count, table.cols), *out_)));
      if (may_have_words) EQAT_RETURN_IF_ERROR(WriteWords(words, directory));
      done_rows_ += count;
      EQAT_RETURN_IF_ERROR(progress_(table.table, done_rows_, total_rows_));
    }
    return rows.Finish();
  }

  absl::Status WriteWords(const std::string& words, io::AtomicDirectoryWriter& directory) {
    if (words.empty()) return absl::OkStatus();
    if (words_ == nullptr) {
      EQAT_ASSIGN_OR_RETURN(words_, io::AtomicFileWriter::Create(directory.PathOf(model::kVocabularyFile)));
    }
    word_count_ += std::count(words.begin(), words.end(), '\n');
    return words_->Write(absl::MakeConstSpan(words));
  }

  const std::string& path_;
  int64_t buffer_bytes_;
  ImportProgress progress_;
  std::unique_ptr<io::SafetensorsStream> out_;
  std::unique_ptr<io::AtomicFileWriter> words_;  // of the first table that has some
  int64_t word_count_ = 0;
  int64_t done_rows_ = 0;
  int64_t total_rows_ = 0;
};

// Whether the file begins as a safetensors file does.
bool LooksLikeSafetensors(std::string_view bytes) {
  uint64_t length = 0;
  if (bytes.size() <= sizeof(length)) return false;
  std::memcpy(&length, bytes.data(), sizeof(length));
  return bytes[sizeof(length)] == '{' && length <= bytes.size() - sizeof(length);
}

}  // namespace

absl::StatusOr<std::string> RecogniseFormat(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const std::shared_ptr<io::MappedFile> file, io::MappedFile::Open(path));
  const std::string_view bytes(file->data(), file->size());
  if (bytes.starts_with("\x93NUMPY")) return "npy";
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("PK\x05\x06")) {
    EQAT_ASSIGN_OR_RETURN(const std::shared_ptr<const io::ZipArchive> archive, io::ZipArchive::Open(path));
    return io::PyTorchFile::IsOne(*archive) ? "torch_state_dict" : "npz";
  }
  int32_t magic = 0;
  if (bytes.size() >= sizeof(magic)) std::memcpy(&magic, bytes.data(), sizeof(magic));
  if (magic == io::kFastTextMagic) return "fasttext";
  if (LooksLikeSafetensors(bytes)) return "safetensors";
  if (bytes.starts_with("\x80\x02")) {
    return InvalidArgument(path, "is a bare pickle, which could run anything and is never read", "",
                           "a file that PyTorch 1.6 or later wrote with torch.save(model.state_dict(), FILE)");
  }
  EQAT_ASSIGN_OR_RETURN(const io::VectorFileKind kind, io::GuessVectorFile(path));
  switch (kind) {
    case io::VectorFileKind::kTextWithCounts:
      return "vec";
    case io::VectorFileKind::kTextWithoutCounts:
      return "glove";
    case io::VectorFileKind::kBinary:
      return "word2vec";
    case io::VectorFileKind::kUnknown:
      break;
  }
  return InvalidArgument(path, "its format is not recognised; say it with --format", "",
                         absl::StrJoin(ReadableFormats(), ", "));
}

absl::StatusOr<ImportReport> Import(const std::string& path, const std::string& out, const ImportOptions& options,
                                    ImportProgress progress) {
  ImportReport report{.format = options.format};
  if (report.format.empty()) {
    EQAT_ASSIGN_OR_RETURN(report.format, RecogniseFormat(path));
  }
  EQAT_ASSIGN_OR_RETURN(const ForeignFile file, OpenForeignFile(report.format, path));
  EQAT_ASSIGN_OR_RETURN(const std::vector<size_t> chosen, Choose(file, options.tables, path));
  EQAT_ASSIGN_OR_RETURN(report.tables, NameModules(file, chosen, options, path));
  EQAT_RETURN_IF_ERROR(ResolveQConfigs(options, report.tables));
  EQAT_ASSIGN_OR_RETURN(const io::Json json, ModelJson(report.tables, options));
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<io::AtomicDirectoryWriter> directory,
                        io::AtomicDirectoryWriter::Create(out, model::ModelDirectoryFiles()));
  Transfer transfer(path, options.buffer_bytes, progress);
  EQAT_RETURN_IF_ERROR(transfer.Run(file, chosen, report.tables, *directory));
  EQAT_RETURN_IF_ERROR(directory->WriteFile(model::kModelJson, io::JsonText(json)));
  report.notes = file.notes;
  report.words = transfer.words();
  if (report.words > 0) {
    EQAT_ASSIGN_OR_RETURN(const std::string note, RepeatedWordsNote(directory->PathOf(model::kVocabularyFile)));
    if (!note.empty()) report.notes.push_back(note);
  }
  for (size_t i = 0; i < file.tables.size(); ++i) {
    if (std::find(chosen.begin(), chosen.end(), i) == chosen.end()) report.left.push_back(file.tables[i].name);
  }
  EQAT_RETURN_IF_ERROR(directory->Commit());
  return report;
}

}  // namespace eqat::formats
