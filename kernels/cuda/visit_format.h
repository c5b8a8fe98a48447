// From a format known at run time to one known at compile time.
#ifndef TIGHTFIT_KERNELS_CUDA_VISIT_FORMAT_H_
#define TIGHTFIT_KERNELS_CUDA_VISIT_FORMAT_H_

#include "kernels/format.h"

#include <cstddef>
#include <type_traits>
#include <utility>

namespace tightfit::cuda {

template <WeightFormat kFormat>
using FormatConstant = std::integral_constant<WeightFormat, kFormat>;

template <typename Visitor, size_t... kRows>
void VisitFormat(WeightFormat format, const Visitor& visitor, std::index_sequence<kRows...>) {
  const auto visit_if = [&](auto constant) {
    if (decltype(constant)::value != format) return false;
    visitor(constant);
    return true;
  };
  (visit_if(FormatConstant<kFormats[kRows].format>{}) || ...);
}

// Calls `visitor` with the FormatConstant of `format`.
template <typename Visitor>
void VisitFormat(WeightFormat format, const Visitor& visitor) {
  VisitFormat(format, visitor, std::make_index_sequence<kFormats.size()>{});
}

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_VISIT_FORMAT_H_
