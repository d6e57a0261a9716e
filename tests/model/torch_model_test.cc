// A model directory made by PyTorch (tests/golden/make_model_golden.py): what it computes, and that writing it gives
// PyTorch's tensors back.
#include <algorithm>
#include <cmath>

#include "io/safetensors.h"
#include "model/model.h"
#include "model/model_directory.h"
#include "model/prepare_qat.h"
#include "tests/model/small_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

const char kModel[] = EQAT_TEST_DATA "/golden/model";
const char kExpected[] = EQAT_TEST_DATA "/golden/model_expected.safetensors";

// Sums of at most a few dozen products of order 1, in another order than PyTorch's: errors of that many half ulps.
constexpr float kTorchTolerance = 2e-5f;

struct GoldenBatch {
  io::SafetensorsReader reader = *io::SafetensorsReader::Open(kExpected);
  std::map<std::string, std::vector<int64_t>> integers;
  std::vector<float> weights = *reader.ReadFloats("tag_ids.per_sample_weights");
  Feed feed;

  GoldenBatch() {
    for (const char* name : {"item_ids", "item_ids.offsets", "user_ids", "tag_ids", "tag_ids.offsets"}) {
      integers[name] = *reader.ReadIntegers(name);
    }
    feed.lookups["item_ids"] = Jagged(integers["item_ids"], integers["item_ids.offsets"]);
    feed.lookups["user_ids"] = Indices(integers["user_ids"]);
    feed.lookups["tag_ids"] = Jagged(integers["tag_ids"], integers["tag_ids.offsets"]);
    feed.lookups["tag_ids"].per_sample_weights = weights;
    feed.dense["dense"] = Read("dense");
  }
  Tensor Read(const std::string& name) const { return MakeTensor(reader.Find(name)->shape, *reader.ReadFloats(name)); }
};

void ExpectNear(absl::Span<const float> values, absl::Span<const float> expected) {
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], kTorchTolerance) << "element " << i;
}

TEST(TorchModel, ComputesWhatPyTorchComputes) {
  EQAT_ASSERT_OK_AND_ASSIGN(Model model, LoadModel(kModel));
  const GoldenBatch batch;
  std::shared_ptr<Tape> tape;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, model.ForwardEvaluation(batch.feed, &tape));
  EXPECT_EQ(output.shape, batch.Read("output").shape);
  ExpectNear(output.values, batch.Read("output").values);
  EXPECT_EQ(model.Evaluate(batch.feed)->values, output.values);
  EQAT_ASSERT_OK_AND_ASSIGN(const Gradients gradients, model.Backward(*tape, batch.Read("output_weight")));
  size_t compared = 0;
  for (const io::TensorInfo& tensor : batch.reader.tensors()) {
    if (tensor.name.rfind("grad.", 0) != 0) continue;
    SCOPED_TRACE(tensor.name);
    const auto it = gradients.find(tensor.name.substr(5));
    ASSERT_NE(it, gradients.end());
    std::vector<float> values = it->second.dense;
    if (it->second.rows) {
      const Table dense = *nn::ToDense(*it->second.rows, tensor.shape[0]);
      values.assign(dense.data(), dense.data() + dense.rows() * dense.cols());
    }
    ExpectNear(values, *batch.reader.ReadFloats(tensor.name));
    ++compared;
  }
  EXPECT_EQ(compared, gradients.size());
}

TEST(TorchModel, ConvertedItComputesTheSameBits) {
  EQAT_ASSERT_OK_AND_ASSIGN(Model model, LoadModel(kModel));
  const GoldenBatch batch;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor before, model.Evaluate(batch.feed));
  EQAT_ASSERT_OK(Convert(model));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor after, model.Evaluate(batch.feed));
  EXPECT_EQ(after.values, before.values);
}

class TorchModelDirectory : public ModelDirectoryFixture {};

TEST_F(TorchModelDirectory, WritingGivesPyTorchsTensorsBack) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Model model, LoadModel(kModel));
  EQAT_ASSERT_OK(SaveModel(model, Path("saved")));
  const auto torch = *io::SafetensorsReader::Open(std::string(kModel) + "/model.safetensors");
  const auto saved = *io::SafetensorsReader::Open(Path("saved/model.safetensors"));
  ASSERT_EQ(saved.tensors().size(), torch.tensors().size());
  for (const io::TensorInfo& tensor : torch.tensors()) {
    SCOPED_TRACE(tensor.name);
    const io::TensorInfo* const written = saved.Find(tensor.name);
    ASSERT_NE(written, nullptr);
    EXPECT_EQ(written->dtype, tensor.dtype);
    EXPECT_EQ(written->shape, tensor.shape);
    EXPECT_EQ(saved.Bytes(*written), torch.Bytes(tensor));
  }
}

}  // namespace
}  // namespace eqat::model
