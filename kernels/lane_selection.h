// For each choice of eight 16-bit lanes: where their bytes come from, so that the chosen lanes come
// first. Highway 1.0.3 has such tables within functions, where GCC 12 copies them at every call.
#ifndef TIGHTFIT_KERNELS_LANE_SELECTION_H_
#define TIGHTFIT_KERNELS_LANE_SELECTION_H_

#include <cstdint>

namespace tightfit {

struct LaneSelection {
  alignas(16) uint8_t bytes[256][16];  // bytes[mask][to]: from where
  uint8_t counts[256];                 // how many lanes the mask has
};

constexpr LaneSelection MakeLaneSelection() {
  LaneSelection selection{};
  for (int mask = 0; mask < 256; ++mask) {
    int to = 0;
    for (int lane = 0; lane < 8; ++lane) {
      if ((mask >> lane & 1) == 0) continue;
      selection.bytes[mask][2 * to] = static_cast<uint8_t>(2 * lane);
      selection.bytes[mask][2 * to + 1] = static_cast<uint8_t>(2 * lane + 1);
      ++to;
    }
    selection.counts[mask] = static_cast<uint8_t>(to);
  }
  return selection;
}

inline constexpr LaneSelection kLaneSelection = MakeLaneSelection();

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_LANE_SELECTION_H_
