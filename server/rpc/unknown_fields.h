// Finds fields that this server does not know: what a newer client set must be refused, not
// ignored.
#ifndef TIGHTFIT_SERVER_RPC_UNKNOWN_FIELDS_H_
#define TIGHTFIT_SERVER_RPC_UNKNOWN_FIELDS_H_

#include "server/base/status.h"

#include <google/protobuf/message.h>

#include <string>
#include <vector>

namespace tightfit {

// One violation per unknown field number of `message` and of the messages in it; at most 16. A path
// is the names that lead to the unknown field and then its number: "18", "original_size.3".
std::vector<FieldViolation> UnknownFields(const google::protobuf::Message& message);

// OK, or INVALID_ARGUMENT naming every violation, in the message too.
Status RefuseIfAny(std::vector<FieldViolation> violations);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_UNKNOWN_FIELDS_H_
