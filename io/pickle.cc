#include "io/pickle.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/byte_reader.h"
#include "io/excerpt.h"

namespace eqat::io {
namespace {

using Kind = PickledValue::Kind;

constexpr int64_t kMaxGlobalBytes = 256;
constexpr size_t kMaxTensorDimensions = 64;
constexpr uint8_t kMaxProtocol = 4;

constexpr std::string_view kOrderedDict = "collections OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";

struct StorageName {
  std::string_view name;
  TensorDtype dtype;
};
constexpr StorageName kStorages[] = {
    {"torch FloatStorage", TensorDtype::kF32},     {"torch HalfStorage", TensorDtype::kF16},
    {"torch BFloat16Storage", TensorDtype::kBF16}, {"torch DoubleStorage", TensorDtype::kF64},
    {"torch LongStorage", TensorDtype::kI64},      {"torch IntStorage", TensorDtype::kI32},
    {"torch ShortStorage", TensorDtype::kI16},     {"torch CharStorage", TensorDtype::kI8},
    {"torch ByteStorage", TensorDtype::kU8},       {"torch BoolStorage", TensorDtype::kBool},
};

const StorageName* FindStorage(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kStorages), std::end(kStorages),
                                         [&](const StorageName& known) { return known.name == name; });
  return found == std::end(kStorages) ? nullptr : found;
}

// Instructions, with the names of Python's pickle module.
enum Opcode : uint8_t {
  kProto = 0x80,
  kFrame = 0x95,
  kStop = '.',
  kMark = '(',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNone = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kBinFloat = 'G',
  kBinUnicode = 'X',
  kShortBinUnicode = 0x8c,
  kBinPut = 'q',
  kLongBinPut = 'r',
  kMemoize = 0x94,
  kBinGet = 'h',
  kLongBinGet = 'j',
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kReduce = 'R',
  kBuild = 'b',
  kBinPersId = 'Q',
  kSetItem = 's',
  kSetItems = 'u',
  kAppend = 'a',
  kAppends = 'e',
};

class PickleReader {
 public:
  PickleReader(std::string_view bytes, const std::string& where) : reader_(bytes, where) {}

  absl::StatusOr<Pickle> Read() {
    for (int64_t instructions = 0;; ++instructions) {
      at_ = reader_.position();
      if (instructions == kMaxPickleInstructions)
        return Error("has too many instructions", "", absl::StrCat("at most ", instructions));
      EQAT_ASSIGN_OR_RETURN(const uint8_t opcode, reader_.Read<uint8_t>("instruction"));
      if (opcode == kStop) break;
      EQAT_RETURN_IF_ERROR(Execute(opcode));
    }
    EQAT_ASSIGN_OR_RETURN(pickle_.root, Pop());
    if (!stack_.empty() || !marks_.empty()) return Error("values are left at the end");
    if (reader_.left() != 0) return Error("something follows the end", absl::StrCat(reader_.left(), " bytes"));
    return std::move(pickle_);
  }

