#include "server/base/cpu_share.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace tightfit {
namespace {

// One mounted hierarchy of control groups.
struct CgroupMount {
  bool is_version_2 = false;
  std::string root;   // the group that is mounted: "/", or a container's own
  std::string point;  // the folder that it is mounted at
};

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream{std::string(text)};
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::vector<std::string> LinesOf(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

bool Names(const std::string& list, std::string_view name) {
  return std::ranges::any_of(Split(list, ','), [&](const auto& each) { return each == name; });
}

// proc(5): "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS...] - TYPE SOURCE SUPER-OPTIONS".
std::optional<CgroupMount> ParseMount(const std::string& line) {
  const std::vector<std::string> fields = Split(line, ' ');
  const auto dash = std::ranges::find(fields, "-");
  if (fields.size() < 6 || fields.end() - dash < 4) return std::nullopt;
  CgroupMount mount{.is_version_2 = dash[1] == "cgroup2", .root = fields[3], .point = fields[4]};
  if (mount.is_version_2 || (dash[1] == "cgroup" && Names(dash[3], "cpu"))) return mount;
  return std::nullopt;
}

std::optional<double> Number(const std::string& text) {
  std::istringstream stream(text);
  double number = 0.0;
  if (!(stream >> number)) return std::nullopt;
  return number;
}

std::string FirstLineOf(const std::string& path) {
  const std::vector<std::string> lines = LinesOf(path);
  return lines.empty() ? "" : lines.front();
}

std::optional<double> Ratio(std::optional<double> quota, std::optional<double> period) {
  if (!quota.has_value() || !period.has_value() || *quota <= 0 || *period <= 0) return {};
  return *quota / *period;
}

// Of one group, in processors.
std::optional<double> QuotaOf(const std::string& folder, bool is_version_2) {
  if (!is_version_2) {
    return Ratio(Number(FirstLineOf(folder + "/cpu.cfs_quota_us")),
                 Number(FirstLineOf(folder + "/cpu.cfs_period_us")));
  }
  const std::vector<std::string> fields = Split(FirstLineOf(folder + "/cpu.max"), ' ');
  if (fields.size() != 2) return std::nullopt;
  return Ratio(Number(fields[0]), Number(fields[1]));
}

// The group's path as seen below the mount: a container may see its group as "/docker/ab" though
// only that group is mounted.
std::string BelowMount(const std::string& group, const CgroupMount& mount) {
  if (mount.root == "/") return group;
  if (group.starts_with(mount.root + "/")) return group.substr(mount.root.size());
  return "/";
}

}  // namespace

int CpuShare::thread_count() const {
  if (!quota_cpus.has_value() || *quota_cpus >= cpu_count) return cpu_count;
  return std::max(static_cast<int>(std::ceil(*quota_cpus)), 1);
}

std::optional<double> ReadCpuQuota(const std::string& root) {
  std::vector<CgroupMount> mounts;
  for (const std::string& line : LinesOf(root + "/proc/self/mountinfo")) {
    if (std::optional<CgroupMount> mount = ParseMount(line)) mounts.push_back(*std::move(mount));
  }
  std::optional<double> smallest;
  // cgroups(7): "ID:CONTROLLERS:PATH"; version 2 is "0::PATH".
  for (const std::string& line : LinesOf(root + "/proc/self/cgroup")) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool is_version_2 = controllers.empty();
    if (!is_version_2 && !Names(controllers, "cpu")) continue;
    for (const CgroupMount& mount : mounts) {
      if (mount.is_version_2 != is_version_2) continue;
      std::string group = BelowMount(line.substr(second + 1), mount);
      while (true) {
        const std::optional<double> quota = QuotaOf(root + mount.point + group, is_version_2);
        if (quota.has_value()) smallest = std::min(smallest.value_or(*quota), *quota);
        if (group.empty() || group == "/") break;
        group.erase(group.rfind('/'));
      }
    }
  }
  return smallest;
}

CpuShare ReadCpuShare() {
  CpuShare share;
  // The set's size must be the kernel's or larger, which no call tells.
  for (int cpus = CPU_SETSIZE; cpus <= CPU_SETSIZE << 8; cpus <<= 1) {
    cpu_set_t* const set = CPU_ALLOC(cpus);
    const size_t size = CPU_ALLOC_SIZE(cpus);
    const bool is_read = set != nullptr && sched_getaffinity(0, size, set) == 0;
    if (is_read) share.cpu_count = std::max(CPU_COUNT_S(size, set), 1);
    CPU_FREE(set);
    if (is_read) break;
  }
  share.quota_cpus = ReadCpuQuota("");
  return share;
}

}  // namespace tightfit
