// Which errors of CUDA end the process's use of its device.
#include "server/model/cuda_errors.h"

#include "server/base/device_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using testing::HasSubstr;

// Of CUDA 13.0's header: all that say "the process must be terminated and relaunched".
constexpr int kFatalCodes[] = {226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911};

TEST(CudaErrorsTest, LosesTheDeviceForTheCodesThatEndAProcessAndNoOther) {
  const std::set<int> fatal(std::begin(kFatalCodes), std::end(kFatalCodes));
  for (int code = 0; code < 1000; ++code) {
    const std::optional<Status> loss = DeviceLossOf(code, "said so");
    ASSERT_EQ(loss.has_value(), fatal.contains(code)) << code;
    if (!loss.has_value()) continue;
    EXPECT_TRUE(IsDeviceLost(*loss));
    EXPECT_EQ(loss->code(), StatusCode::kUnavailable);
    EXPECT_TRUE(loss->retry_after().has_value());
    EXPECT_THAT(loss->detail(), HasSubstr(std::to_string(code)));
    EXPECT_THAT(loss->message(), testing::Not(HasSubstr("CUDA"))) << "clients are not told";
  }
}

TEST(CudaErrorsTest, AgreesWithTheHeaderOfAnInstalledToolkit) {
  const std::string path = "/usr/local/cuda/include/driver_types.h";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  std::ifstream file(path);
  const std::string header{std::istreambuf_iterator<char>(file), {}};
  // A comment, and the enumerator that follows it.
  std::set<std::string> fatal;
  const std::regex enumerator("^\\s*(cudaError\\w+)\\s*=\\s*(\\d+)");
  for (size_t at = header.find("/**"); at != std::string::npos; at = header.find("/**", at + 3)) {
    const size_t end = header.find("*/", at);
    const std::string comment = header.substr(at, end - at);
    std::smatch found;
    const std::string next = header.substr(end + 2, 120);
    if (comment.find("relaunched") == std::string::npos) continue;
    if (std::regex_search(next, found, enumerator)) fatal.insert(found[1].str() + found[2].str());
  }
  std::set<std::string> listed;
  for (const FatalCudaError& error : kFatalCudaErrors) {
    listed.insert(std::string(error.name) + std::to_string(error.code));
  }
  EXPECT_EQ(listed, fatal);
}

TEST(CudaErrorsTest, ReadsWhatLibTorchWritesOfThem) {
  const std::vector<std::string> texts = {
      "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be "
      "asynchronously reported at some other API call",
      "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript "
      "(most recent call last):\nRuntimeError: CUDA error: unspecified launch failure\n",
      "CUDA driver error: device-side assert triggered",
      "Search for `cudaErrorMisalignedAddress' in https://docs.nvidia.com/cuda",
  };
  for (const std::string& text : texts) {
    const std::optional<Status> loss = DeviceLossIn(text);
    ASSERT_TRUE(loss.has_value()) << text;
    EXPECT_THAT(loss->detail(), HasSubstr(text));
  }
}

TEST(CudaErrorsTest, LeavesOtherTextsAlone) {
  for (const char* const text :
       {"", "CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA error: invalid argument",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "mat1 and mat2 shapes cannot be multiplied",
        "misaligned address", "a prompt about an invalid program counter"}) {
    EXPECT_FALSE(DeviceLossIn(text).has_value()) << text;
  }
}

TEST(CudaErrorsTest, KnowsMemoryThatRanOutFromOtherFailures) {
  for (const char* const text :
       {"CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
        "The following operation failed in the TorchScript interpreter.\nRuntimeError: CUDA out of "
        "memory.",
        "CUDA error: out of memory", "CUDA driver error: out of memory",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1024 bytes",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"}) {
    EXPECT_TRUE(TellsOutOfCudaMemory(text)) << text;
  }
  for (const char* const text : {"", "out of memory", "CUDA error: invalid argument"}) {
    EXPECT_FALSE(TellsOutOfCudaMemory(text)) << text;
  }
}

}  // namespace
}  // namespace tightfit
