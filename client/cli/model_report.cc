#include "client/cli/model_report.h"

#include "client/cli/measure_text.h"
#include "client/cli/table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace tightfit::cli {
namespace {

// More modules than these are counted, not listed; --json has them all.
constexpr size_t kMaxModulesListed = 20;

struct WeightTotals {
  int64_t parameter_count = 0;
  int64_t fp16_bytes = 0;
  int64_t weight_bytes = 0;
  int64_t packed_bytes = 0;
  int64_t packed_module_count = 0;
};

WeightTotals TotalsOf(const client::Model& model) {
  WeightTotals totals;
  for (const client::Component& component : model.components) {
    totals.parameter_count += component.parameter_count;
    totals.fp16_bytes += component.fp16_bytes;
    totals.weight_bytes += component.weight_bytes;
    totals.packed_bytes += component.packed_bytes;
    totals.packed_module_count += component.packed_module_count;
  }
  return totals;
}

std::string FailureLine(const client::Model& model, const TextStyle& style) {
  if (model.state != client::ModelState::kFailed) return "";
  return style.Paint("failed:", Colour::kRed) + " " +
         Printable(
             fmt::format("{}: {} [{}]", model.name, model.failure_message, model.failure_reason)) +
         "\n";
}

std::string Facts(const client::Model& model) {
  std::string text;
  const auto add = [&text](const char* name, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<9} {}\n", name, Printable(value));
  };
  add("family", model.family);
  add("hash", model.hash);
  add("license", model.license);
  add("weights", model.format.empty() ? "" : model.format + ", scope " + model.scope);
  add("computes", model.compute_dtype.empty() ? "" : model.compute_dtype + " on " + model.device);
  if (model.defaults.has_value()) {
    const std::string& spacing = model.defaults->timestep_spacing;
    add("defaults",
        fmt::format("{}x{} px, {} steps of {}{}, guidance {:g}", model.defaults->width_px,
                    model.defaults->height_px, model.defaults->step_count, model.defaults->sampler,
                    spacing.empty() ? "" : " (" + spacing + ")", model.defaults->guidance_scale));
  }
  if (model.pixels_per_latent > 0) {
    add("size", fmt::format("width and height in multiples of {} px", model.pixels_per_latent));
    add("inputs", model.takes_init_image ? "images to draw over, and masks"
                                         : "none: it was exported without a VAE encoder");
  }
  add("stays", model.pinned ? "pinned"
               : model.keep_alive.count() > 0
                   ? DurationText(model.keep_alive) + " after its last use"
                   : "until others need the room");
  if (model.shared_weight_bytes > 0) {
    add("shares", fmt::format("{} of its weights with other models on the device",
                              BytesText(model.shared_weight_bytes)));
  }
  if (model.host_cached_bytes > 0) {
    add("cached", fmt::format("{} of its weights in host memory, to come back from",
                              BytesText(model.host_cached_bytes)));
  }
  if (model.vae_tile_px > 0) add("vae tiles", fmt::format("{} px", model.vae_tile_px));
  if (model.max_clip_skip > 0) add("clip skip", fmt::format("0 to {}", model.max_clip_skip));
  add("samplers", fmt::format("{}", fmt::join(model.samplers, ", ")));
  return text;
}

std::string ComponentTable(const client::Model& model, const TextStyle& style, int width_columns) {
  Table table({{"COMPONENT"},
               {"FORMAT"},
               {"PARAMETERS", Align::kRight},
               {"FP16", Align::kRight},
               {"WEIGHTS", Align::kRight},
               {"SAVED", Align::kRight},
               {"PACKED", Align::kRight},
               {"MODULES PACKED", Align::kRight},
               {"NOT PACKED", Align::kRight}});
  size_t left_count = 0;
  for (const client::Component& component : model.components) {
    left_count += component.modules_left.size();
    table.AddRow({{component.name},
                  {component.format},
                  {CountText(component.parameter_count)},
                  {BytesText(component.fp16_bytes)},
                  {BytesText(component.weight_bytes)},
                  {SavedText(component.weight_bytes, component.fp16_bytes)},
                  {BytesText(component.packed_bytes)},
                  {CountText(component.packed_module_count)},
                  {CountText(static_cast<int64_t>(component.modules_left.size()))}});
  }
  const WeightTotals totals = TotalsOf(model);
  table.AddRow({{"total", Colour::kBold},
                {""},
                {CountText(totals.parameter_count)},
                {BytesText(totals.fp16_bytes)},
                {BytesText(totals.weight_bytes)},
                {SavedText(totals.weight_bytes, totals.fp16_bytes)},
                {BytesText(totals.packed_bytes)},
                {CountText(totals.packed_module_count)},
                {CountText(static_cast<int64_t>(left_count))}});
  return table.Render(style, width_columns);
}

