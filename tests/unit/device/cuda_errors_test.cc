// Which errors of CUDA end the process's use of its device.
#include "server/device/cuda_errors.h"

#include "server/base/device_loss.h"

#include <dlfcn.h>
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

TEST(CudaErrorsTest, TellsClientsToComeBackAndTheLogWhatCudaSaid) {
  const std::optional<Status> loss = DeviceLossOf(700, "said so");
  ASSERT_TRUE(loss.has_value());
  EXPECT_TRUE(IsDeviceLost(*loss));
  EXPECT_EQ(loss->code(), StatusCode::kUnavailable);
  EXPECT_TRUE(loss->retry_after().has_value());
  EXPECT_THAT(loss->detail(), HasSubstr("700"));
  EXPECT_THAT(loss->detail(), HasSubstr("said so"));
  EXPECT_THAT(loss->message(), testing::Not(HasSubstr("CUDA"))) << "clients are not told";
}

// A device that no longer keeps what it is given, that has left the bus, that takes no more work.
TEST(CudaErrorsTest, LosesADeviceThatHasFailedOrIsGone) {
  for (const int code : {46, 214, 220, 999})
    EXPECT_TRUE(DeviceLossOf(code, "").has_value()) << code;
}

// By the header, calls go on after these: a bad argument, memory that ran out, a driver too old, no
// such device, a kernel that is not there, work that is not done yet, a launch of too much.
TEST(CudaErrorsTest, LetsAProcessGoOnAfterAnErrorOfOneCall) {
  for (const int code : {0, 1, 2, 35, 98, 100, 101, 209, 400, 600, 701, 801, 900}) {
    EXPECT_FALSE(DeviceLossOf(code, "").has_value()) << code;
  }
}

// CUDA's own library tells names and texts, without a device.
TEST(CudaErrorsTest, KnowsNamesAndTextsAsCudaHasThem) {
  void* const library = dlopen("/usr/local/cuda/lib64/libcudart.so", RTLD_NOW);
  if (library == nullptr) GTEST_SKIP() << dlerror();
  using TextOf = const char* (*)(int);
  const auto name_of = reinterpret_cast<TextOf>(dlsym(library, "cudaGetErrorName"));
  const auto text_of = reinterpret_cast<TextOf>(dlsym(library, "cudaGetErrorString"));
  ASSERT_TRUE(name_of != nullptr && text_of != nullptr);
  for (const FatalCudaError& error : kFatalCudaErrors) {
    EXPECT_EQ(error.name, name_of(error.code)) << error.code;
    EXPECT_EQ(error.text, text_of(error.code)) << error.code;
  }
}

// The header tells of which errors a process must be relaunched; the four of a failed device come
// on top.
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
  fatal.insert({"cudaErrorDevicesUnavailable46", "cudaErrorECCUncorrectable214",
                "cudaErrorNvlinkUncorrectable220", "cudaErrorUnknown999"});
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
    EXPECT_TRUE(IsCudaOutOfMemoryText(text)) << text;
  }
  for (const char* const text : {"", "out of memory", "CUDA error: invalid argument"}) {
    EXPECT_FALSE(IsCudaOutOfMemoryText(text)) << text;
  }
}

}  // namespace
}  // namespace tightfit
