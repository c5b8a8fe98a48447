#include "client/fidelity/sensitivity_log.h"

#include "client/cli/whole_file.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace tightfit::fidelity {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxLogBytes = 256 << 20;

// nullopt for what no run has written.
std::optional<LayerMeasurement> ParseLine(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("layer") || !json["layer"].is_string() ||
      !json.contains("format") || !json["format"].is_string() || !json.contains("noise") ||
      !json.contains("errors") || !json["errors"].is_array()) {
    return std::nullopt;
  }
  LayerMeasurement measurement{.layer = json["layer"], .format = json["format"]};
  if (json["noise"].is_number()) measurement.noise = json["noise"].get<double>();
  for (const Json& error : json["errors"]) {
    if (!error.is_number()) return std::nullopt;
    measurement.errors.push_back(error.get<double>());
  }
  return measurement;
}

std::string LineOf(const LayerMeasurement& measurement) {
  const Json json = {{"layer", measurement.layer},
                     {"format", measurement.format},
                     {"noise", measurement.noise.has_value() ? Json(*measurement.noise) : Json()},
                     {"errors", measurement.errors}};
  return json.dump();
}

}  // namespace

Result<std::unique_ptr<SensitivityLog>> SensitivityLog::Open(const std::string& path,
                                                             const std::string& header) {
  std::unique_ptr<SensitivityLog> log(new SensitivityLog(path));
  std::error_code error;
  const bool is_new =
      !std::filesystem::exists(path, error) || std::filesystem::file_size(path, error) == 0;
  if (!is_new) TF_RETURN_IF_ERROR(log->Read(header));
  log->descriptor_ = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (log->descriptor_ < 0) {
    return Status(StatusCode::kInvalidArgument, "CANNOT_WRITE", path + ": " + std::strerror(errno));
  }
  if (is_new) TF_RETURN_IF_ERROR(log->Append(header));
  return log;
}

SensitivityLog::~SensitivityLog() {
  if (descriptor_ >= 0) close(descriptor_);
}

Status SensitivityLog::Read(const std::string& header) {
  TF_ASSIGN_OR_RETURN(const std::string text, cli::ReadWholeFile(path_, kMaxLogBytes));
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n', begin)) {
    const std::string line = text.substr(begin, end - begin);
    if (begin == 0 && line != header) {
      return {StatusCode::kFailedPrecondition, "OTHER_SETTINGS",
              path_ + " is of a run with other settings; remove it, or name another --out"};
    }
    if (begin != 0) {
      std::optional<LayerMeasurement> measurement = ParseLine(line);
      if (!measurement.has_value()) {
        return {StatusCode::kFailedPrecondition, "OTHER_SETTINGS",
                path_ + " has a line that is no measurement; remove it"};
      }
      measurements_.push_back(*std::move(measurement));
    }
    begin = end + 1;
  }
  if (begin == 0) {
    return {StatusCode::kFailedPrecondition, "OTHER_SETTINGS",
            path_ + " is no measurement of layers; remove it, or name another --out"};
  }
  if (begin < text.size() && truncate(path_.c_str(), static_cast<off_t>(begin)) != 0) {
    return {StatusCode::kInvalidArgument, "CANNOT_WRITE", path_ + ": " + std::strerror(errno)};
  }
  return OkStatus();
}

Status SensitivityLog::Append(const std::string& line) {
  const std::string text = line + "\n";
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = write(descriptor_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return {StatusCode::kInvalidArgument, "CANNOT_WRITE", path_ + ": " + std::strerror(errno)};
    }
    done += static_cast<size_t>(written);
  }
  return OkStatus();
}

const LayerMeasurement* SensitivityLog::Find(const std::string& layer,
                                             const std::string& format) const {
  for (const LayerMeasurement& measurement : measurements_) {
    if (measurement.layer == layer && measurement.format == format) return &measurement;
  }
  return nullptr;
}

Status SensitivityLog::Add(LayerMeasurement measurement) {
  TF_RETURN_IF_ERROR(Append(LineOf(measurement)));
  measurements_.push_back(std::move(measurement));
  return OkStatus();
}

}  // namespace tightfit::fidelity
