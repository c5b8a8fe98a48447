#include "server/model/operator_allowlist.h"

#include <algorithm>
#include <array>

namespace tightfit {
namespace {

// Sorted. What traces of diffusers' SDXL UNet, AutoencoderKL and transformers' CLIP text models
// consist of, with the close relatives that other versions of these libraries use for the same
// purpose.
constexpr std::array kAllowed = std::to_array<std::string_view>({
    "aten::Float",
    "aten::Int",
    "aten::ScalarImplicit",
    "aten::_convolution",
    "aten::abs",
    "aten::add",
    "aten::add_",
    "aten::arange",
    "aten::argmax",
    "aten::baddbmm",
    "aten::bmm",
    "aten::cat",
    "aten::chunk",
    "aten::clamp",
    "aten::clone",
    "aten::constant_pad_nd",
    "aten::contiguous",
    "aten::conv2d",
    "aten::cos",
    "aten::cumsum",
    "aten::detach",
    "aten::div",
    "aten::div_",
    "aten::dropout",
    "aten::embedding",
    "aten::eq",
    "aten::exp",
    "aten::expand",
    "aten::expand_as",
    "aten::flatten",
    "aten::floor_divide",
    "aten::gather",
    "aten::gelu",
    "aten::group_norm",
    "aten::gt",
    "aten::index",
    "aten::layer_norm",
    "aten::le",
    "aten::linear",
    "aten::lt",
    "aten::masked_fill",
    "aten::masked_fill_",
    "aten::matmul",
    "aten::max",
    "aten::mean",
    "aten::mul",
    "aten::mul_",
    "aten::ne",
    "aten::neg",
    "aten::ones",
    "aten::ones_like",
    "aten::pad",
    "aten::permute",
    "aten::pow",
    "aten::relu",
    "aten::reshape",
    "aten::rsqrt",
    "aten::rsub",
    "aten::scaled_dot_product_attention",
    "aten::select",
    "aten::sigmoid",
    "aten::silu",
    "aten::sin",
    "aten::size",
    "aten::slice",
    "aten::softmax",
    "aten::split",
    "aten::split_with_sizes",
    "aten::sqrt",
    "aten::squeeze",
    "aten::stack",
    "aten::sub",
    "aten::sum",
    "aten::tanh",
    "aten::to",
    "aten::transpose",
    "aten::triu",
    "aten::triu_",
    "aten::type_as",
    "aten::unbind",
    "aten::unflatten",
    "aten::unsqueeze",
    "aten::upsample_nearest2d",
    "aten::view",
    "aten::where",
    "aten::zeros",
    "aten::zeros_like",
    "prim::CallMethod",
    "prim::Constant",
    "prim::GetAttr",
    "prim::ListConstruct",
    "prim::ListUnpack",
    "prim::NumToTensor",
    "prim::TupleConstruct",
    "prim::TupleUnpack",
});
static_assert(std::is_sorted(kAllowed.begin(), kAllowed.end()));

}  // namespace

bool IsAllowedOperator(std::string_view kind) {
  return std::binary_search(kAllowed.begin(), kAllowed.end(), kind);
}

bool IsForwardMethod(std::string_view name) {
  constexpr std::string_view kForward = "forward";
  return name.substr(0, kForward.size()) == kForward &&
         name.find_first_not_of("0123456789", kForward.size()) == std::string_view::npos;
}

}  // namespace tightfit
