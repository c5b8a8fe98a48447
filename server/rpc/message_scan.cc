#include "server/rpc/message_scan.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

namespace tightfit {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;

class Scan {
 public:
  Scan(google::protobuf::io::ZeroCopyInputStream* bytes, int64_t max_fields)
      : in_(bytes), fields_left_(max_fields) {}

  MessageScan Run(const Descriptor& type) {
    const MessageScan fields = Fields(type);
    if (fields != MessageScan::kOk) return fields;
    return in_.ConsumedEntireMessage() ? MessageScan::kOk : MessageScan::kMalformed;
  }

 private:
  // Up to the end of the bytes, or of the limit that is pushed. The fields of unknown groups are
  // taken for fields of the message around them: only their number matters.
  MessageScan Fields(const Descriptor& type) {
    while (const uint32_t tag = in_.ReadTag()) {
      if (--fields_left_ < 0) return MessageScan::kTooManyFields;
      const MessageScan value = Value(type, tag);
      if (value != MessageScan::kOk) return value;
    }
    return MessageScan::kOk;
  }

  MessageScan Value(const Descriptor& type, uint32_t tag) {
    uint64_t number = 0;
    int size = 0;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        return Read(in_.ReadVarint64(&number));
      case WireFormatLite::WIRETYPE_FIXED64:
        return Read(in_.Skip(8));
      case WireFormatLite::WIRETYPE_FIXED32:
        return Read(in_.Skip(4));
      case WireFormatLite::WIRETYPE_START_GROUP:
      case WireFormatLite::WIRETYPE_END_GROUP:
        return MessageScan::kOk;
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
        if (!in_.ReadVarintSizeAsInt(&size)) return MessageScan::kMalformed;
        break;
      default:
        return MessageScan::kMalformed;
    }
    const FieldDescriptor* const field =
        type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool is_message = field != nullptr && field->type() == FieldDescriptor::TYPE_MESSAGE;
    if (!is_message) return Read(in_.Skip(size));
    // Types of the contract do not contain themselves, so this ends.
    const auto limit = in_.PushLimit(size);
    const MessageScan fields = Fields(*field->message_type());
    if (fields != MessageScan::kOk) return fields;
    if (in_.BytesUntilLimit() != 0) return MessageScan::kMalformed;
    in_.PopLimit(limit);
    return MessageScan::kOk;
  }

  static MessageScan Read(bool succeeded) {
    return succeeded ? MessageScan::kOk : MessageScan::kMalformed;
  }

  google::protobuf::io::CodedInputStream in_;
  int64_t fields_left_;
};

}  // namespace

MessageScan ScanMessage(google::protobuf::io::ZeroCopyInputStream* bytes,
                        const google::protobuf::Descriptor& type, int64_t max_fields) {
  return Scan(bytes, max_fields).Run(type);
}

}  // namespace tightfit
