#include "server/model/torchscript_archive.h"

#include "server/model/graph_source_scan.h"
#include "server/model/model_errors.h"
#include "server/model/operator_allowlist.h"

#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>

#include <set>
#include <sstream>
#include <string_view>
#include <tuple>

namespace tightfit {
namespace {

namespace jit = torch::jit;

// Records may be compressed: what they unpack to is bounded too.
constexpr uint64_t kMaxUnpackedBytes = 256 << 20;
constexpr size_t kMaxRecords = 65536;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}
bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

enum class RecordKind { kUnknown, kBytes, kSource, kPickle };

RecordKind KindOf(std::string_view record) {
  if (EndsWith(record, ".pkl") || EndsWith(record, ".debug_pkl")) return RecordKind::kPickle;
  if (StartsWith(record, "code/") && EndsWith(record, ".py")) return RecordKind::kSource;
  for (const std::string_view prefix : {"data/", "constants/", "traced_inputs/", ".data/"}) {
    if (StartsWith(record, prefix)) return RecordKind::kBytes;
  }
  for (const std::string_view name :
       {"version", "byteorder", ".format_version", ".storage_alignment"}) {
    if (record == name) return RecordKind::kBytes;
  }
  return RecordKind::kUnknown;
}

Status ScanArchive(const std::string& file, const std::string& bytes) {
  std::istringstream stream(bytes);
  caffe2::serialize::PyTorchStreamReader reader(&stream);
  const std::vector<std::string> records = reader.getAllRecords();
  if (records.size() > kMaxRecords) return BadModelDirectory(file, "it holds too many records");
  uint64_t unpacked_bytes = 0;
  for (const std::string& record : records) {
    const RecordKind kind = KindOf(record);
    if (kind == RecordKind::kUnknown) {
      return BadModelDirectory(file, "it holds a record that no graph needs");
    }
    const uint64_t record_bytes = reader.getRecordSize(record);
    if (record_bytes > kMaxUnpackedBytes - unpacked_bytes) {
      return BadModelDirectory(file, "it unpacks to more than 256 MiB");
    }
    unpacked_bytes += record_bytes;
    if (kind == RecordKind::kBytes) continue;
    const auto [data, size] = reader.getRecord(record);
    const std::string_view text(static_cast<const char*>(data.get()), size);
    TF_RETURN_IF_ERROR(kind == RecordKind::kSource ? ScanGraphSource(file, text)
                                                   : ScanPickle(file, text));
  }
  return OkStatus();
}

Status CheckBlock(const std::string& file, const jit::Block* block) {
  for (const jit::Node* node : block->nodes()) {
    if (!IsAllowedOperator(node->kind().toQualString())) {
      return ForbiddenOperator(file, node->kind().toQualString());
    }
    if (node->kind() == c10::prim::CallMethod && !IsForwardMethod(node->s(c10::attr::name))) {
      return ForbiddenOperator(file, node->s(c10::attr::name));
    }
    for (const jit::Block* inner : node->blocks()) TF_RETURN_IF_ERROR(CheckBlock(file, inner));
  }
  return OkStatus();
}

Status CheckGraphs(const std::string& file, const jit::Module& root) {
  std::set<const c10::ClassType*> seen;
  for (const jit::Module& module : root.modules()) {
    const c10::ClassTypePtr type = module.type();
    if (!seen.insert(type.get()).second) continue;
    if (!type->getForwardHooks().empty() || !type->getForwardPreHooks().empty()) {
      return ForbiddenOperator(file, "a forward hook");
    }
    for (torch::jit::Function* method : type->methods()) {
      if (!IsForwardMethod(method->name())) return ForbiddenOperator(file, method->name());
      TF_RETURN_IF_ERROR(CheckBlock(file, jit::toGraphFunction(*method).graph()->block()));
    }
  }
  return OkStatus();
}

}  // namespace

Result<torch::jit::Module> LoadTorchScript(const std::string& file, const std::string& bytes) {
  try {
    TF_RETURN_IF_ERROR(ScanArchive(file, bytes));
  } catch (const c10::OutOfMemoryError&) {
    throw;  // says nothing of the file
  } catch (const c10::Error& exception) {
    return BadModelDirectory(file, "not a TorchScript archive")
        .WithDetail(exception.what_without_backtrace());
  }
  std::istringstream stream(bytes);
  jit::Module module = jit::load(stream, at::kCPU);
  TF_RETURN_IF_ERROR(CheckGraphs(file, module));
  module.eval();
  return module;
}

}  // namespace tightfit
