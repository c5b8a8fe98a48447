// Loads a model, draws with it and unloads it, many times over, and fails when the process keeps
// growing.
//
//   load_rounds MODEL_DIR [--rounds N] [--host-cache-mib MIB] [--leak-bytes BYTES]
//
// Prints the resident set every tenth of the way. After half of the rounds it may grow by 8 MiB and
// no more: exit 1 when it does. --leak-bytes keeps so many bytes of every round, to show that this
// is noticed. Images must be the same in every round.
#include "server/base/host_memory.h"
#include "tests/integration/one_image.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {
namespace {

constexpr int64_t kMaxGrowthBytes = 8 << 20;
constexpr double kMib = 1 << 20;

struct Options {
  std::string model;
  int rounds = 200;
  int host_cache_mib = 0;
  int64_t leak_bytes = 0;
};

Status Run(const Options& options) {
  OneModelServer server(options.model, int64_t{options.host_cache_mib} << 20, nullptr);
  std::vector<uint8_t> first;
  std::vector<std::unique_ptr<char[]>> leaked;
  int64_t half_way_bytes = 0;
  int64_t largest_bytes = 0;
  for (int round = 1; round <= options.rounds; ++round) {
    TF_RETURN_IF_ERROR(server.Load());
    TF_ASSIGN_OR_RETURN(std::vector<uint8_t> image, server.Draw());
    TF_RETURN_IF_ERROR(server.Unload());
    if (round == 1) first = image;
    if (image != first) return Internal("round " + std::to_string(round) + " drew otherwise");
    if (options.leak_bytes > 0) {
      leaked.push_back(std::make_unique<char[]>(static_cast<size_t>(options.leak_bytes)));
      std::memset(leaked.back().get(), round, static_cast<size_t>(options.leak_bytes));
    }
    const int64_t used_bytes = ReadHostMemory().used_bytes;
    if (round == options.rounds / 2) half_way_bytes = used_bytes;
    if (half_way_bytes > 0) largest_bytes = std::max(largest_bytes, used_bytes);
    if (round % std::max(options.rounds / 10, 1) == 0) {
      std::printf("round %d: %.1f MiB\n", round, static_cast<double>(used_bytes) / kMib);
      std::fflush(stdout);
    }
  }
  const int64_t growth_bytes = largest_bytes - half_way_bytes;
  std::printf("growth over the second half: %.2f MiB\n", static_cast<double>(growth_bytes) / kMib);
  return growth_bytes <= kMaxGrowthBytes ? OkStatus() : Internal("the process keeps growing");
}

}  // namespace
}  // namespace tightfit

int main(int argc, char** argv) {
  tightfit::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::atoll(argv[++i]) : 0; };
    if (argument == "--rounds") {
      options.rounds = static_cast<int>(number());
    } else if (argument == "--host-cache-mib") {
      options.host_cache_mib = static_cast<int>(number());
    } else if (argument == "--leak-bytes") {
      options.leak_bytes = number();
    } else {
      options.model = argument;
    }
  }
  if (options.model.empty() || options.rounds < 2) {
    std::fprintf(stderr,
                 "usage: load_rounds MODEL_DIR [--rounds N] [--host-cache-mib MIB] "
                 "[--leak-bytes BYTES]\n");
    return 2;
  }
  const tightfit::Status status = tightfit::Run(options);
  if (!status.ok()) std::fprintf(stderr, "load_rounds: %s\n", status.ForLog().c_str());
  return status.ok() ? 0 : 1;
}