std::string ModulesLeft(const client::Model& model, const TextStyle& style, int width_columns) {
  Table table({{"NOT PACKED"}, {"MODULE"}, {"REASON"}});
  size_t listed = 0;
  size_t count = 0;
  for (const client::Component& component : model.components) {
    for (const client::ModuleLeft& left : component.modules_left) {
      if (++count > kMaxModulesListed) continue;
      ++listed;
      table.AddRow({{component.name}, {left.module}, {left.reason}});
    }
  }
  if (count == 0) return "";
  std::string text = "\n" + table.Render(style, width_columns);
  if (count > listed) text += fmt::format("... and {} more; --json lists all\n", count - listed);
  return text;
}

std::string MemoryTable(const client::Model& model, const TextStyle& style, int width_columns) {
  Table table({{"MEMORY"}, {"PURPOSE"}, {"NOW", Align::kRight}, {"PEAK", Align::kRight}});
  bool is_empty = true;
  for (const client::Component& component : model.components) {
    for (const client::PurposeBytes& purpose : component.memory) {
      is_empty = false;
      table.AddRow({{component.name},
                    {purpose.purpose},
                    {BytesText(purpose.current_bytes)},
                    {BytesText(purpose.peak_bytes)}});
    }
  }
  return is_empty ? "" : "\n" + table.Render(style, width_columns);
}

}  // namespace

Cell StateCell(const client::Model& model) {
  std::string text(client::ModelStateName(model.state));
  switch (model.state) {
    case client::ModelState::kResident:
      return {text, Colour::kGreen};
    case client::ModelState::kFailed:
      return {text, Colour::kRed};
    case client::ModelState::kLoading:
      if (model.total_bytes > 0) {
        text += fmt::format(" {:.0f} %", 100.0 * static_cast<double>(model.loaded_bytes) /
                                             static_cast<double>(model.total_bytes));
      }
      return {text, Colour::kYellow};
    default:
      return {text};
  }
}

std::string ModelTable(const std::vector<client::Model>& models, const TextStyle& style,
                       int width_columns) {
  if (models.empty()) return "The server has no models configured.\n";
  Table table({{"NAME"},
               {"STATE"},
               {"FORMAT"},
               {"SCOPE"},
               {"DTYPE"},
               {"WEIGHTS", Align::kRight},
               {"FP16", Align::kRight},
               {"SAVED", Align::kRight}});
  std::string failures;
  for (const client::Model& model : models) {
    std::vector<Cell> row = {
        {model.name}, StateCell(model), {model.format}, {model.scope}, {model.compute_dtype}};
    if (!model.components.empty()) {
      const WeightTotals totals = TotalsOf(model);
      row.push_back({BytesText(totals.weight_bytes)});
      row.push_back({BytesText(totals.fp16_bytes)});
      row.push_back({SavedText(totals.weight_bytes, totals.fp16_bytes)});
    }
    table.AddRow(std::move(row));
    failures += FailureLine(model, style);
  }
  return FoldText(table.Render(style, width_columns) + failures, width_columns);
}

std::string ModelReport(const client::Model& model, const TextStyle& style, int width_columns) {
  const Cell state = StateCell(model);
  std::string text = style.Paint(Printable(model.name), Colour::kBold) + "  " +
                     style.Paint(state.text, state.colour);
  if (model.state_time.has_value()) text += " since " + TimeText(*model.state_time);
  if (model.load_duration.has_value()) {
    text += ", loaded in " + DurationText(*model.load_duration);
  }
  text += "\n" + FailureLine(model, style) + Facts(model);
  if (model.components.empty()) return FoldText(text, width_columns);
  text += "\n" + ComponentTable(model, style, width_columns) +
          ModulesLeft(model, style, width_columns) + MemoryTable(model, style, width_columns);
  return FoldText(text, width_columns);
}

std::string LayerTable(const client::Model& model, const TextStyle& style, int width_columns) {
  Table table({{"COMPONENT"},
               {"LAYER"},
               {"FORMAT"},
               {"PARAMETERS", Align::kRight},
               {"BYTES", Align::kRight},
               {"BITS/WEIGHT", Align::kRight}});
  bool is_empty = true;
  for (const client::Component& component : model.components) {
    for (const client::Layer& layer : component.layers) {
      is_empty = false;
      const auto parameters = static_cast<double>(std::max<int64_t>(layer.parameter_count, 1));
      table.AddRow(
          {{component.name},
           {layer.module},
           {layer.format},
           {CountText(layer.parameter_count)},
           {BytesText(layer.weight_bytes)},
           {fmt::format("{:.2f}", 8.0 * static_cast<double>(layer.weight_bytes) / parameters)}});
    }
  }
  if (is_empty) {
    return FoldText(Printable(model.name) + " is not loaded; `tightfit load` loads it\n",
                    width_columns);
  }
  return table.Render(style, width_columns);
}

}  // namespace tightfit::cli
