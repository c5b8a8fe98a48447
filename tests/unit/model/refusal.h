// What every refusal of a model's file keeps to, whatever is wrong with the file.
#ifndef TIGHTFIT_TESTS_UNIT_MODEL_REFUSAL_H_
#define TIGHTFIT_TESTS_UNIT_MODEL_REFUSAL_H_

#include "server/base/status.h"
#include "tests/unit/model/heap_use.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iterator>
#include <string>

namespace tightfit {

// For messages, names and what the library takes whatever the file holds.
inline constexpr size_t kSlackBytes = 32 << 10;
// Ten milliseconds are promised, on an idle machine. The quickest of three runs counts, because
// other tests share the processor, and sanitizers take their time.
inline constexpr std::chrono::milliseconds kMaxRefusalTime{100};

inline int64_t OpenFileCount() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

// Runs `read`, which must refuse what it reads: with a short, printable reason that holds no path,
// in time, with at most `max_heap_bytes` and kSlackBytes held at one time, and without keeping a
// file open.
inline Status ExpectRefusal(const std::string& what, size_t max_heap_bytes,
                            const std::function<Status()>& read) {
  SCOPED_TRACE(what);
  const int64_t open_files = OpenFileCount();
  Status status;
  auto quickest = std::chrono::steady_clock::duration::max();
  for (int i = 0; i < 3 && quickest > kMaxRefusalTime; ++i) {
    ResetHeapUse();
    const auto start = std::chrono::steady_clock::now();
    status = read();
    quickest = std::min(quickest, std::chrono::steady_clock::now() - start);
  }
  EXPECT_LE(PeakHeapBytes(), max_heap_bytes + kSlackBytes);
  EXPECT_LE(quickest, kMaxRefusalTime);
  EXPECT_EQ(OpenFileCount(), open_files);
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(status.reason().empty());
  const std::string& message = status.message();
  EXPECT_FALSE(message.empty());
  EXPECT_LE(message.size(), 400u);
  EXPECT_TRUE(std::ranges::all_of(message, [](char c) { return c >= ' ' && c <= '~'; })) << message;
  EXPECT_EQ(message.find("/tmp/"), std::string::npos) << message;
  return status;
}

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_MODEL_REFUSAL_H_
