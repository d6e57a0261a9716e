// Every input that is not what it should be: one clear line, exit code 1, nothing written, nothing lost.
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

class BadInputTest : public CliTest {
 protected:
  BadInputTest() {
    WriteQatModel();
    WriteData(20);
    WriteTensors("in", Batch());
    Write("sgd.json", R"({"type": "SGD", "lr": 0.1})");
  }

  void ExpectRefused(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) const {
    const auto before = Snapshot();
    ExpectError(RunProgram(arguments), 1, parts);
    EXPECT_EQ(Snapshot(), before);
  }
  std::vector<std::string> RunArguments(const std::string& model, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"run",       Path(model), "--inputs", Path("in"),
                                          "--outputs", Path("out"), "--save",   Path("saved")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void ExpectBatchRefused(const TestTensors& changes, const std::vector<std::string>& parts) const {
    TestTensors batch = Batch();
    for (const auto& [name, tensor] : changes) batch[name] = tensor;
    WriteTensors("in", batch);
    ExpectRefused(RunArguments("model", {"--train"}), parts);
  }
  // Replaces in the text of a file, and puts the old text back when done.
  void WithReplaced(const std::string& file, const std::string& from, const std::string& to,
                    const std::function<void()>& check) const {
    SCOPED_TRACE(absl::StrCat(file, ": ", from, " -> ", to));
    const std::string old = Read(file);
    ASSERT_NE(old.find(from), std::string::npos);
    Write(file, absl::StrReplaceAll(old, {{from, to}}));
    check();
    Write(file, old);
  }
};

TEST_F(BadInputTest, Indices) {
  ExpectBatchRefused({{"item_ids", I64({3}, {1, 6, 1})}}, {"item", "6"});
  ExpectBatchRefused({{"item_ids", I64({3}, {1, -1, 1})}}, {"item", "-1"});
  ExpectBatchRefused({{"user_ids", I32({2}, {5, 1})}}, {"user", "5"});
  ExpectBatchRefused({{"item_ids", I64({3}, {INT64_MAX, INT64_MIN, 1})}}, {"item", "9223372036854775807"});
  ExpectBatchRefused({{"item_ids", I64({1, 3, 1}, {1, 2, 1})}}, {"item"});
}

TEST_F(BadInputTest, Offsets) {
  ExpectBatchRefused({{"item_ids.offsets", I64({2}, {2, 0})}}, {"item: ", "offset", "2"});
  ExpectBatchRefused({{"item_ids.offsets", I64({2}, {0, 4})}}, {"item: offset beyond the indices", "got 4"});
  ExpectBatchRefused({{"item_ids.offsets", I64({2}, {1, 2})}}, {"item: ", "offset", "got 1"});
  ExpectBatchRefused({{"item_ids.offsets", I64({2}, {0, -1})}}, {"item: ", "offset", "-1"});
  ExpectBatchRefused({{"item_ids.offsets", I64({1, 2}, {0, 2})}}, {"item_ids.offsets", "wrong shape", "[1, 2]"});
  ExpectBatchRefused({{"item_ids.offsets", F32({2}, {0, 2})}}, {"item_ids.offsets", "wrong dtype", "F32"});
  ExpectBatchRefused({{"user_ids.offsets", I64({2}, {0, 1})}}, {"user", "offsets"});
}

TEST_F(BadInputTest, TensorsOfTheBatch) {
  ExpectBatchRefused({{"item_ids", F32({3}, {1, 2, 1})}}, {"item_ids", "wrong dtype", "F32", "I32 or I64"});
  ExpectBatchRefused({{"grad_output", I64({2, 1}, {1, 2})}}, {"grad_output", "wrong dtype", "I64", "F32"});
  ExpectBatchRefused({{"grad_output", F32({2}, {1, 2})}}, {"grad_output", "wrong shape", "[2]", "[2, 1]"});
  ExpectBatchRefused({{"surprise", F32({1}, {1})}}, {"unknown tensor", "surprise", "item_ids.offsets"});
  ExpectBatchRefused({{"item_ids.per_sample_weights", F32({2}, {1, 1})}}, {"item_ids.per_sample_weights", "[3]"});
  ExpectBatchRefused({{"item_ids.per_sample_weights", I64({3}, {1, 1, 1})}}, {"per_sample_weights", "wrong dtype"});
  ExpectBatchRefused({{"user_ids", I64({3}, {1, 2, 3})}}, {"3"});  // another number of rows
  WriteTensors("in", {{"item_ids", I64({1, 1}, {1})}});
  ExpectRefused(RunArguments("model"), {"in", "user_ids is missing"});
  WriteTensors("in", {});
  ExpectRefused(RunArguments("model", {"--module", "top"}), {"in", "input is missing"});
  WriteTensors("in", {{"input", F32({1, 7}, std::vector<float>(7))}});
  ExpectRefused(RunArguments("model", {"--module", "top"}), {"7", "8"});
  ExpectRefused(RunArguments("model", {"--module", "nothing"}), {"--module", "nothing", "item"});
}

TEST_F(BadInputTest, NonFiniteRowsUnderQat) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    SCOPED_TRACE(bad);
    TestTensors tensors = ReadTensors("qat/model.safetensors");
    std::vector<float> values = FloatsOf(tensors["item.weight"]);
    values[2 * 4 + 1] = bad;
    tensors["item.weight"] = F32({6, 4}, values);
    WriteTensors("qat/model.safetensors", tensors);
    ExpectRefused(RunArguments("qat", {"--train"}), {"item", "row 2"});
    ExpectRefused({"convert", Path("qat"), "--out", Path("o")}, {"item", "row 2"});
    WriteTensors("model/model.safetensors", {{"item.weight", F32({6, 4}, values)},
                                             {"user.weight", tensors["user.weight"]},
                                             {"top.weight", tensors["top.weight"]},
                                             {"top.bias", tensors["top.bias"]}});
    ExpectRefused({"ptq", Path("model"), "--qconfig", Path("qconfig.json"), "--out", Path("o")}, {"item", "row 2"});
  }
}

