// What every format would make of the weights of a file: errors and bytes, by tensor and in all.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_WEIGHT_REPORT_H_
#define TIGHTFIT_CLIENT_WEIGHTS_WEIGHT_REPORT_H_

#include "client/weights/weight_tensors.h"
#include "kernels/codec.h"
#include "kernels/distortion.h"
#include "kernels/format.h"

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace tightfit::weights {

// One tensor in one format. What a format refuses is left in fp16: two bytes a weight, no noise.
struct FormatCost {
  WeightFormat format = WeightFormat::kHf8;
  Representability representability;
  int64_t stored_bytes = 0;  // all of the packed tensor: codes, padding, scales, side list
  int exponent_bias = 0;
  int64_t side_count = 0;
  Distortion distortion;
};

struct TensorCost {
  StoredTensor tensor;
  std::vector<FormatCost> formats;  // as they were asked for
};

struct WeightReport {
  std::string file;
  std::string scope;
  TensorChoice choice;
  std::vector<WeightFormat> formats;  // of every tensor, in this order
  std::vector<int> bits;              // classes, see IsInClass
  std::vector<TensorCost> tensors;
};

// Decodes `packed` and holds it against the tensor that it was encoded from.
Distortion MeasurePacked(const PackedLayout& layout, const uint8_t* packed,
                         const LoadedTensor& tensor, const ParallelFor& parallel_for);

// Encodes and decodes; the same to the last digit with any number of threads. Meaningless once
// `stop` was asked for.
FormatCost MeasureFormat(WeightFormat format, const LoadedTensor& tensor,
                         const ParallelFor& parallel_for, const std::stop_token& stop);

// Sums over tensors.
struct TotalCost {
  int64_t weight_count = 0;
  int64_t stored_bytes = 0;
  int64_t side_count = 0;
  int64_t packed_tensor_count = 0;
  int64_t left_tensor_count = 0;  // in fp16, since the format refuses them
  int64_t left_weight_count = 0;
  Distortion distortion;

  void Add(const FormatCost& cost);
};

// Of all tensors in the format formats[index] of each.
TotalCost TotalOfFormat(std::span<const TensorCost> tensors, size_t index);

double BitsPerWeight(int64_t stored_bytes, int64_t weight_count);

// Of kSquareSide x kSquareSide weights, SDXL's usual size, without a side list.
inline constexpr int64_t kSquareSide = 1280;
double BitsPerWeightOfSquare(WeightFormat format);

// A class holds the formats whose codes have more than bits - 1 and at most `bits` bits and whose
// scales take less than a quarter of a bit for each weight.
bool IsInClass(const FormatInfo& info, int bits);

// The index of the format with the least noise among those of the class that take the tensor; of
// equals the one of fewer bytes, then the first. nullopt where there is none.
std::optional<size_t> BestOfClass(const TensorCost& tensor, int bits);

// The same over all tensors: among formats that take as many weights as any of the class.
std::optional<size_t> BestOfClass(std::span<const TensorCost> tensors, int bits);

// Each tensor in its own best format of the class, or left in fp16 where there is none.
TotalCost TotalOfBest(std::span<const TensorCost> tensors, int bits);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_WEIGHT_REPORT_H_
