#include "server/device/cpu_products.h"

#include <ATen/cpu/Utils.h>

#include <initializer_list>

namespace tightfit {
namespace {

bool HasOneOf(std::initializer_list<const char*> names) {
  static const auto capabilities = at::cpu::get_cpu_capabilities();
  for (const char* name : names) {
    const auto found = capabilities.find(name);
    if (found != capabilities.end() && found->second.isBool() && found->second.toBool()) {
      return true;
    }
  }
  return false;
}

}  // namespace

bool CpuHasBf16() { return HasOneOf({"avx512_bf16", "amx_bf16", "arm_bf16", "bf16"}); }

bool CpuMultipliesIn(c10::ScalarType dtype) {
  // oneDNN takes bf16 apart on every processor with AVX-512; AVX_NE_CONVERT converts for AVX2.
  const bool has_avx512 =
      HasOneOf({"avx512_bw"}) && HasOneOf({"avx512_vl"}) && HasOneOf({"avx512_dq"});
  switch (dtype) {
    case c10::ScalarType::BFloat16:
      return CpuHasBf16() || has_avx512 || HasOneOf({"avx_ne_convert"});
    case c10::ScalarType::Half:
      return HasOneOf({"avx512_fp16", "amx_fp16", "avx_ne_convert", "fp16_arith", "arm_fp16"});
    default:
      return true;
  }
}

}  // namespace tightfit