TEST_F(BadInputTest, TensorsOfTheModel) {
  const TestTensors good = ReadTensors("model/model.safetensors");
  const auto expect = [&](const std::function<void(TestTensors&)>& change, const std::vector<std::string>& parts) {
    TestTensors tensors = good;
    change(tensors);
    WriteTensors("model/model.safetensors", tensors);
    ExpectRefused(RunArguments("model"), parts);
    ExpectRefused({"prepare", Path("model"), "--qconfig", Path("qconfig.json"), "--out", Path("o")}, parts);
    ExpectRefused({"inspect", Path("model")}, parts);
  };
  expect([](TestTensors& t) { t.erase("user.weight"); }, {"user.weight", "missing"});
  expect([](TestTensors& t) { t["extra"] = F32({1}, {1}); }, {"extra", "belongs to no module"});
  expect([](TestTensors& t) { t["item.weight"].dtype = io::TensorDtype::kI32; }, {"item.weight", "wrong dtype", "I32"});
  expect([](TestTensors& t) { t["item.weight"].shape = {4, 6}; }, {"item.weight", "wrong shape", "[4, 6]", "[6, 4]"});
  expect([](TestTensors& t) { t["item.weight"].shape = {24}; }, {"item.weight", "wrong shape"});
}

TEST_F(BadInputTest, TruncatedFiles) {
  for (const std::string& file : {std::string("in"), std::string("model/model.safetensors")}) {
    const std::string whole = Read(file);
    for (size_t size = 0; size < whole.size(); size += 1 + size / 6) {
      SCOPED_TRACE(absl::StrCat(file, " of ", size, " bytes"));
      Write(file, whole.substr(0, size));
      ExpectError(RunProgram(RunArguments("model")), 1, {file});
    }
    Write(file, whole + "x");
    ExpectRefused(RunArguments("model"), {file});
    Write(file, whole);
  }
  ExpectDone(RunProgram(RunArguments("model")));
}

