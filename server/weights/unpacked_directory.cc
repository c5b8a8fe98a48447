#include "server/model/model_errors.h"
#include "server/model/sha256.h"
#include "server/weights/dense_file_writer.h"
#include "server/weights/packed_checkpoint.h"
#include "server/weights/packed_directory.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <utility>

namespace tightfit {
namespace {

struct UnpackingPlan {
  std::string name;
  const ManifestComponent* manifest = nullptr;
  std::unique_ptr<PackedCheckpoint> checkpoint;
};

int64_t DenseBytesOf(const PackedCheckpoint& checkpoint) {
  int64_t bytes = 0;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    bytes += tensor.stored.size_bytes + 512;  // its part of the header
    if (!tensor.is_packed()) continue;
    const PackedLayout layout = tensor.header().layout;
    bytes += layout.rows * layout.columns * 2 - layout.total_bytes;
  }
  return bytes;
}

Result<std::vector<UnpackingPlan>> PlanUnpacking(const ModelDirectory& model) {
  std::vector<UnpackingPlan> plans;
  for (const std::string& name : ComponentNamesOf(model)) {
    UnpackingPlan plan{.name = name, .manifest = &model.components.at(name), .checkpoint = nullptr};
    if (!plan.manifest->packed.has_value()) {
      return Status(StatusCode::kFailedPrecondition, "NOT_PACKED", model.path + " is not packed");
    }
    const ListedFile& listed = plan.manifest->weights;
    TF_ASSIGN_OR_RETURN(plan.checkpoint,
                        PackedCheckpoint::Open(model.PathOf(listed), listed.file,
                                               plan.manifest->packed->index_sha256));
    plans.push_back(std::move(plan));
  }
  return plans;
}

std::string HashOverWeights(const std::vector<std::pair<std::string, std::string>>& digests) {
  std::string lines;
  for (const auto& [name, sha256] : digests) lines += name + " " + sha256 + "\n";
  return Sha256::HexDigestOf(lines);
}

Status WriteUnpacked(const ModelDirectory& model, const std::string& manifest_text,
                     const std::vector<UnpackingPlan>& plans, const ParallelFor& parallel_for,
                     const PartialDirectory& partial, RewriteProgress* progress,
                     DirectoryUnpackingReport* report) {
  auto json = nlohmann::ordered_json::parse(manifest_text);
  std::vector<std::pair<std::string, std::string>> digests;
  for (const UnpackingPlan& plan : plans) {
    progress->Begin(plan.name);
    const std::string file = plan.name + ".safetensors";
    TF_ASSIGN_OR_RETURN(const DenseFileReport dense,
                        WriteDenseWeights(*plan.checkpoint, partial.PathOf(file), parallel_for,
                                          progress->ForBytes()));
    json["components"][plan.name]["weights"] = {
        {"file", file}, {"bytes", dense.bytes}, {"sha256", dense.sha256}};
    if (plan.name != kVaeEncoder) digests.emplace_back(plan.name, dense.sha256);
    report->components.push_back(
        {.name = plan.name,
         .format = plan.manifest->packed->format,
         .packed_bytes = plan.checkpoint->size_bytes(),
         .bytes = dense.bytes,
         .decoded_module_count = dense.decoded_module_count,
         .is_original = dense.sha256 == plan.manifest->packed->original_sha256});
  }
  if (!report->is_original()) {
    report->hash = HashOverWeights(digests);
    json["hash"] = report->hash;
    json["unpacked_from"]["hash"] = report->original_hash;
    for (const UnpackedComponent& component : report->components) {
      json["unpacked_from"]["formats"][component.name] = component.format;
    }
  }
  progress->Begin("graphs and tokenizers");
  for (const ListedFile& file : FilesBesideWeights(model)) {
    TF_RETURN_IF_ERROR(CopyListedFile(model, file, partial, progress));
  }
  return WriteManifest(json.dump(2) + "\n", partial);
}

}  // namespace

bool DirectoryUnpackingReport::is_original() const {
  return std::ranges::all_of(components, &UnpackedComponent::is_original);
}

Result<DirectoryUnpackingReport> UnpackDirectory(const std::string& model_path,
                                                 const std::string& out,
                                                 const ParallelFor& parallel_for,
                                                 const DirectoryProgress& progress) {
  TF_ASSIGN_OR_RETURN(const std::string manifest_text, ReadManifestText(model_path));
  TF_ASSIGN_OR_RETURN(const ModelDirectory model, ReadModelDirectory(model_path));
  TF_ASSIGN_OR_RETURN(const std::vector<UnpackingPlan> plans, PlanUnpacking(model));
  int64_t needed_bytes = 1 << 20;
  int64_t all_bytes = 0;
  for (const UnpackingPlan& plan : plans) {
    needed_bytes += DenseBytesOf(*plan.checkpoint);
    all_bytes += plan.checkpoint->size_bytes();
  }
  for (const ListedFile& file : FilesBesideWeights(model)) {
    needed_bytes += file.bytes;
    all_bytes += file.bytes;
  }
  TF_RETURN_IF_ERROR(CheckDiskSpace(out, needed_bytes));
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<PartialDirectory> partial,
                      PartialDirectory::Open(out, "unpacked"));
  DirectoryUnpackingReport report{
      .hash = model.hash, .original_hash = model.hash, .components = {}};
  RewriteProgress rewrite(progress, all_bytes);
  Status status =
      WriteUnpacked(model, manifest_text, plans, parallel_for, *partial, &rewrite, &report);
  rewrite.Begin("to the disk");
  if (status.ok() && !rewrite.Add(0)) status = PackingStopped();
  if (status.ok()) status = partial->Publish();
  if (status.code() == StatusCode::kCancelled) {
    return Interrupted(status, out, kWorthKeepingBytes, partial.get());
  }
  TF_RETURN_IF_ERROR(status);
  return report;
}

}  // namespace tightfit
