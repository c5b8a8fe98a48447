// Bytes, times and shares as people read them.
#ifndef TIGHTFIT_CLIENT_CLI_MEASURE_TEXT_H_
#define TIGHTFIT_CLIENT_CLI_MEASURE_TEXT_H_

#include <chrono>
#include <cstdint>
#include <string>

namespace tightfit::cli {

// "812 B", "1.5 KiB", "3482.1 MiB"; GiB from 10000 MiB on, so that models compare in one unit.
std::string BytesText(int64_t bytes);

// "8.4 s", "42 s" from ten seconds on, "2:05", "1:02:05".
std::string DurationText(std::chrono::nanoseconds duration);

// "35 ms/step", "0.84 s/step", "12.3 s/step".
std::string StepTimeText(std::chrono::nanoseconds per_step);

// How much smaller `bytes` is than `reference_bytes`: "48.9 %"; "-" where there is nothing to
// compare.
std::string SavedText(int64_t bytes, int64_t reference_bytes);

// "2,567,463,684".
std::string CountText(int64_t count);

// "2026-11-23 23:40:12 UTC".
std::string TimeText(std::chrono::system_clock::time_point time);

// "2 images", "1 image".
std::string CountedText(int64_t count, const std::string& singular);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_MEASURE_TEXT_H_