TEST_F(BadInputTest, LyingHeaders) {
  const auto file = [](const std::string& header, const std::string& data) {
    const uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
  };
  const std::string data(24, '\0');
  const char* const kHeaders[] = {
      "",
      "null",
      "[]",
      "{",
      R"({"a": 1})",
      R"({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}} trailing)",
      R"({"a": {"dtype": "F33", "shape": [6], "data_offsets": [0, 24]}})",
      R"({"a": {"dtype": "F32", "shape": [7], "data_offsets": [0, 24]}})",
      R"({"a": {"dtype": "F32", "shape": [-6], "data_offsets": [0, 24]}})",
      R"({"a": {"dtype": "F32", "shape": [6.0], "data_offsets": [0, 24]}})",
      R"({"a": {"dtype": "F32", "shape": [4611686018427387904, 4611686018427387904], "data_offsets": [0, 24]}})",
      R"({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 28]}})",
      R"({"a": {"dtype": "F32", "shape": [6], "data_offsets": [24, 0]}})",
      R"({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}})",
      R"({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24], "color": "red"}})",
      R"({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}, "a": {"dtype": "F32", "shape": [0], "data_offsets": [24, 24]}})",
      R"({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}, "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})",
      "{\"a\xff\": {\"dtype\": \"F32\", \"shape\": [6], \"data_offsets\": [0, 24]}}",
  };
  for (const char* header : kHeaders) {
    SCOPED_TRACE(header);
    Write("bad.safetensors", file(header, data));
    ExpectRefused({"inspect", Path("bad.safetensors")}, {"bad.safetensors"});
  }
  Write("bad.safetensors", std::string(8, '\xff') + "{}");
  ExpectRefused({"inspect", Path("bad.safetensors")}, {"bad.safetensors"});
}

TEST_F(BadInputTest, ModelJson) {
  const struct {
    const char* from;
    const char* to;
    std::vector<std::string> parts;
  } kCases[] = {
      {"\"mode\": \"sum\"", "\"mode\": \"sun\"", {"model.json", "/modules/item/mode", "sun", "mean"}},
      {"\"mode\": \"sum\"", "\"mood\": \"sum\"", {"model.json", "/modules/item", "mood"}},
      {"\"mode\": \"sum\"", "\"mode\": \"sum\", \"mode\": \"max\"", {"model.json", "mode"}},
      {"\"num_embeddings\": 6", "\"num_embeddings\": \"6\"", {"/modules/item/num_embeddings", "\"6\""}},
      {"\"num_embeddings\": 6", "\"num_embeddings\": 6.5", {"/modules/item/num_embeddings", "6.5"}},
      {"\"num_embeddings\": 6", "\"num_embeddings\": -6", {"/modules/item/num_embeddings", "-6"}},
      {"\"num_embeddings\": 6", "\"num_embeddings\": 4611686018427387904", {"item"}},
      {"\"num_embeddings\": 6", "\"num_embeddings\": 1e30", {"item"}},
      {"\"num_embeddings\": 6", "\"num_embeddings\": 1000000000000", {"item.weight", "wrong shape"}},
      {"\"num_embeddings\": 6, \"embedding_dim\": 4", "\"num_embeddings\": 0, \"embedding_dim\": 4", {"item.weight"}},
      {"\"num_embeddings\": 6, \"embedding_dim\": 4", "\"num_embeddings\": 6, \"embedding_dim\": 0", {"item.weight"}},
      {"\"padding_idx\": 0", "\"padding_idx\": 5", {"user", "5"}},
      {"\"version\": 1", "\"version\": 2", {"model.json", "/version", "2"}},
      {"eqat.model", "other", {"model.json", "/format", "other"}},
      {"nn.Linear", "nn.Bilinear", {"/modules/top/type", "nn.Bilinear"}},
      {"\"target\": \"top\"", "\"target\": \"tip\"", {"model.json", "tip"}},
      {"\"args\": [\"x\"]", "\"args\": [\"z\"]", {"model.json", "z"}},
      {"\"dim\": 1", "\"dim\": \"one\"", {"model.json", "dim", "one"}},
      {"\"graph\"", "\"grpah\"", {"model.json", "grpah"}},
      {"{\"name\": \"output\"", "// comment\n{\"name\": \"output\"", {"model.json"}},
  };
  for (const auto& test : kCases) {
    WithReplaced("model/model.json", test.from, test.to, [&] { ExpectRefused(RunArguments("model"), test.parts); });
  }
}

