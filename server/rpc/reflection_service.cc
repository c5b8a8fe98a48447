#include "server/rpc/reflection_service.h"

#include "server/rpc/bounded_handler.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <set>

namespace tightfit {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::ErrorResponse;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

// One stream of questions. Deletes itself at its end.
class ReflectionStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ReflectionStream(const std::vector<std::string>* services, int64_t max_fields)
      : services_(services), max_fields_(max_fields) {
    StartRead(&bytes_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    if (const grpc::Status status = ParseRequest(); !status.ok()) return Finish(status);
    Answer();
    bytes_.Clear();
    bool own_buffer = false;
    const grpc::Status status =
        grpc::GenericSerialize<grpc::ProtoBufferWriter, ServerReflectionResponse>(
            response_, &bytes_, &own_buffer);
    if (!status.ok()) return Finish(status);
    StartWrite(&bytes_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    bytes_.Clear();
    StartRead(&bytes_);
  }

  void OnDone() override { delete this; }

 private:
  grpc::Status ParseRequest() {
    grpc::Slice whole;
    if (!bytes_.DumpToSingleSlice(&whole).ok()) return ToGrpcStatus(MalformedMessage());
    google::protobuf::io::ArrayInputStream input(whole.begin(), static_cast<int>(whole.size()));
    const MessageScan scan =
        ScanMessage(&input, *ServerReflectionRequest::descriptor(), max_fields_);
    if (scan == MessageScan::kTooManyFields) return ToGrpcStatus(TooManyFields(max_fields_));
    if (scan != MessageScan::kOk ||
        !request_.ParseFromArray(whole.begin(), static_cast<int>(whole.size()))) {
      return ToGrpcStatus(MalformedMessage());
    }
    return grpc::Status::OK;
  }

  void Answer() {
    response_.Clear();
    response_.set_valid_host(request_.host());
    *response_.mutable_original_request() = request_;
    switch (request_.message_request_case()) {
      case ServerReflectionRequest::kFileByFilename:
        return AnswerFile(pool_->FindFileByName(request_.file_by_filename()), "file");
      case ServerReflectionRequest::kFileContainingSymbol:
        return AnswerFile(pool_->FindFileContainingSymbol(request_.file_containing_symbol()),
                          "symbol");
      case ServerReflectionRequest::kFileContainingExtension:
        return AnswerExtension();
      case ServerReflectionRequest::kAllExtensionNumbersOfType:
        return AnswerExtensionNumbers();
      case ServerReflectionRequest::kListServices:
        for (const std::string& name : *services_) {
          response_.mutable_list_services_response()->add_service()->set_name(name);
        }
        return;
      case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
        return Refuse(grpc::StatusCode::UNIMPLEMENTED, "this question is not known");
    }
  }

  void AnswerFile(const FileDescriptor* file, const char* what) {
    if (file == nullptr) {
      return Refuse(grpc::StatusCode::NOT_FOUND, std::string("no such ") + what);
    }
    response_.mutable_file_descriptor_response();  // may stay empty: all of it was sent
    AddFile(*file);
  }

  void AnswerExtension() {
    const auto& asked = request_.file_containing_extension();
    const Descriptor* const type = pool_->FindMessageTypeByName(asked.containing_type());
    const FieldDescriptor* const extension =
        type == nullptr ? nullptr : pool_->FindExtensionByNumber(type, asked.extension_number());
    AnswerFile(extension == nullptr ? nullptr : extension->file(), "extension");
  }

  void AnswerExtensionNumbers() {
    const std::string& name = request_.all_extension_numbers_of_type();
    const Descriptor* const type = pool_->FindMessageTypeByName(name);
    if (type == nullptr) return Refuse(grpc::StatusCode::NOT_FOUND, "no such message");
    auto& answer = *response_.mutable_all_extension_numbers_response();
    answer.set_base_type_name(name);
    std::vector<const FieldDescriptor*> extensions;
    pool_->FindAllExtensions(type, &extensions);
    for (const FieldDescriptor* extension : extensions) {
      answer.add_extension_number(extension->number());
    }
  }

  // The file, and what it imports, unless this stream has it.
  void AddFile(const FileDescriptor& file) {
    if (!sent_.insert(&file).second) return;
    google::protobuf::FileDescriptorProto proto;
    file.CopyTo(&proto);
    response_.mutable_file_descriptor_response()->add_file_descriptor_proto(
        proto.SerializeAsString());
    for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i));
  }

  void Refuse(grpc::StatusCode code, const std::string& message) {
    ErrorResponse& error = *response_.mutable_error_response();
    error.set_error_code(code);
    error.set_error_message(message);
  }

  const DescriptorPool* const pool_ = DescriptorPool::generated_pool();
  const std::vector<std::string>* const services_;
  const int64_t max_fields_;
  grpc::ByteBuffer bytes_;  // of the request, then of the answer
  ServerReflectionRequest request_;
  ServerReflectionResponse response_;
  std::set<const FileDescriptor*> sent_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
ReflectionService::ServerReflectionInfo(grpc::CallbackServerContext*) {
  return new ReflectionStream(&services_, max_fields_);
}

}  // namespace tightfit
