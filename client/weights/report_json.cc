#include "client/weights/report_json.h"

#include "client/cli/error_report.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <optional>
#include <string_view>

namespace tightfit::weights {
namespace {

using Json = nlohmann::ordered_json;

std::string Document(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void AddDistortion(const Distortion& distortion, Json* json) {
  const double sqnr_db = distortion.SqnrDb();
  (*json)["sqnr_db"] = std::isfinite(sqnr_db) ? Json(sqnr_db) : Json(nullptr);
  (*json)["signal_energy"] = distortion.signal_energy;
  (*json)["noise_energy"] = distortion.noise_energy;
  (*json)["max_error"] = distortion.max_error;
  (*json)["exact_count"] = distortion.exact_count;
  (*json)["became_zero_count"] = distortion.became_zero_count;
  (*json)["became_nonzero_count"] = distortion.became_nonzero_count;
  (*json)["sign_flip_count"] = distortion.sign_flip_count;
}

Json CostJson(const FormatCost& cost, int64_t weight_count) {
  Json json = {{"format", InfoOf(cost.format).name},
               {"packed", cost.representability.ok()},
               {"stored_bytes", cost.stored_bytes},
               {"bits_per_weight", BitsPerWeight(cost.stored_bytes, weight_count)},
               {"exponent_bias", cost.exponent_bias},
               {"side_count", cost.side_count}};
  AddDistortion(cost.distortion, &json);
  json["nan_count"] = cost.representability.nan_count;
  json["infinity_count"] = cost.representability.infinity_count;
  json["out_of_range_count"] = cost.representability.out_of_range_count;
  return json;
}

Json TotalJson(const TotalCost& total) {
  Json json = {{"stored_bytes", total.stored_bytes},
               {"bits_per_weight", BitsPerWeight(total.stored_bytes, total.weight_count)},
               {"side_count", total.side_count},
               {"packed_tensor_count", total.packed_tensor_count},
               {"left_tensor_count", total.left_tensor_count},
               {"left_weight_count", total.left_weight_count}};
  AddDistortion(total.distortion, &json);
  return json;
}

Json NameOrNull(const std::optional<size_t>& best, const std::vector<WeightFormat>& formats) {
  return best.has_value() ? Json(InfoOf(formats[*best]).name) : Json(nullptr);
}

Json TensorJson(const TensorCost& cost, const WeightReport& report) {
  Json json = {{"name", cost.tensor.name},   {"dtype", StoredDtypeName(cost.tensor.dtype)},
               {"shape", cost.tensor.shape}, {"weight_count", cost.tensor.element_count},
               {"best", Json::array()},      {"formats", Json::array()}};
  for (const int bits : report.bits) {
    json["best"].push_back(
        {{"bits", bits}, {"format", NameOrNull(BestOfClass(cost, bits), report.formats)}});
  }
  for (const FormatCost& format : cost.formats) {
    json["formats"].push_back(CostJson(format, cost.tensor.element_count));
  }
  return json;
}

Json AllTensorsJson(const WeightReport& report) {
  Json json = {{"best", Json::array()}, {"formats", Json::array()}};
  for (const int bits : report.bits) {
    Json best = {{"bits", bits},
                 {"format", NameOrNull(BestOfClass(report.tensors, bits), report.formats)},
                 {"each_in_its_best", nullptr}};
    const TotalCost mix = TotalOfBest(report.tensors, bits);
    if (mix.weight_count > 0) best["each_in_its_best"] = TotalJson(mix);
    json["best"].push_back(std::move(best));
  }
  for (size_t i = 0; i < report.formats.size(); ++i) {
    Json format = {{"format", InfoOf(report.formats[i]).name}};
    format.update(TotalJson(TotalOfFormat(report.tensors, i)));
    json["formats"].push_back(std::move(format));
  }
  return json;
}

std::string_view ScalingName(Scaling scaling) {
  switch (scaling) {
    case Scaling::kNone:
      return "none";
    case Scaling::kTensor:
      return "tensor";
    case Scaling::kRow:
      return "row";
    case Scaling::kBlock32:
      return "block32";
    case Scaling::kBlock64:
      return "block64";
  }
  return "";
}

}  // namespace

std::string ReportDocument(const WeightReport& report, bool summary) {
  int64_t weight_count = 0;
  int64_t rounded_count = 0;
  for (const TensorCost& cost : report.tensors) {
    weight_count += cost.tensor.element_count;
    rounded_count += cost.tensor.dtype == StoredDtype::kF16 ? 0 : 1;
  }
  Json json = {{"file", report.file},
               {"scope", report.scope},
               {"tensor_count", report.tensors.size()},
               {"weight_count", weight_count},
               {"rounded_tensor_count", rounded_count},
               {"left_out",
                {{"vectors", report.choice.vector_count},
                 {"embeddings", report.choice.embedding_count},
                 {"others", report.choice.other_count}}},
               {"all_tensors", AllTensorsJson(report)}};
  if (!summary) {
    json["tensors"] = Json::array();
    for (const TensorCost& cost : report.tensors) {
      json["tensors"].push_back(TensorJson(cost, report));
    }
  }
  return Document(json);
}

std::string FormatsDocument() {
  Json json = {{"formats", Json::array()}};
  for (const FormatInfo& info : kFormats) {
    json["formats"].push_back({{"name", info.name},
                               {"number", static_cast<int>(info.format)},
                               {"code_bits", info.bits},
                               {"bits_per_weight", BitsPerWeightOfSquare(info.format)},
                               {"scaling", ScalingName(info.scaling)},
                               {"max_value", info.max_value},
                               {"exact_in_bf16", info.exact_in_bf16}});
  }
  return Document(json);
}

std::string ErrorDocument(const Status& error) {
  return Document({{"error",
                    {{"code", cli::CodeName(error.code())},
                     {"reason", error.reason()},
                     {"message", error.message()}}}});
}

}  // namespace tightfit::weights
