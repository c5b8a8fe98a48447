#include "client/weights/weight_tensors.h"

#include "client/weights/fp16_rounding.h"
#include "client/weights/input_file.h"
#include "kernels/packed_header.h"

#include <fnmatch.h>

#include <algorithm>

namespace tightfit::weights {
namespace {

// diffusers' UNet: attn1, attn2; its VAE: to_q ... without them; CLIP: self_attn. The list of
// server/model/torchscript_graph.
bool IsWithinAttention(const std::string& name) {
  constexpr std::string_view kSegments[] = {".attn1.", ".attn2.", ".self_attn.", ".to_q.",
                                            ".to_k.",  ".to_v.",  ".to_out.0."};
  const std::string dotted = "." + name;
  return std::any_of(
      std::begin(kSegments), std::end(kSegments),
      [&dotted](std::string_view segment) { return dotted.find(segment) != std::string::npos; });
}

bool IsChosen(const StoredTensor& tensor, const TensorFilter& filter) {
  const size_t rank = tensor.shape.size();
  const bool is_matrix = rank == 2;
  const bool is_convolution = rank == 4 && filter.scope == "linear+conv";
  if (!is_matrix && !is_convolution) return false;
  if (filter.scope == "attention" && !IsWithinAttention(tensor.name)) return false;
  return PackedRowsAndColumns(tensor.shape).has_value() &&
         fnmatch(filter.name_pattern.c_str(), tensor.name.c_str(), 0) == 0;
}

// [K, C, positions] to [K, positions, C].
std::vector<uint16_t> ChannelsLast(const std::vector<uint16_t>& from, int64_t kernels,
                                   int64_t channels, int64_t positions) {
  std::vector<uint16_t> to(from.size());
  const uint16_t* next = from.data();
  for (int64_t k = 0; k < kernels; ++k) {
    uint16_t* const row = to.data() + k * channels * positions;
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t p = 0; p < positions; ++p) row[p * channels + c] = *next++;
    }
  }
  return to;
}

}  // namespace

TensorChoice ChooseTensors(const std::vector<StoredTensor>& tensors, const TensorFilter& filter) {
  TensorChoice choice;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.shape.size() < 2) {
      ++choice.vector_count;
    } else if (tensor.shape.size() == 2 && tensor.name.ends_with("_embedding.weight")) {
      ++choice.embedding_count;
    } else if (IsChosen(tensor, filter)) {
      choice.tensors.push_back(tensor);
    } else {
      ++choice.other_count;
    }
  }
  return choice;
}

Result<LoadedTensor> LoadTensor(const SafetensorsFile& file, const StoredTensor& tensor) {
  LoadedTensor loaded;
  loaded.rows = tensor.shape[0];
  loaded.columns = tensor.element_count / loaded.rows;
  loaded.fp16.resize(static_cast<size_t>(tensor.element_count));
  if (tensor.dtype == StoredDtype::kF16) {
    if (Status read =
            file.reader().ReadAt(tensor.offset_bytes, tensor.size_bytes, loaded.fp16.data());
        !read.ok()) {
      return AsInputError(read);
    }
  } else {
    constexpr int64_t kPieceWeights = 1 << 20;
    std::vector<uint8_t> piece;
    for (int64_t at = 0; at < tensor.element_count; at += kPieceWeights) {
      const int64_t count = std::min(kPieceWeights, tensor.element_count - at);
      piece.resize(static_cast<size_t>(count * BytesOf(tensor.dtype)));
      if (Status read = file.reader().ReadAt(tensor.offset_bytes + at * BytesOf(tensor.dtype),
                                             static_cast<int64_t>(piece.size()), piece.data());
          !read.ok()) {
        return AsInputError(read);
      }
      RoundToFp16(tensor.dtype, piece,
                  std::span<uint16_t>(loaded.fp16)
                      .subspan(static_cast<size_t>(at), static_cast<size_t>(count)));
    }
  }
  if (tensor.shape.size() == 4) {
    loaded.fp16 =
        ChannelsLast(loaded.fp16, loaded.rows, tensor.shape[1], tensor.shape[2] * tensor.shape[3]);
  }
  return loaded;
}

}  // namespace tightfit::weights
