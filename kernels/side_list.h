// The few weights of a tensor-scaled float beyond its largest value: position and fp16 value.
// FORMATS.md section 6.
#ifndef TIGHTFIT_KERNELS_SIDE_LIST_H_
#define TIGHTFIT_KERNELS_SIDE_LIST_H_

#include "kernels/packed_layout.h"

#include <cstdint>

namespace tightfit {

// The largest fp16 magnitude, as a pattern, that a tensor-scaled float holds at this bias.
uint16_t LargestMagnitudeAt(const FormatInfo& info, int exponent_bias);

// Calls `place(index, fp16)` for each entry of weights [first, first + count), index from `first`.
// Positions that are out of order are never placed outside the range.
template <typename Place>
void ForSideListEntries(const PackedLayout& layout, const uint8_t* packed, int64_t first,
                        int64_t count, Place place);

// Writes the list, padding included, of the whole tensor.
void WriteSideList(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed);

// What follows is the template's definition.

uint32_t SideListPosition(const PackedLayout& layout, const uint8_t* packed, int64_t entry);
uint16_t SideListValue(const PackedLayout& layout, const uint8_t* packed, int64_t entry);
// The first entry of a position not below `position`, in a list that is in order.
int64_t SideListLowerBound(const PackedLayout& layout, const uint8_t* packed, int64_t position);

template <typename Place>
void ForSideListEntries(const PackedLayout& layout, const uint8_t* packed, int64_t first,
                        int64_t count, Place place) {
  int64_t entry = SideListLowerBound(layout, packed, first);
  for (; entry < layout.side_count; ++entry) {
    const int64_t index = SideListPosition(layout, packed, entry) - first;
    if (index < 0 || index >= count) break;
    place(index, SideListValue(layout, packed, entry));
  }
}

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_SIDE_LIST_H_
