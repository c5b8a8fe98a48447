#include "server/weights/packed_directory.h"

#include "kernels/format.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"
#include "server/weights/packed_checkpoint.h"
#include "server/weights/packing_check.h"
#include "server/weights/sensitivity.h"
#include "server/weights/weight_budget.h"
#include "server/weights/weight_source.h"

#include <nlohmann/json.hpp>

#include <memory>
#include <optional>
#include <utility>

namespace tightfit {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr int kKeyDigits = 16;

std::string PackedFileName(const std::string& component) {
  return component + ".packed.safetensors";
}

std::string RecordOf(const PackedFileReport& report) {
  OrderedJson dense = OrderedJson::array();
  for (const DenseModule& module : report.dense_modules)
    dense.push_back({module.module, module.why});
  return OrderedJson{{"bytes", report.bytes},
                     {"sha256", report.sha256},
                     {"index_sha256", report.index_sha256},
                     {"original_sha256", report.original_sha256},
                     {"format", report.format},
                     {"weight_count", report.weight_count},
                     {"packed_weight_count", report.packed_weight_count},
                     {"packed_bytes", report.packed_bytes},
                     {"packed_module_count", report.packed_module_count},
                     {"dense_modules", dense}}
      .dump();
}

// nullopt for what no run of this version wrote.
std::optional<PackedFileReport> ReportOf(const std::string& record) {
  try {
    const auto json = nlohmann::json::parse(record);
    PackedFileReport report{.bytes = json.at("bytes"),
                            .sha256 = json.at("sha256"),
                            .index_sha256 = json.at("index_sha256"),
                            .original_sha256 = json.at("original_sha256"),
                            .format = json.at("format"),
                            .weight_count = json.at("weight_count"),
                            .packed_weight_count = json.at("packed_weight_count"),
                            .packed_bytes = json.at("packed_bytes"),
                            .packed_module_count = json.at("packed_module_count"),
                            .dense_modules = {}};
    for (const auto& module : json.at("dense_modules")) {
      report.dense_modules.push_back({module.at(0), module.at(1)});
    }
    return report;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

// One component on its way.
struct ComponentPlan {
  std::string name;
  ComponentFormat asked;
  const ManifestComponent* manifest = nullptr;
  std::unique_ptr<SafetensorsFile> file;
  std::unique_ptr<WeightTable> table;

  // As long as its values fit the format.
  int64_t LargestBytes() const {
    int64_t bytes = table->Estimate(/*dtype_bytes=*/2, /*block_bytes=*/1).weight_bytes;
    for (const StoredTensor& tensor : file->tensors()) {
      if (tensor.dtype == StoredDtype::kF32) bytes += tensor.size_bytes / 2;
      bytes += 512;  // its part of header and index
    }
    return bytes;
  }
};

class PackingRun {
 public:
  PackingRun(const DirectoryPacking& packing, const ParallelFor& parallel_for)
      : packing_(packing), parallel_for_(parallel_for) {}

  Result<DirectoryPackingReport> Run(const DirectoryProgress& progress) {
    TF_RETURN_IF_ERROR(Plan());
    TF_ASSIGN_OR_RETURN(partial_, PartialDirectory::Open(packing_.out, Key()));
    TF_RETURN_IF_ERROR(CheckSpace());
    const std::vector<ListedFile> others = FilesBesideWeights(model_);
    int64_t all_bytes = 0;
    for (const ComponentPlan& plan : plans_) all_bytes += plan.file->size_bytes();
    for (const ListedFile& file : others) all_bytes += file.bytes;
    RewriteProgress rewrite(progress, all_bytes);
    Status status = WriteAll(others, &rewrite);
    rewrite.Begin("to the disk");
    if (status.ok() && !rewrite.Add(0)) status = PackingStopped();
    if (status.ok()) status = partial_->Publish();
    if (status.code() == StatusCode::kCancelled) {
      return Interrupted(PackingStopped(), packing_.out, packing_.worth_keeping_bytes,
                         partial_.get());
    }
    TF_RETURN_IF_ERROR(status);
    return std::move(report_);
  }

 private:
  // All that can be refused before anything is written.
  Status Plan() {
    TF_ASSIGN_OR_RETURN(manifest_text_, ReadManifestText(packing_.model));
    TF_ASSIGN_OR_RETURN(model_, ReadModelDirectory(packing_.model));
    if (IsPackedDirectory(model_)) {
      return {StatusCode::kFailedPrecondition, "ALREADY_PACKED",
              packing_.model + " is packed already; unpack it first: tightfit pack --unpack " +
                  packing_.model + " --out DIR"};
    }
    TF_RETURN_IF_ERROR(CheckComponents(packing_.formats, model_));
    report_.hash = model_.hash;
    for (const std::string& name : ComponentNamesOf(model_)) {
      ComponentPlan plan{.name = name, .asked = {}};
      plan.asked = FormatOf(packing_.formats, plan.name);
      plan.manifest = &model_.components.at(plan.name);
      const ListedFile& listed = plan.manifest->weights;
      TF_RETURN_IF_ERROR(CheckListedSize(model_.path, listed));
      TF_ASSIGN_OR_RETURN(plan.file, SafetensorsFile::Open(model_.PathOf(listed), listed.file));
      ComponentPacking how{.format = FormatByName(plan.asked.format),
                           .scope = {.name = plan.asked.scope, .exclude = {}}};
      if (plan.name == "unet") {
        how.scope.exclude = packing_.exclude;
        TF_ASSIGN_OR_RETURN(how.formats_by_module, LayerFormats(plan, how.scope));
      }
      TF_RETURN_IF_ERROR(CheckPacking(plan.name, plan.file->tensors(), plan.manifest->layers, how));
      plan.table = std::make_unique<WeightTable>(plan.file->tensors(), plan.manifest->layers, how);
      plans_.push_back(std::move(plan));
    }
    for (const ListedFile& file : FilesBesideWeights(model_)) {
      TF_RETURN_IF_ERROR(CheckListedSize(model_.path, file));
    }
    return OkStatus();
  }

  // Of the UNet: the bytes of the other components are known from their headers.
  Result<FormatsByModule> LayerFormats(const ComponentPlan& unet, const PackingScope& scope) {
    if (!packing_.budget_mib.has_value() && !packing_.min_psnr_db.has_value()) {
      return FormatsByModule();
    }
    TF_ASSIGN_OR_RETURN(const Sensitivity sensitivity, ReadSensitivity(model_));
    const WeightUnits units;
    const WeightBudget budget(WeightTable(unet.file->tensors(), unet.manifest->layers, {}),
                              sensitivity, scope, units);
    WeightBudget::Plan plan;
    if (packing_.budget_mib.has_value()) {
      TF_ASSIGN_OR_RETURN(const int64_t other_bytes, OtherWeightBytes(units));
      const auto bytes = static_cast<int64_t>(*packing_.budget_mib * kMib) - other_bytes;
      if (bytes < budget.least_bytes()) {
        return BudgetTooSmall("--budget-mib", *packing_.budget_mib,
                              other_bytes + budget.least_bytes());
      }
      plan = budget.Within(bytes);
    } else {
      if (sensitivity.joint.empty()) {
        return BadModelDirectory(kSensitivityFile,
                                 "does not say what errors do to images; measure it again");
      }
      plan = budget.ForError(sensitivity.ErrorForPsnr(*packing_.min_psnr_db));
    }
    if (!sensitivity.joint.empty())
      report_.predicted_psnr_db = sensitivity.PsnrForError(plan.error);
    return plan.formats;
  }

  Result<int64_t> OtherWeightBytes(const WeightUnits& units) const {
    int64_t bytes = 0;
    for (const auto& [name, component] : model_.components) {
      if (name == "unet" || name == kVaeEncoder) continue;
      const ComponentFormat asked = FormatOf(packing_.formats, name);
      TF_ASSIGN_OR_RETURN(const auto source, WeightSource::Open(model_, component, ""));
      bytes += source->Table({FormatByName(asked.format), {.name = asked.scope, .exclude = {}}, {}})
                   .Estimate(units.dense_weight_bytes, units.block_bytes)
                   .weight_bytes;
    }
    return bytes;
  }

  std::string Key() const {
    OrderedJson identity = {packing_.version, manifest_text_, packing_.exclude};
    identity.push_back({packing_.budget_mib.value_or(0.0), packing_.min_psnr_db.value_or(0.0)});
    for (const ComponentPlan& plan : plans_) {
      identity.push_back({plan.name, plan.asked.format, plan.asked.scope});
    }
    return Sha256::HexDigestOf(identity.dump(-1, ' ', false, OrderedJson::error_handler_t::replace))
        .substr(0, kKeyDigits);
  }

  Status CheckSpace() {
    int64_t needed_bytes = 1 << 20;
    for (const ComponentPlan& plan : plans_) needed_bytes += plan.LargestBytes();
    for (const ListedFile& file : FilesBesideWeights(model_)) needed_bytes += file.bytes;
    return CheckDiskSpace(packing_.out, needed_bytes - partial_->finished_bytes());
  }

  Status WriteAll(const std::vector<ListedFile>& others, RewriteProgress* progress) {
    for (const ComponentPlan& plan : plans_) TF_RETURN_IF_ERROR(MakeFile(plan, progress));
    progress->Begin("graphs and tokenizers");
    for (const ListedFile& file : others) {
      TF_RETURN_IF_ERROR(CopyListedFile(model_, file, *partial_, progress));
    }
    auto json = OrderedJson::parse(manifest_text_);
    json.erase("sensitivity");  // of weights that the new directory does not have
    for (const PackedComponent& component : report_.components) {
      const PackedFileReport& file = component.file;
      json["components"][component.name]["weights"] = {
          {"file", PackedFileName(component.name)},
          {"bytes", file.bytes},
          {"sha256", file.sha256},
          {"packed",
           {{"version", kPackedCheckpointVersion},
            {"format", file.format},
            {"index_sha256", file.index_sha256},
            {"original_sha256", file.original_sha256}}}};
    }
    return WriteManifest(json.dump(2) + "\n", *partial_);
  }

  Status MakeFile(const ComponentPlan& plan, RewriteProgress* progress) {
    PackedComponent component{.name = plan.name,
                              .asked = plan.asked,
                              .original_bytes = plan.file->size_bytes(),
                              .file = {}};
    TF_ASSIGN_OR_RETURN(component.was_finished, TakeOver(plan, &component.file, progress));
    if (!component.was_finished) {
      progress->Begin(plan.name);
      TF_ASSIGN_OR_RETURN(
          component.file,
          WritePackedCheckpoint(*plan.file, plan.manifest->weights.sha256, *plan.table,
                                partial_->PathOf(PackedFileName(plan.name)), parallel_for_,
                                progress->ForBytes()));
      TF_RETURN_IF_ERROR(
          partial_->Finish(PackedFileName(plan.name),
                           {.bytes = component.file.bytes, .record = RecordOf(component.file)}));
      // What the tensors do not cover.
      progress->Add(static_cast<int64_t>(plan.file->header_bytes().size()));
    }
    report_.components.push_back(std::move(component));
    return OkStatus();
  }

  // Whether an earlier run finished the file and it is still what it was.
  Result<bool> TakeOver(const ComponentPlan& plan, PackedFileReport* report,
                        RewriteProgress* progress) {
    const std::string name = PackedFileName(plan.name);
    const auto found = partial_->finished().find(name);
    if (found == partial_->finished().end()) return false;
    const std::optional<PackedFileReport> earlier = ReportOf(found->second.record);
    if (earlier.has_value()) {
      progress->Begin(plan.name + ": finished earlier, checking");
      const Status whole = CheckListedFile(
          partial_->path(), {.file = name, .bytes = earlier->bytes, .sha256 = earlier->sha256},
          [progress](int64_t) { return progress->Add(0); });
      if (whole.code() == StatusCode::kCancelled) return whole;
      const bool is_index_right =
          whole.ok() &&
          PackedCheckpoint::Open(partial_->PathOf(name), name, earlier->index_sha256).ok();
      if (is_index_right && earlier->original_sha256 == plan.manifest->weights.sha256) {
        *report = *earlier;
        progress->Add(plan.file->size_bytes());
        return true;
      }
    }
    TF_RETURN_IF_ERROR(partial_->Forget(name));
    return false;
  }

  const DirectoryPacking& packing_;
  const ParallelFor& parallel_for_;
  std::string manifest_text_;
  ModelDirectory model_;
  std::vector<ComponentPlan> plans_;
  std::unique_ptr<PartialDirectory> partial_;
  DirectoryPackingReport report_;
};

}  // namespace

Result<DirectoryPackingReport> PackDirectory(const DirectoryPacking& packing,
                                             const ParallelFor& parallel_for,
                                             const DirectoryProgress& progress) {
  return PackingRun(packing, parallel_for).Run(progress);
}

}  // namespace tightfit
