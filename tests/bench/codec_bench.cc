// Weights per second of the codecs on one core, beside memcpy and a scalar table.
//
//   tile    a packed tensor of 64 MiB read from memory, decoded piece by piece into one 8 KiB
//   buffer,
//           as a kernel does that uses each piece at once: the output stays in the L1 cache
//   l1      the same 8 KiB buffer, and the packed piece stays in the cache too: arithmetic alone
//   stream  64 MiB of packed codes decoded to memory: bound by memory
//
// Encoding runs from a buffer of 8 KiB fp16 (l1) and from memory to memory (stream), of normal
// weights in rows of SDXL's lengths too, in one thread and in two: how long the search for a row's
// scale takes depends on them.

#include "kernels/codec.h"
#include "kernels/codec_reference.h"
#include "kernels/format.h"
#include "kernels/fp16.h"

#include <benchmark/benchmark.h>
#include <hwy/aligned_allocator.h>
#include <hwy/targets.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace tightfit {
namespace {

constexpr int64_t kTileBytes = 8192;
constexpr int64_t kStreamWeights = int64_t{64} << 20;
constexpr int64_t kColumns = 1280;

enum class Where { kL1, kTile, kStream };

template <typename Out>
using DecodeFunction = void (*)(const PackedLayout&, const uint8_t*, DecodeRange, Out*);

// Weights as the published histogram has them, roughly: mostly between 2^-9 and 2^-4.
std::vector<uint16_t> Patterns(int64_t count) {
  std::vector<uint16_t> patterns(count);
  uint32_t state = 1;
  for (uint16_t& pattern : patterns) {
    state = state * 1664525 + 1013904223;
    const uint32_t sum = (state >> 10 & 0xFFF) + (state >> 20 & 0xFFF);
    pattern = static_cast<uint16_t>((state & 1) << 15 | (0x1400 + (sum & 0x1FFF)));
  }
  return patterns;
}

// Bias 5 suits Patterns; no side list.
PackedLayout LayoutFor(WeightFormat format, int64_t rows, int64_t columns) {
  return LayoutOf(format, rows, columns, InfoOf(format).scaling == Scaling::kTensor ? 5 : 0);
}

hwy::AlignedFreeUniquePtr<uint8_t[]> Pack(const PackedLayout& layout) {
  auto packed = hwy::AllocateAligned<uint8_t>(layout.total_bytes);
  const std::vector<uint16_t> fp16 = Patterns(layout.rows * layout.columns);
  EncodeTensor(layout, fp16.data(), packed.get(), InThreads(2));
  return packed;
}

template <typename Out>
void Decode(benchmark::State& state, WeightFormat format, DecodeFunction<Out> decode, Where where) {
  const int64_t tile_weights = kTileBytes / static_cast<int64_t>(sizeof(Out));
  const int64_t columns = where == Where::kStream ? kColumns : tile_weights;
  const int64_t rows = where == Where::kL1 ? 1 : kStreamWeights / columns;
  const PackedLayout layout = LayoutFor(format, rows, columns);
  const auto packed = Pack(layout);
  const int64_t rows_at_once = where == Where::kStream ? rows : 1;
  const auto out = hwy::AllocateAligned<Out>(rows_at_once * columns);
  std::memset(out.get(), 0, rows_at_once * columns * sizeof(Out));
  int64_t row = 0;
  for (auto _ : state) {
    decode(layout, packed.get(), {row, rows_at_once, 0, columns}, out.get());
    benchmark::DoNotOptimize(out.get());
    benchmark::ClobberMemory();
    row += rows_at_once;
    if (row >= rows) row = 0;
  }
  state.SetItemsProcessed(state.iterations() * rows_at_once * columns);
  state.SetBytesProcessed(
      state.iterations() * rows_at_once *
      (columns * static_cast<int64_t>(sizeof(Out)) + layout.total_bytes / rows));
  state.SetLabel(SimdTargetName());
}

void Encode(benchmark::State& state, WeightFormat format, Where where) {
  const int64_t columns = where == Where::kStream ? kColumns : kTileBytes / 2;
  const int64_t rows = where == Where::kStream ? kStreamWeights / columns : 1;
  const PackedLayout layout = LayoutFor(format, rows, columns);
  const auto packed = hwy::AllocateAligned<uint8_t>(layout.total_bytes);
  std::memset(packed.get(), 0, layout.total_bytes);
  const std::vector<uint16_t> fp16 = Patterns(rows * columns);
  for (auto _ : state) {
    EncodeTensor(layout, fp16.data(), packed.get());
    benchmark::DoNotOptimize(packed.get());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * rows * columns);
  state.SetLabel(SimdTargetName());
}

// Nearly normal: sums of four uniform numbers.
std::vector<uint16_t> NormalPatterns(int64_t count) {
  std::vector<uint16_t> patterns(count);
  uint64_t state = 1;
  for (uint16_t& pattern : patterns) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const uint64_t bits = (state ^ state >> 29) * 0xBF58476D1CE4E5B9;
    float sum = -2.0f;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(bits >> 16 * i & 0xFFFF) * 0x1p-16f;
    pattern = Fp16OfFp32(sum * 0.05f);
  }
  return patterns;
}

