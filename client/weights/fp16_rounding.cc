#include "client/weights/fp16_rounding.h"

#include "kernels/fp16.h"

#include <bit>
#include <cstring>

namespace tightfit::weights {

static_assert(std::endian::native == std::endian::little, "weights of files are little-endian");

void RoundToFp16(StoredDtype dtype, std::span<const uint8_t> stored, std::span<uint16_t> out) {
  if (dtype == StoredDtype::kF16) {
    if (!out.empty()) std::memcpy(out.data(), stored.data(), out.size_bytes());
    return;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t bits = 0;
    if (dtype == StoredDtype::kBF16) {
      uint16_t upper = 0;
      std::memcpy(&upper, stored.data() + 2 * i, 2);
      bits = static_cast<uint32_t>(upper) << 16;
    } else {
      std::memcpy(&bits, stored.data() + 4 * i, 4);
    }
    out[i] = Fp16OfFp32(std::bit_cast<float>(bits));
  }
}

}  // namespace tightfit::weights
