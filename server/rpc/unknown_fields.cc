#include "server/rpc/unknown_fields.h"

#include <google/protobuf/unknown_field_set.h>

#include <set>
#include <utility>

namespace tightfit {
namespace {

// More are of no use to anybody, and an attacker may send thousands.
constexpr size_t kMaxUnknownFields = 16;

void Collect(const google::protobuf::Message& message, const std::string& path,
             std::vector<FieldViolation>& violations) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const google::protobuf::UnknownFieldSet& unknown = reflection.GetUnknownFields(message);
  std::set<int> numbers;
  for (int i = 0; i < unknown.field_count() && numbers.size() < kMaxUnknownFields; ++i) {
    numbers.insert(unknown.field(i).number());
  }
  for (const int number : numbers) {
    if (violations.size() >= kMaxUnknownFields) return;
    violations.push_back({path + std::to_string(number), "this server does not know the field"});
  }
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (field->is_repeated()) continue;
    Collect(reflection.GetMessage(message, field), path + field->name() + ".", violations);
  }
}

}  // namespace

std::vector<FieldViolation> UnknownFields(const google::protobuf::Message& message) {
  std::vector<FieldViolation> violations;
  Collect(message, "", violations);
  return violations;
}

Status RefuseIfAny(std::vector<FieldViolation> violations) {
  if (violations.empty()) return OkStatus();
  std::string message = "invalid request";
  const char* separator = ": ";
  for (const FieldViolation& violation : violations) {
    message += separator + violation.field + " " + violation.description;
    separator = "; ";
  }
  return InvalidArgument(std::move(message)).WithFieldViolations(std::move(violations));
}

}  // namespace tightfit
