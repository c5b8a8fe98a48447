// The weights of a safetensors file that a server would pack.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_WEIGHT_TENSORS_H_
#define TIGHTFIT_CLIENT_WEIGHTS_WEIGHT_TENSORS_H_

#include "server/base/status.h"
#include "server/model/safetensors.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit::weights {

// As the server's `scope`, but by names and shapes alone, since there is no graph:
// "attention": matrices within attention; "linear": every matrix; "linear+conv": convolutions too.
inline constexpr std::string_view kScopes[] = {"attention", "linear", "linear+conv"};

struct TensorFilter {
  std::string scope = "linear+conv";
  std::string name_pattern = "*";  // as a shell matches file names; `*` also matches dots
};

struct TensorChoice {
  std::vector<StoredTensor> tensors;  // in file order
  // The others of the file.
  int64_t vector_count = 0;     // of fewer than two dimensions: biases, norms
  int64_t embedding_count = 0;  // tables of token and position embeddings
  int64_t other_count = 0;      // out of the filter, of three or five dimensions, or empty
};

TensorChoice ChooseTensors(const std::vector<StoredTensor>& tensors, const TensorFilter& filter);

// A tensor as the codecs take it.
struct LoadedTensor {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<uint16_t> fp16;  // rows * columns
};

// Rounds bf16 and fp32 to fp16. A convolution [K, C, R, S] gets rows K and columns R, S, C. Errors:
// CANNOT_READ, FILE_TRUNCATED.
Result<LoadedTensor> LoadTensor(const SafetensorsFile& file, const StoredTensor& tensor);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_WEIGHT_TENSORS_H_
