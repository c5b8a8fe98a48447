#include "server/base/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace tightfit {
namespace {

std::string ReadWhole(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string_view SkipSpaces(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

int64_t LeadingNumber(std::string_view text) {
  text = SkipSpaces(text);
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// What stands behind the colon of the first line that begins with `key`.
std::string_view ValueOf(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(key)) {
      const size_t colon = line.find(':');
      if (colon != std::string_view::npos) return SkipSpaces(line.substr(colon + 1));
    }
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return {};
}

}  // namespace

int64_t ParseMemTotalBytes(std::string_view meminfo) {
  return LeadingNumber(ValueOf(meminfo, "MemTotal")) * 1024;
}

int64_t ParseMemAvailableBytes(std::string_view meminfo) {
  return LeadingNumber(ValueOf(meminfo, "MemAvailable")) * 1024;
}

int64_t ParseResidentBytes(std::string_view statm, int64_t page_bytes) {
  const size_t second = statm.find(' ');
  return second == std::string_view::npos ? 0 : LeadingNumber(statm.substr(second)) * page_bytes;
}

std::string ParseCpuName(std::string_view cpuinfo) {
  const std::string_view name = ValueOf(cpuinfo, "model name");
  return name.empty() ? "CPU" : std::string(name);
}

HostMemory ReadHostMemory() {
  const std::string meminfo = ReadWhole("/proc/meminfo");
  return {ParseMemTotalBytes(meminfo),
          ParseResidentBytes(ReadWhole("/proc/self/statm"), sysconf(_SC_PAGESIZE)),
          ParseMemAvailableBytes(meminfo)};
}

std::string ReadCpuName() { return ParseCpuName(ReadWhole("/proc/cpuinfo")); }

}  // namespace tightfit
