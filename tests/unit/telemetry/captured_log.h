// CapturedLog: the process's log, written to memory.
#ifndef TIGHTFIT_TESTS_UNIT_TELEMETRY_CAPTURED_LOG_H_
#define TIGHTFIT_TESTS_UNIT_TELEMETRY_CAPTURED_LOG_H_

#include "server/telemetry/logging.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

namespace tightfit {

class CapturedLog {
 public:
  CapturedLog(LogLevel level, LogFormat format) : file_(open_memstream(&text_, &size_)) {
    OpenLog(level, format, file_);
  }
  ~CapturedLog() {
    OpenLog(LogLevel::kError, LogFormat::kText, stderr);
    std::fclose(file_);
    std::free(text_);
  }

  std::vector<std::string> Lines() const {
    FlushLog(std::chrono::seconds(10));
    std::fflush(file_);
    std::istringstream stream(std::string(text_, size_));
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

 private:
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_TELEMETRY_CAPTURED_LOG_H_