TEST_F(BadInputTest, EmptyTablesLoadAndRefuseEveryIndex) {
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {6, 0}, {0, 0}}) {
    SCOPED_TRACE(absl::StrCat(rows, " x ", cols));
    Write("none/model.json",
          absl::StrCat(R"({"format": "eqat.model", "version": 1, "modules": {"t": {"type": "nn.Embedding", )",
                       "\"num_embeddings\": ", rows, ", \"embedding_dim\": ", cols, "}}}"));
    WriteTensors("none/model.safetensors", {{"t.weight", F32({rows, cols}, {})}});
    ExpectDone(RunProgram({"inspect", Path("none")}));
    WriteTensors("in", {{"input", I64({1}, {6})}});
    ExpectRefused(RunArguments("none", {"--module", "t"}), {"t", "6"});
    ExpectRefused(RunArguments("none"), {"no graph", "--module with one of t"});
  }
}

TEST_F(BadInputTest, QConfigFiles) {
  const std::vector<std::string> arguments = {"prepare",        Path("model"), "--qconfig",
                                              Path("bad.json"), "--out",       Path("o")};
  const struct {
    const char* json;
    std::vector<std::string> parts;
  } kCases[] = {
      {"", {"bad.json"}},
      {"[]", {"bad.json"}},
      {R"({"global": null})", {"bad.json", "version"}},
      {R"({"version": 1, "globl": null})", {"bad.json", "globl"}},
      {R"({"version": 1, "global": "default_qat_qconfig_3bit"})", {"bad.json", "/global", "default_qat_qconfig_3bit"}},
      {R"({"version": 1, "global": 4})", {"bad.json", "/global", "4"}},
      {R"({"version": 1, "module_name": {"itm": "default_embedding_qat_qconfig"}})",
       {"bad.json: /module_name/itm", "item"}},
      {R"({"version": 1, "module_name_regex": [{"pattern": "(", "qconfig": null}]})",
       {"bad.json", "/module_name_regex/0"}},
      {R"({"version": 1, "object_type": {"nn.Embeding": null}})", {"bad.json", "nn.Embeding"}},
      {R"({"version": 1, "global": {"weight": {"dtype": "quint4x2", "quant_max": 16}}})", {"bad.json", "/global"}},
      {R"({"version": 1, "global": null})", {"nothing to prepare"}},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.json);
    Write("bad.json", test.json);
    ExpectRefused(arguments, test.parts);
  }
}

TEST_F(BadInputTest, Optimizers) {
  TestTensors batch = Batch();
  batch["grad_output"] = F32({2, 1}, {1, 2});
  WriteTensors("in", batch);
  const struct {
    const char* json;
    std::vector<std::string> parts;
  } kCases[] = {
      {R"({"type": "LBFGS"})", {"bad.json", "/type", "LBFGS", "SGD"}},
      {R"({"type": "SGD", "lr": "big"})", {"bad.json", "/lr", "big"}},
      {R"({"type": "SGD", "lr": -1})", {"bad.json", "/lr", "-1"}},
      {R"({"type": "SGD", "lr": 1, "moment": 1})", {"bad.json", "moment"}},
      {R"({"type": "SGD", "lr": 0.1, "weight_decay": 0.1})", {"user.weight", "weight decay"}},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.json);
    Write("bad.json", test.json);
    ExpectRefused(RunArguments("model", {"--optimizer", Path("bad.json")}), test.parts);
  }
}

