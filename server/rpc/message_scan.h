// ScanMessage: what a message would cost to parse, told from its bytes.
#ifndef TIGHTFIT_SERVER_RPC_MESSAGE_SCAN_H_
#define TIGHTFIT_SERVER_RPC_MESSAGE_SCAN_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/zero_copy_stream.h>

#include <cstdint>

namespace tightfit {

enum class MessageScan {
  kOk,
  kMalformed,
  kTooManyFields,
};

// Reads `bytes` as a message of `type`, without keeping any of it. Two bytes on the wire can become
// an object of a hundred bytes: an unknown group, an empty text of a repeated field. So the fields
// of the message and of all messages in it, known or not, must be at most `max_fields`.
MessageScan ScanMessage(google::protobuf::io::ZeroCopyInputStream* bytes,
                        const google::protobuf::Descriptor& type, int64_t max_fields);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_MESSAGE_SCAN_H_
