#include "client/weights/report_text.h"

#include "client/cli/measure_text.h"
#include "client/cli/table.h"
#include "client/weights/number_text.h"

#include <fmt/format.h>

#include <optional>

namespace tightfit::weights {
namespace {

using cli::Align;
using cli::BytesText;
using cli::Colour;
using cli::CountedText;
using cli::CountText;

std::string BitsText(int64_t stored_bytes, int64_t weight_count) {
  return fmt::format("{:.3f}", BitsPerWeight(stored_bytes, weight_count));
}

std::string Heading(const char* text, const cli::TextStyle& style) {
  return "\n" + style.Paint(text, Colour::kBold) + "\n";
}

std::string Introduction(const WeightReport& report) {
  int64_t weight_count = 0;
  int64_t rounded_count = 0;
  for (const TensorCost& cost : report.tensors) {
    weight_count += cost.tensor.element_count;
    rounded_count += cost.tensor.dtype == StoredDtype::kF16 ? 0 : 1;
  }
  const TensorChoice& choice = report.choice;
  std::string text = fmt::format("{}: {} of scope {}, {} weights\n", cli::Printable(report.file),
                                 CountedText(static_cast<int64_t>(report.tensors.size()), "tensor"),
                                 report.scope, CountText(weight_count));
  text += fmt::format("Left out: {} of one dimension, {}, {} out of scope or shape.\n",
                      choice.vector_count, CountedText(choice.embedding_count, "embedding table"),
                      choice.other_count);
  if (rounded_count > 0) {
    text +=
        fmt::format("{} of bf16 or fp32: rounded to fp16 first, noise is measured from there.\n",
                    CountedText(rounded_count, "tensor"));
  }
  return text;
}

std::string TensorTable(const WeightReport& report, const cli::TextStyle& style) {
  cli::Table table({{"TENSOR"},
                    {"SHAPE"},
                    {"CLASS", Align::kRight},
                    {"BEST"},
                    {"SQNR", Align::kRight},
                    {"BITS/WEIGHT", Align::kRight},
                    {"BYTES", Align::kRight},
                    {"SIDE LIST", Align::kRight}});
  for (const TensorCost& tensor : report.tensors) {
    std::string name = tensor.tensor.name;
    std::string shape = ShapeText(tensor.tensor.shape);
    for (const int bits : report.bits) {
      const std::optional<size_t> best = BestOfClass(tensor, bits);
      if (!best.has_value()) {
        table.AddRow({{name}, {shape}, {fmt::format("{}", bits)}, {"left in fp16"}});
      } else {
        const FormatCost& cost = tensor.formats[*best];
        table.AddRow({{name},
                      {shape},
                      {fmt::format("{}", bits)},
                      {std::string(InfoOf(cost.format).name)},
                      {SqnrText(cost.distortion)},
                      {BitsText(cost.stored_bytes, tensor.tensor.element_count)},
                      {CountText(cost.stored_bytes)},
                      {cost.side_count == 0 ? "" : CountText(cost.side_count)}});
      }
      name.clear();  // once for each tensor
      shape.clear();
    }
  }
  return table.Render(style);
}

std::vector<cli::Cell> TotalCells(std::string name, const TotalCost& total) {
  const Distortion& distortion = total.distortion;
  return {{std::move(name)},
          {SqnrText(distortion)},
          {BitsText(total.stored_bytes, total.weight_count)},
          {BytesText(total.stored_bytes)},
          {CountText(total.side_count)},
          {CountText(total.left_tensor_count),
           total.left_tensor_count > 0 ? Colour::kYellow : Colour::kNone},
          {fmt::format("{:.2g}", distortion.max_error)},
          {CountText(distortion.became_zero_count)}};
}

cli::Table EmptyTotalTable(const char* name, const char* last) {
  return cli::Table({{name},
                     {"SQNR", Align::kRight},
                     {"BITS/WEIGHT", Align::kRight},
                     {"BYTES", Align::kRight},
                     {"SIDE LISTS", Align::kRight},
                     {"LEFT IN FP16", Align::kRight},
                     {"MAX ERROR", Align::kRight},
                     {"BECAME 0", Align::kRight},
                     {last}});
}

std::string FormatTable(const WeightReport& report, const cli::TextStyle& style) {
  cli::Table table = EmptyTotalTable("FORMAT", "BEST AT");
  for (size_t i = 0; i < report.formats.size(); ++i) {
    std::vector<cli::Cell> row =
        TotalCells(std::string(InfoOf(report.formats[i]).name), TotalOfFormat(report.tensors, i));
    for (const int bits : report.bits) {
      if (BestOfClass(report.tensors, bits) == i) {
        row.push_back({fmt::format("{} bits", bits), Colour::kGreen});
      }
    }
    table.AddRow(std::move(row));
  }
  return table.Render(style);
}

std::string MixTable(const WeightReport& report, const cli::TextStyle& style) {
  cli::Table table = EmptyTotalTable("CLASS", "");
  for (const int bits : report.bits) {
    const TotalCost total = TotalOfBest(report.tensors, bits);
    if (total.weight_count > 0) table.AddRow(TotalCells(fmt::format("{} bits", bits), total));
  }
  return table.Render(style);
}

}  // namespace

std::string ReportText(const WeightReport& report, bool summary, const cli::TextStyle& style) {
  std::string text = Introduction(report);
  if (!summary) {
    text += Heading("Each tensor in its best format of a class", style);
    text += TensorTable(report, style);
  }
  text += Heading("All tensors in one format", style);
  text += FormatTable(report, style);
  text += Heading("All tensors, each in its best format of a class", style);
  text += MixTable(report, style);
  return text +
         "\nSQNR: signal to quantization noise. A tensor that a format refuses is left in fp16: 16 "
         "bits, no noise.\nBITS/WEIGHT counts scales, padding and side lists.\n";
}

}  // namespace tightfit::weights