TEST_F(BadInputTest, DataFiles) {
  const std::vector<std::vector<std::string>> verbs = {
      {"eval", Path("model"), "--data", Path("data.json")},
      {"train", Path("model"), "--data", Path("data.json"), "--config", Path("train.json"), "--out", Path("o")}};
  const std::string lines = Read("data.tsv");
  const struct {
    const char* line;
    std::vector<std::string> parts;
  } kCases[] = {
      {"1\t2", {"data.tsv:22"}},
      {"1\t2,3\t4\t5", {"data.tsv:22"}},
      {"1\t2,x\t4", {"data.tsv:22", "x"}},
      {"1\t2,6\t4", {"data.tsv:22", "6"}},
      {"1\t2,-1\t4", {"data.tsv:22", "-1"}},
      {"yes\t2,1\t4", {"data.tsv:22", "yes"}},
      {"nan\t2,1\t4", {"data.tsv:22", "nan"}},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.line);
    Write("data.tsv", absl::StrCat(lines, test.line, "\n"));
    for (const auto& verb : verbs) ExpectRefused(verb, test.parts);
  }
  Write("data.tsv", absl::StrCat("\x1b[31m", std::string(1000, 'a'), "\t", std::string(1000, '\t'), "\n"));
  for (const auto& verb : verbs)
    ExpectRefused(verb, {"data.tsv: no such column", "'\\x1b[31maaa", "aaa...', '', ", ", ...)"});
  Write("data.tsv", lines);
  WithReplaced("data.json", "data.tsv", "gone.tsv", [&] { ExpectRefused(verbs[0], {"gone.tsv"}); });
  WithReplaced("data.json", "\"column\": \"y\"", "\"column\": \"z\"", [&] { ExpectRefused(verbs[0], {"z"}); });
  WithReplaced("data.json", "user_ids", "usr_ids", [&] { ExpectRefused(verbs[0], {"usr_ids"}); });
  WithReplaced("data.json", "\"buckets\": 5", "\"buckets\": 50", [&] { ExpectRefused(verbs[1], {"user"}); });
  WithReplaced("data.json", "\"label\"", "\"labels\"", [&] { ExpectRefused(verbs[1], {"data.json", "label"}); });
  WithReplaced("train.json", "\"epochs\": 3", "\"epochs\": 0", [&] { ExpectRefused(verbs[1], {"/epochs", "0"}); });
  WithReplaced("train.json", "\"epochs\"", "\"epocs\"", [&] { ExpectRefused(verbs[1], {"train.json", "epocs"}); });
}

TEST_F(BadInputTest, MissingFilesAndDirectoriesAsFiles) {
  const std::string model = Path("model"), gone = Path("gone");
  ExpectRefused({"run", model, "--inputs", gone, "--outputs", Path("out")}, {"gone", "No such file"});
  ExpectRefused({"run", model, "--inputs", model, "--outputs", Path("out")}, {"model"});
  ExpectRefused({"run", gone, "--inputs", Path("in"), "--outputs", Path("out")}, {"gone", "No such file"});
  ExpectRefused({"run", Path("in"), "--inputs", Path("in"), "--outputs", Path("out")}, {"in"});
  ExpectRefused(RunArguments("model", {"--optimizer", gone}), {"gone", "No such file"});
  ExpectRefused(RunArguments("model", {"--optimizer", model}), {"model"});
  ExpectRefused({"run", model, "--inputs", Path("in"), "--outputs", Path("new"), "--save", Path("./new/")},
                {"--outputs: is also the directory of --save"});
  ExpectRefused({"prepare", model, "--qconfig", gone, "--out", Path("o")}, {"gone", "No such file"});
  ExpectRefused({"eval", model, "--data", gone}, {"gone", "No such file"});
  ExpectRefused({"eval", model, "--data", model}, {"model"});
  ExpectRefused({"inspect", "/dev/null"}, {"/dev/null"});
}

}  // namespace
}  // namespace eqat::testing
