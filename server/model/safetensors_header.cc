#include "server/base/json_text.h"
#include "server/model/model_errors.h"
#include "server/model/safetensors.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <tuple>
#include <unordered_set>

namespace tightfit {
namespace {

constexpr size_t kMaxNameBytes = 512;
constexpr char kMetadataName[] = "__metadata__";
constexpr char kTwice[] = "the name occurs twice";

std::optional<StoredDtype> DtypeByName(std::string_view name, AllowedDtypes allowed) {
  for (const StoredDtype dtype :
       {StoredDtype::kF16, StoredDtype::kBF16, StoredDtype::kF32, StoredDtype::kU8}) {
    if (dtype == StoredDtype::kU8 && allowed != AllowedDtypes::kNumbersAndBytes) continue;
    if (StoredDtypeName(dtype) == name) return dtype;
  }
  return std::nullopt;
}

std::string Quoted(std::string_view name) { return '"' + Shown(name) + '"'; }

// C0 and DEL, and C1 (U+0080 to U+009F), which is two bytes in UTF-8.
bool HasControlCharacter(std::string_view name) {
  for (size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<unsigned char>(name[i]);
    if (byte < ' ' || byte == 0x7F) return true;
    if (byte == 0xC2 && i + 1 < name.size() && static_cast<unsigned char>(name[i + 1]) < 0xA0) {
      return true;
    }
  }
  return false;
}

// Receives the header as events, because a parsed document would hide duplicate keys. Stops the
// parser at the first event that the format does not allow.
class HeaderEvents final : public nlohmann::json_sax<nlohmann::json> {
 public:
  // `tensors`: where they go; null where they are only checked and counted.
  HeaderEvents(AllowedDtypes allowed, std::vector<StoredTensor>* tensors)
      : allowed_(allowed), tensors_(tensors) {}

  size_t tensor_count = 0;
  std::string problem;

  bool null() override {
    // Some savers write it where they have no metadata; the safetensors library reads it.
    if (state_ == State::kTop && tensor_.name == kMetadataName) return true;
    return Refuse("null is not allowed");
  }
  bool boolean(bool) override { return Refuse("a boolean is not allowed"); }
  bool number_integer(number_integer_t) override { return Refuse("a number is negative"); }
  bool number_float(number_float_t, const string_t&) override {
    return Refuse("a number is not an integer");
  }
  bool binary(binary_t&) override { return Refuse("binary data is not allowed"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::kShape) {
      if (value > kMaxSafetensorsDimension) return Refuse("a dimension is above 2^31 - 1");
      if (tensor_.shape.size() == kMaxSafetensorsRank)
        return Refuse("it has more than 5 dimensions");
      tensor_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      if (value > kMaxOffset) return Refuse("an offset is out of range");
      if (offsets_.size() == 2) return Refuse("data_offsets must be two numbers");
      offsets_.push_back(static_cast<int64_t>(value));
      return true;
    }
    return Refuse("a number stands where it may not");
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadata) return true;
    if (state_ != State::kTensor || key_ != "dtype") {
      return Refuse("a text stands where it may not");
    }
    const std::optional<StoredDtype> dtype = DtypeByName(value, allowed_);
    if (!dtype)
      return Refuse("dtype " + Quoted(value) + " is not F16, BF16 or F32" +
                    std::string(allowed_ == AllowedDtypes::kNumbersAndBytes ? " or U8" : ""));
    tensor_.dtype = *dtype;
    has_dtype_ = true;
    return true;
  }

  bool start_object(size_t) override {
    switch (state_) {
      case State::kStart:
        state_ = State::kTop;
        return true;
      case State::kTop:
        state_ = tensor_.name == kMetadataName ? State::kMetadata : State::kTensor;
        return true;
      default:
        return Refuse("an object stands where it may not");
    }
  }

  bool end_object() override {
    if (state_ == State::kTop) {
      state_ = State::kEnd;
      return true;
    }
    const bool was_tensor = state_ == State::kTensor;
    state_ = State::kTop;
    return was_tensor ? FinishTensor() : true;
  }

  bool start_array(size_t) override {
    if (state_ != State::kTensor) return Refuse("a list stands where it may not");
    if (key_ == "shape") {
      state_ = State::kShape;
    } else if (key_ == "data_offsets") {
      state_ = State::kOffsets;
    } else {
      return Refuse("dtype must be a text");
    }
    return true;
  }

  bool end_array() override {
    if (state_ == State::kShape) has_shape_ = true;
    state_ = State::kTensor;
    return true;
  }