void EncodeNormal(benchmark::State& state, WeightFormat format, int64_t columns, int threads) {
  const int64_t rows = kStreamWeights / columns;
  const PackedLayout layout = LayoutFor(format, rows, columns);
  const auto packed = hwy::AllocateAligned<uint8_t>(layout.total_bytes);
  std::memset(packed.get(), 0, layout.total_bytes);
  const std::vector<uint16_t> fp16 = NormalPatterns(rows * columns);
  for (auto _ : state) {
    EncodeTensor(layout, fp16.data(), packed.get(), InThreads(threads));
    benchmark::DoNotOptimize(packed.get());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * rows * columns);
  state.SetLabel(SimdTargetName());
}

void Plan(benchmark::State& state, WeightFormat format) {
  const std::vector<uint16_t> fp16 = Patterns(kStreamWeights / 2);
  const auto columns = static_cast<int64_t>(fp16.size());
  for (auto _ : state) benchmark::DoNotOptimize(PlanEncoding(format, 1, columns, fp16.data()));
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(fp16.size()));
  state.SetLabel(SimdTargetName());
}

// One load from a table of 256 fp16 patterns for each weight of one byte.
void ScalarTable(benchmark::State& state, bool stream) {
  uint16_t table[256];
  for (uint32_t code = 0; code < 256; ++code) {
    table[code] = reference::DecodeCode(WeightFormat::kHf8, code);
  }
  const int64_t weights = stream ? kStreamWeights : kTileBytes / 2;
  const PackedLayout layout = LayoutOf(WeightFormat::kHf8, 1, weights);
  const auto packed = Pack(layout);
  const auto out = hwy::AllocateAligned<uint16_t>(weights);
  std::memset(out.get(), 0, weights * sizeof(uint16_t));
  for (auto _ : state) {
    for (int64_t i = 0; i < weights; ++i) out[i] = table[packed[i]];
    benchmark::DoNotOptimize(out.get());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * weights);
}

// What moving fp16 weights costs.
void Memcpy(benchmark::State& state, bool stream) {
  const int64_t weights = stream ? kStreamWeights : kTileBytes / 2;
  const auto from = hwy::AllocateAligned<uint16_t>(weights);
  const auto to = hwy::AllocateAligned<uint16_t>(weights);
  std::memset(from.get(), 1, weights * sizeof(uint16_t));
  std::memset(to.get(), 1, weights * sizeof(uint16_t));
  for (auto _ : state) {
    std::memcpy(to.get(), from.get(), weights * sizeof(uint16_t));
    benchmark::DoNotOptimize(to.get());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * weights);
  state.SetBytesProcessed(state.iterations() * weights * 4);
}

void Register() {
  benchmark::RegisterBenchmark("memcpy_fp16/l1", Memcpy, false);
  benchmark::RegisterBenchmark("memcpy_fp16/stream", Memcpy, true);
  benchmark::RegisterBenchmark("scalar_table_fp16/l1", ScalarTable, false);
  benchmark::RegisterBenchmark("scalar_table_fp16/stream", ScalarTable, true);
  const struct {
    Where where;
    const char* name;
  } places[] = {{Where::kL1, "l1"}, {Where::kTile, "tile"}, {Where::kStream, "stream"}};
  for (const FormatInfo& info : kFormats) {
    const std::string name(info.name);
    for (const auto& place : places) {
      const std::string end = std::string("/") + place.name;
      benchmark::RegisterBenchmark((name + "_to_fp16" + end).c_str(), Decode<uint16_t>, info.format,
                                   &DecodeToFp16, place.where);
      benchmark::RegisterBenchmark((name + "_to_bf16" + end).c_str(), Decode<uint16_t>, info.format,
                                   &DecodeToBf16, place.where);
      benchmark::RegisterBenchmark((name + "_to_fp32" + end).c_str(), Decode<float>, info.format,
                                   &DecodeToFp32, place.where);
    }
    benchmark::RegisterBenchmark((name + "_encode/l1").c_str(), Encode, info.format, Where::kL1);
    benchmark::RegisterBenchmark((name + "_encode/stream").c_str(), Encode, info.format,
                                 Where::kStream);
    for (const int columns : {1280, 5120, 11520}) {
      for (const int threads : {1, 2}) {
        const std::string rows = "_encode_normal/" + std::to_string(columns) + "/threads:";
        benchmark::RegisterBenchmark((name + rows + std::to_string(threads)).c_str(), EncodeNormal,
                                     info.format, columns, threads)
            ->MeasureProcessCPUTime()
            ->UseRealTime();
      }
    }
    benchmark::RegisterBenchmark((name + "_plan/stream").c_str(), Plan, info.format);
  }
}

}  // namespace
}  // namespace tightfit

// TIGHTFIT_BENCH_WITHOUT_AVX512 set: as on a machine that stops at AVX2.
int main(int argc, char** argv) {
  if (std::getenv("TIGHTFIT_BENCH_WITHOUT_AVX512") != nullptr) {
    hwy::DisableTargets(HWY_AVX3 | HWY_AVX3_DL);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  tightfit::Register();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