 private:
  absl::Status Error(absl::string_view what, absl::string_view got = "", absl::string_view expected = "") const {
    return InvalidArgument(reader_.PlaceAt(at_, "pickle"), what, got, expected);
  }
  PickledValue& Value(size_t index) { return pickle_.values[index]; }
  absl::Status Push(PickledValue value) {
    stack_.push_back(pickle_.values.size());
    pickle_.values.push_back(std::move(value));
    return absl::OkStatus();
  }
  absl::Status PushKind(Kind kind) { return Push({.kind = kind}); }
  absl::Status PushInteger(int64_t value) { return Push({.kind = Kind::kInteger, .integer = value}); }
  size_t Bottom() const { return marks_.empty() ? 0 : marks_.back(); }  // of what may be taken
  absl::StatusOr<size_t> Pop() {
    if (stack_.size() <= Bottom()) return Error("takes a value where there is none");
    const size_t index = stack_.back();
    stack_.pop_back();
    return index;
  }
  absl::StatusOr<size_t> Top() const {
    if (stack_.size() <= Bottom()) return Error("uses a value where there is none");
    return stack_.back();
  }
  absl::StatusOr<std::vector<size_t>> PopToMark() {
    if (marks_.empty()) return Error("goes back to a mark where there is none");
    std::vector<size_t> items(stack_.begin() + static_cast<int64_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  absl::Status PushTuple(size_t count) {
    std::vector<size_t> items(count);
    for (size_t i = count; i-- > 0;) {
      EQAT_ASSIGN_OR_RETURN(items[i], Pop());
    }
    return Push({.kind = Kind::kTuple, .items = std::move(items)});
  }

  absl::Status Execute(uint8_t opcode) {
    switch (opcode) {
      case kProto: {
        EQAT_ASSIGN_OR_RETURN(const uint8_t protocol, reader_.Read<uint8_t>("protocol"));
        if (protocol >= 2 && protocol <= kMaxProtocol) return absl::OkStatus();
        return Error("protocol is not read", absl::StrCat(protocol), "2 to 4");
      }
      case kFrame:
        return reader_.Read<uint64_t>("frame").status();
      case kMark:
        marks_.push_back(stack_.size());
        return absl::OkStatus();
      case kEmptyDict:
        return PushKind(Kind::kDictionary);
      case kEmptyTuple:
        return PushKind(Kind::kTuple);
      case kEmptyList:
      case kNone:
      case kNewTrue:
      case kNewFalse:
        return PushKind(Kind::kOther);
      case kBinFloat:
        EQAT_RETURN_IF_ERROR(reader_.Read<double>("float").status());
        return PushKind(Kind::kOther);
      case kTuple: {
        EQAT_ASSIGN_OR_RETURN(std::vector<size_t> items, PopToMark());
        return Push({.kind = Kind::kTuple, .items = std::move(items)});
      }
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return PushTuple(opcode - kTuple1 + 1);
      case kBinInt:
        return PushNumber<int32_t>();
      case kBinInt1:
        return PushNumber<uint8_t>();
      case kBinInt2:
        return PushNumber<uint16_t>();
      case kLong1:
        return PushLong();
      case kBinUnicode:
        return PushText<uint32_t>();
      case kShortBinUnicode:
        return PushText<uint8_t>();
      case kBinPut:
        return Put<uint8_t>();
      case kLongBinPut:
        return Put<uint32_t>();
      case kMemoize:
        return PutAt(memo_.size());
      case kBinGet:
        return Get<uint8_t>();
      case kLongBinGet:
        return Get<uint32_t>();
      case kGlobal: {
        EQAT_ASSIGN_OR_RETURN(const std::string_view module, reader_.TakeUntil('\n', kMaxGlobalBytes, "module"));
        EQAT_ASSIGN_OR_RETURN(const std::string_view name, reader_.TakeUntil('\n', kMaxGlobalBytes, "name"));
        return PushName(module, name);
      }
      case kStackGlobal: {
        EQAT_ASSIGN_OR_RETURN(const size_t name, Pop());
        EQAT_ASSIGN_OR_RETURN(const size_t module, Pop());
        if (Value(name).kind != Kind::kText || Value(module).kind != Kind::kText) return Error("a name is no text");
        return PushName(Value(module).text, Value(name).text);
      }
      case kReduce:
        return Reduce();
      case kBuild:
        return Build();
      case kBinPersId:
        return PushStorage();
      case kSetItem: {
        EQAT_ASSIGN_OR_RETURN(const size_t value, Pop());
        EQAT_ASSIGN_OR_RETURN(const size_t key, Pop());
        return AddItems({key, value});
      }
      case kSetItems: {
        EQAT_ASSIGN_OR_RETURN(const std::vector<size_t> items, PopToMark());
        return AddItems(items);
      }
      case kAppend:
        EQAT_RETURN_IF_ERROR(Pop().status());
        return Top().status();
      case kAppends:
        EQAT_RETURN_IF_ERROR(PopToMark().status());
        return Top().status();
      default:
        return Error("instruction is refused: files of plain tensors do not need it", absl::StrCat(opcode));
    }
  }

  template <typename T>
  absl::Status PushNumber() {
    EQAT_ASSIGN_OR_RETURN(const T value, reader_.Read<T>("integer"));
    return PushInteger(value);
  }
  // Little-endian two's complement of any length; those that int64 cannot hold are no sizes.
  absl::Status PushLong() {
    EQAT_ASSIGN_OR_RETURN(const uint8_t length, reader_.Read<uint8_t>("length of an integer"));
    EQAT_ASSIGN_OR_RETURN(const std::string_view bytes, reader_.Take(length, "integer"));
    if (length > sizeof(int64_t)) return PushKind(Kind::kOther);
    uint64_t value = length > 0 && (bytes.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
    for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
    return PushInteger(static_cast<int64_t>(value));
  }
  template <typename Length>
  absl::Status PushText() {
    EQAT_ASSIGN_OR_RETURN(const Length length, reader_.Read<Length>("length of a text"));
    EQAT_ASSIGN_OR_RETURN(const std::string_view text, reader_.Take(length, "text"));
    return Push({.kind = Kind::kText, .text = text});
  }

  template <typename T>
  absl::Status Put() {
    EQAT_ASSIGN_OR_RETURN(const T key, reader_.Read<T>("memo"));
    return PutAt(key);
  }
  absl::Status PutAt(size_t key) {
    EQAT_ASSIGN_OR_RETURN(memo_[key], Top());
    return absl::OkStatus();
  }
  template <typename T>
  absl::Status Get() {
    EQAT_ASSIGN_OR_RETURN(const T key, reader_.Read<T>("memo"));
    const auto found = memo_.find(key);
    if (found == memo_.end()) return Error("recalls a value that was never kept", absl::StrCat(key));
    stack_.push_back(found->second);
    return absl::OkStatus();
  }

  absl::Status PushName(std::string_view module, std::string_view name) {
    const std::string full_name =
        absl::StrCat(absl::string_view(module.data(), module.size()), " ", absl::string_view(name.data(), name.size()));
    for (const std::string_view known : {kOrderedDict, kRebuildTensor, kRebuildParameter}) {
      if (full_name == known) return Push({.kind = Kind::kName, .text = known});
    }
    if (const StorageName* storage = FindStorage(full_name)) return Push({.kind = Kind::kName, .text = storage->name});
    return Error("refers to a name that is not on the list of safe ones", Excerpt(full_name),
                 "tensors, parameters and dictionaries alone; save model.state_dict()");
  }

  absl::Status AddItems(const std::vector<size_t>& items) {
    EQAT_ASSIGN_OR_RETURN(const size_t target, Top());
    if (Value(target).kind != Kind::kDictionary || items.size() % 2 != 0)
      return Error("adds items to what is no dictionary");
    std::vector<size_t>& all = Value(target).items;
    all.insert(all.end(), items.begin(), items.end());
    return absl::OkStatus();
  }

  // A call: of one of the names alone.
  absl::Status Reduce() {
    EQAT_ASSIGN_OR_RETURN(const size_t arguments, Pop());
    EQAT_ASSIGN_OR_RETURN(const size_t callee, Pop());
    if (Value(callee).kind != Kind::kName || Value(arguments).kind != Kind::kTuple)
      return Error("calls what is no function");
    const std::string_view name = Value(callee).text;
    if (Value(arguments).items.size() > 7) return Error("calls a known name with unknown arguments", Excerpt(name));
    const std::vector<size_t> items = Value(arguments).items;  // Push would move it
    if (name == kOrderedDict && items.empty()) return PushKind(Kind::kDictionary);
    if (name == kRebuildTensor && (items.size() == 6 || items.size() == 7)) return RebuildTensor(items);
    if (name == kRebuildParameter && items.size() == 3 && Value(items[0]).kind == Kind::kTensor) {
      stack_.push_back(items[0]);
      return absl::OkStatus();
    }
    return Error("calls a known name with unknown arguments", Excerpt(name));
  }

  // The attributes that a state dictionary carries ("_metadata") say nothing about its tensors.
  absl::Status Build() {
    EQAT_RETURN_IF_ERROR(Pop().status());
    EQAT_ASSIGN_OR_RETURN(const size_t target, Top());
    return Value(target).kind == Kind::kDictionary ? absl::OkStatus()
                                                   : Error("sets attributes of what is no dictionary");
  }

  // ("storage", type, key, device, elements)
  absl::Status PushStorage() {
    EQAT_ASSIGN_OR_RETURN(const size_t id, Pop());
    const std::vector<size_t>& items = Value(id).items;
    const bool is_storage = Value(id).kind == Kind::kTuple && items.size() == 5 &&
                            Value(items[0]).kind == Kind::kText && Value(items[0]).text == "storage" &&
                            Value(items[1]).kind == Kind::kName && Value(items[2]).kind == Kind::kText &&
                            Value(items[4]).kind == Kind::kInteger;
    if (!is_storage) return Error("has a persistent id that is no storage");
    const StorageName* const storage = FindStorage(Value(items[1]).text);
    if (storage == nullptr || Value(items[4]).integer < 0) return Error("has a persistent id that is no storage");
    return PushTensor(
        Kind::kStorage,
        {.storage = Value(items[2]).text, .storage_elements = Value(items[4]).integer, .dtype = storage->dtype});
  }

  // (storage, offset, shape, strides, requires_grad, hooks[, metadata])
  absl::Status RebuildTensor(const std::vector<size_t>& items) {
    if (Value(items[0]).kind != Kind::kStorage || Value(items[1]).kind != Kind::kInteger) {
      return Error("builds a tensor from what is no storage");
    }
    PickledTensor tensor = pickle_.tensors[Value(items[0]).integer];
    tensor.offset = Value(items[1]).integer;
    const auto shape = Integers(items[2]);
    const auto strides = Integers(items[3]);
    if (!shape || !strides || shape->size() != strides->size() || tensor.offset < 0) {
      return Error("builds a tensor with bad sizes or strides");
    }
    tensor.shape = *shape;
    tensor.strides = *strides;
    return PushTensor(Kind::kTensor, std::move(tensor));
  }
  absl::Status PushTensor(Kind kind, PickledTensor tensor) {
    const auto position = static_cast<int64_t>(pickle_.tensors.size());
    pickle_.tensors.push_back(std::move(tensor));
    return Push({.kind = kind, .integer = position});
  }
  // A tuple of integers that are not negative.
  std::optional<std::vector<int64_t>> Integers(size_t index) {
    std::vector<int64_t> integers;
    if (Value(index).kind != Kind::kTuple || Value(index).items.size() > kMaxTensorDimensions) return std::nullopt;
    for (const size_t item : Value(index).items) {
      if (Value(item).kind != Kind::kInteger || Value(item).integer < 0) return std::nullopt;
      integers.push_back(Value(item).integer);
    }
    return integers;
  }

  ByteReader reader_;
  int64_t at_ = 0;  // of the instruction
  Pickle pickle_;
  std::vector<size_t> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  std::unordered_map<size_t, size_t> memo_;
};

}  // namespace

absl::StatusOr<Pickle> ReadPickle(std::string_view bytes, const std::string& where) {
  return PickleReader(bytes, where).Read();
}

}  // namespace eqat::io
