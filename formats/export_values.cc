// The values of tables as they are looked up: .npz, one array for each, and the text of word vectors (.vec), one table.
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "formats/export_job.h"
#include "formats/vocabulary.h"
#include "io/npy.h"
#include "io/word_vectors.h"

namespace eqat::formats {
namespace {

void ReportValues(const SourceTable& table, std::string to, ExportJob& job) {
  const int64_t values = table.rows() * table.cols();
  job.Report(table, std::move(to), 4 * values, {.values = values});
}

}  // namespace

absl::Status ExportNpz(ExportJob& job) {
  std::vector<std::vector<float>> values;
  std::vector<io::TensorToWrite> arrays;
  values.reserve(job.tables.size());
  for (const SourceTable& table : job.tables) {
    values.emplace_back(table.rows() * table.cols());
    table.Read(0, table.rows(), MutableTableView(values.back().data(), table.rows(), table.cols()));
    arrays.push_back({table.name(),
                      io::TensorDtype::kF32,
                      {table.rows(), table.cols()},
                      io::AsBytes(absl::MakeConstSpan(values.back()))});
    ReportValues(table, "float32 array", job);
  }
  return io::WriteNpz(job.path, arrays);
}

absl::Status ExportVec(ExportJob& job) {
  if (job.tables.size() != 1) {
    return InvalidArgument("model", "a .vec file holds one table", absl::StrCat(job.tables.size(), " tables"),
                           "one, chosen with --module");
  }
  const SourceTable& table = job.tables[0];
  std::optional<Vocabulary> vocabulary;
  int64_t rows = table.rows();
  if (!job.options.words.empty()) {
    EQAT_ASSIGN_OR_RETURN(vocabulary, Vocabulary::Open(job.options.words));
    rows = static_cast<int64_t>(vocabulary->words().size());
  }
  if (rows > table.rows()) {
    return InvalidArgument(job.options.words, "there are more words than rows", absl::StrCat(rows),
                           absl::StrCat("at most ", table.rows()));
  }
  std::string number;
  const auto word = [&](int64_t row) -> absl::StatusOr<std::string_view> {
    if (vocabulary.has_value()) return vocabulary->words()[row];
    number = absl::StrCat(row);
    return number;
  };
  const auto read = [&](int64_t begin, int64_t end, float* out) {
    table.Read(begin, end, MutableTableView(out, end - begin, table.cols()));
    return absl::OkStatus();
  };
  EQAT_RETURN_IF_ERROR(io::WriteVectorText(job.path, rows, table.cols(), word, read));
  ReportValues(table, absl::StrCat("text of ", rows, " rows"), job);
  if (rows < table.rows()) {
    job.report.left_out.emplace_back(absl::StrCat("rows ", rows, " to ", table.rows() - 1, " of ", table.name()),
                                     "they have no word");
  }
  return absl::OkStatus();
}

}  // namespace eqat::formats
