#include "server/weights/directory_check.h"

#include "kernels/codec.h"
#include "server/model/listed_file.h"
#include "server/weights/packed_checkpoint.h"
#include "server/weights/packed_checkpoint_writer.h"
#include "server/weights/scratch_buffer.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

namespace tightfit {
namespace {

struct CheckedFile {
  ListedFile listed;
  std::unique_ptr<PackedCheckpoint> checkpoint;  // of a packed one whose index is right
  Status index;                                  // of a packed one
  Status whole;
  std::vector<Status> tensors;
};

// One piece of work: a file, or a tensor of one.
struct CheckedPart {
  size_t file = 0;
  int64_t tensor = -1;  // -1: all of the file
  int64_t bytes = 0;
};

std::vector<CheckedFile> OpenFiles(const ModelDirectory& model) {
  std::vector<CheckedFile> files;
  for (const std::string& name : ComponentNamesOf(model)) {
    const ManifestComponent& component = model.components.at(name);
    CheckedFile file{.listed = component.weights};
    if (component.packed.has_value()) {
      auto opened = PackedCheckpoint::Open(model.PathOf(file.listed), file.listed.file,
                                           component.packed->index_sha256);
      file.index = opened.status();
      if (opened.ok()) {
        file.checkpoint = std::move(*opened);
        file.tensors.resize(file.checkpoint->tensors().size());
      }
    }
    files.push_back(std::move(file));
  }
  for (const ListedFile& listed : FilesBesideWeights(model)) files.push_back({.listed = listed});
  if (model.sensitivity.has_value()) files.push_back({.listed = *model.sensitivity});
  return files;
}

// The largest first, so that no thread is left with one alone at the end.
std::vector<CheckedPart> PartsOf(const std::vector<CheckedFile>& files) {
  std::vector<CheckedPart> parts;
  for (size_t i = 0; i < files.size(); ++i) {
    parts.push_back({.file = i, .bytes = files[i].listed.bytes});
    if (files[i].checkpoint == nullptr) continue;
    for (const CheckpointTensor& tensor : files[i].checkpoint->tensors()) {
      const int64_t number = &tensor - files[i].checkpoint->tensors().data();
      parts.push_back({.file = i, .tensor = number, .bytes = tensor.stored.size_bytes});
    }
  }
  std::ranges::stable_sort(parts, std::greater<>(), &CheckedPart::bytes);
  return parts;
}

std::vector<DamagedPart> DamageOf(const CheckedFile& file) {
  std::vector<DamagedPart> damaged;
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    if (file.tensors[i].ok()) continue;
    damaged.push_back(
        {file.listed.file, file.checkpoint->tensors()[i].stored.name, file.tensors[i]});
  }
  if (!damaged.empty()) return damaged;
  if (!file.whole.ok()) return {{file.listed.file, "", file.whole}};
  if (!file.index.ok()) return {{file.listed.file, "", file.index}};
  return {};
}

}  // namespace

Result<DirectoryCheckReport> CheckDirectory(const std::string& model_path, int thread_count,
                                            const DirectoryProgress& progress) {
  TF_ASSIGN_OR_RETURN(const ModelDirectory model, ReadModelDirectory(model_path));
  std::vector<CheckedFile> files = OpenFiles(model);
  const std::vector<CheckedPart> parts = PartsOf(files);
  DirectoryCheckReport report{.file_count = std::ssize(files)};
  report.tensor_count = std::ssize(parts) - report.file_count;
  for (const CheckedFile& file : files) report.bytes += file.listed.bytes;
  int64_t all_bytes = 0;
  for (const CheckedPart& part : parts) all_bytes += part.bytes;

  std::atomic<bool> stopped{false};
  std::mutex mutex;  // guards `rewrite`
  RewriteProgress rewrite(progress, all_bytes);
  rewrite.Begin("checking");
  const auto add = [&](int64_t bytes) {
    const std::lock_guard lock(mutex);
    if (!stopped && !rewrite.Add(bytes)) stopped = true;
    return !stopped;
  };
  const auto check = [&](const CheckedPart& part) {
    CheckedFile& file = files[part.file];
    if (part.tensor < 0) {
      file.whole = CheckListedFile(model.path, file.listed, add);
      return;
    }
    ScratchBuffer buffer;
    buffer.Reserve(part.bytes);
    const CheckpointTensor& tensor = file.checkpoint->tensors()[static_cast<size_t>(part.tensor)];
    file.tensors[static_cast<size_t>(part.tensor)] = file.checkpoint->Read(tensor, buffer.data());
    add(part.bytes);
  };
  const auto check_some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && !stopped; ++i) check(parts[static_cast<size_t>(i)]);
  };
  if (const ParallelFor in_threads = InThreads(thread_count)) {
    in_threads(std::ssize(parts), 1, check_some);
  } else {
    check_some(0, std::ssize(parts));
  }
  if (stopped) return PackingStopped();
  for (const CheckedFile& file : files) {
    for (DamagedPart& damage : DamageOf(file)) report.damaged.push_back(std::move(damage));
  }
  return report;
}

}  // namespace tightfit
