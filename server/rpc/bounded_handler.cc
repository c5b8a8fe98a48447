#include "server/rpc/bounded_handler.h"

#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <grpc/byte_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <cstdlib>
#include <deque>
#include <vector>

namespace tightfit {

namespace io = google::protobuf::io;

MessageScan ScanByteBuffer(grpc_byte_buffer* request, const google::protobuf::Descriptor& type,
                           int64_t max_fields) {
  grpc_byte_buffer_reader reader;
  if (request == nullptr || grpc_byte_buffer_reader_init(&reader, request) == 0) {
    return MessageScan::kMalformed;
  }
  std::vector<grpc::Slice> slices;
  for (grpc_slice slice; grpc_byte_buffer_reader_next(&reader, &slice) != 0;) {
    slices.emplace_back(slice, grpc::Slice::STEAL_REF);
  }
  grpc_byte_buffer_reader_destroy(&reader);

  std::deque<io::ArrayInputStream> parts;
  std::vector<io::ZeroCopyInputStream*> pointers;
  for (const grpc::Slice& slice : slices) {
    parts.emplace_back(slice.begin(), static_cast<int>(slice.size()));
    pointers.push_back(&parts.back());
  }
  io::ConcatenatingInputStream all(pointers.data(), static_cast<int>(pointers.size()));
  return ScanMessage(&all, type, max_fields);
}

Status MalformedMessage() {
  return {StatusCode::kInvalidArgument, "MALFORMED_MESSAGE",
          "the request cannot be read: it must be a protobuf message of the method's type, its "
          "texts in UTF-8"};
}

Status TooManyFields(int64_t max_fields) {
  return {StatusCode::kInvalidArgument, "TOO_MANY_FIELDS",
          "the request has more than " + std::to_string(max_fields) + " fields"};
}

int MethodIndex(const char* service, const char* method) {
  const auto* const found =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
  if (found == nullptr || found->FindMethodByName(method) == nullptr) std::abort();
  return found->FindMethodByName(method)->index();
}

}  // namespace tightfit