  bool key(string_t& name) override {
    if (state_ == State::kTop) return StartEntry(name);
    if (state_ == State::kMetadata) return true;
    if (name != "dtype" && name != "shape" && name != "data_offsets") {
      return Refuse("unknown key " + Quoted(name));
    }
    if (!keys_seen_.insert(name).second) return Refuse("key " + Quoted(name) + " occurs twice");
    key_ = name;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem = "the header is not valid JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };
  static constexpr uint64_t kMaxOffset = uint64_t{1} << 62;

  bool Refuse(const std::string& what) {
    problem = tensor_.name.empty() ? "the header: " + what
                                   : "tensor " + Quoted(tensor_.name) + ": " + what;
    return false;
  }

  bool StartEntry(const std::string& name) {
    tensor_ = StoredTensor();
    tensor_.name = name;
    has_dtype_ = has_shape_ = false;
    offsets_.clear();
    keys_seen_.clear();
    key_.clear();
    if (name.empty()) return Refuse("a tensor has an empty name");
    if (name.size() > kMaxNameBytes) return Refuse("the name is longer than 512 bytes");
    if (HasControlCharacter(name)) return Refuse("the name holds a control character");
    if (name != kMetadataName) return true;
    if (has_metadata_) return Refuse(kTwice);
    has_metadata_ = true;
    return true;
  }

  bool FinishTensor() {
    if (!has_dtype_) return Refuse("dtype is missing");
    if (!has_shape_) return Refuse("shape is missing");
    if (offsets_.size() != 2) return Refuse("data_offsets must be two numbers");
    if (offsets_[0] > offsets_[1]) return Refuse("its data ends before it begins");
    int64_t count = 1;
    for (const int64_t dimension : tensor_.shape) {
      if (__builtin_mul_overflow(count, dimension, &count)) return Refuse("it is too large");
    }
    int64_t size_bytes = 0;
    if (__builtin_mul_overflow(count, BytesOf(tensor_.dtype), &size_bytes)) {
      return Refuse("it is too large");
    }
    if (offsets_[1] - offsets_[0] != size_bytes) {
      return Refuse("its data is " + std::to_string(offsets_[1] - offsets_[0]) +
                    " bytes long, but shape and dtype make " + std::to_string(size_bytes));
    }
    tensor_.element_count = count;
    tensor_.offset_bytes = offsets_[0];
    tensor_.size_bytes = size_bytes;
    if (tensor_count == kMaxSafetensorsTensors) return Refuse("there are more than 65536 tensors");
    ++tensor_count;
    if (tensors_ != nullptr) tensors_->push_back(tensor_);  // a copy has no room to spare
    return true;
  }

  const AllowedDtypes allowed_;
  std::vector<StoredTensor>* const tensors_;
  State state_ = State::kStart;
  StoredTensor tensor_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  std::vector<int64_t> offsets_;
  std::string key_;
  std::unordered_set<std::string> keys_seen_;
  bool has_metadata_ = false;
};

// A set of the names would take as much as the tensors; their order takes 4 bytes each.
const StoredTensor* FindRepeated(const std::vector<StoredTensor>& tensors) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](uint32_t at) -> const std::string& { return tensors[at].name; });
  const auto repeated = std::ranges::adjacent_find(
      order, [&](uint32_t a, uint32_t b) { return tensors[a].name == tensors[b].name; });
  return repeated == order.end() ? nullptr : &tensors[*repeated];
}

// As they lie in the file. An empty tensor shares its offset with its neighbour and comes first.
bool LiesBefore(const StoredTensor& a, const StoredTensor& b) {
  return std::tie(a.offset_bytes, a.size_bytes, a.name) <
         std::tie(b.offset_bytes, b.size_bytes, b.name);
}

}  // namespace

int64_t BytesOf(StoredDtype dtype) {
  if (dtype == StoredDtype::kU8) return 1;
  return dtype == StoredDtype::kF32 ? 4 : 2;
}

std::string_view StoredDtypeName(StoredDtype dtype) {
  switch (dtype) {
    case StoredDtype::kF16:
      return "F16";
    case StoredDtype::kBF16:
      return "BF16";
    case StoredDtype::kF32:
      return "F32";
    case StoredDtype::kU8:
      return "U8";
  }
  return "unknown";
}

Result<std::vector<StoredTensor>> ParseSafetensorsHeader(std::string_view file,
                                                         std::string_view header,
                                                         int64_t data_start_bytes,
                                                         int64_t data_bytes,
                                                         AllowedDtypes allowed) {
  if (header.empty() || header.front() != '{') {
    return BadModelDirectory(file, "the header does not start with '{'");
  }
  if (HoldsNul(header))
    return BadModelDirectory(file, "the header is not valid JSON: it holds NUL");
  // First everything is checked and nothing kept; then what is kept has its place.
  HeaderEvents check(allowed, nullptr);
  if (!nlohmann::json::sax_parse(header.begin(), header.end(), &check)) {
    return BadModelDirectory(file, check.problem);
  }
  std::vector<StoredTensor> tensors;
  tensors.reserve(check.tensor_count);
  HeaderEvents keep(allowed, &tensors);
  nlohmann::json::sax_parse(header.begin(), header.end(), &keep);
  if (const StoredTensor* const repeated = FindRepeated(tensors)) {
    return BadModelDirectory(file, "tensor " + Quoted(repeated->name) + ": " + kTwice);
  }
  std::ranges::sort(tensors, LiesBefore);
  int64_t end = 0;
  for (StoredTensor& tensor : tensors) {
    if (tensor.offset_bytes != end) {
      return BadModelDirectory(file,
                               "tensor " + Quoted(tensor.name) +
                                   (tensor.offset_bytes < end ? ": its data overlaps another's"
                                                              : ": a hole lies before it"));
    }
    end += tensor.size_bytes;
    if (end > data_bytes) {
      return FileTruncated(file, "the file ends within tensor " + Quoted(tensor.name));
    }
    tensor.offset_bytes += data_start_bytes;
  }
  if (end != data_bytes) {
    return BadModelDirectory(
        file, std::to_string(data_bytes - end) + " bytes after the last tensor belong to none");
  }
  return tensors;
}

}  // namespace tightfit
